"""The command line `keystone`: thin commands that call the domain code."""
