"""One file that holds all a Keystone is made of, and bringing a Keystone back from it."""
