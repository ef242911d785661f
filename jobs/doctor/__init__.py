"""`keystone doctor`: checks everything Keystone needs, and changes nothing."""
