"""One module per page: what the page reads, and which template draws it."""
