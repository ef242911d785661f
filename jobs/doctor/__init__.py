"""`keystone doctor`: looks at everything Keystone needs, and changes nothing."""
