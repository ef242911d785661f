"""The command line `keystone`: thin commands, each of which calls the domain."""
