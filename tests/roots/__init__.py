"""Keystone on other distributions, each in a root of its own, with namespaces of its own."""
