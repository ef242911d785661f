"""The machine Keystone runs on: its files, users, privileges and processes."""
