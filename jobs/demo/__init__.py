"""`keystone demo`: a Keystone of its own that deploys a sample app twice, with visitors watching.

It plays all the others: the developer who commits, GitHub that sends the signed push, and visitors
who never stop asking.
"""
