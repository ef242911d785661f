"""The router's contract, on real HAProxy processes."""
