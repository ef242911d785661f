"""One page a file: what it reads, and which template draws it."""
