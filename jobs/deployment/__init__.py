"""One running deployment: what it is made of while it runs."""
