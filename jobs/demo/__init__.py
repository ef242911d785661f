"""`keystone demo`: a separate Keystone that deploys a sample app twice under traffic.

The demo plays all other parts: the developer who commits, GitHub that sends the signed push, and
visitors who send requests all the time.
"""
