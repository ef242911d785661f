"""The pages: GET routes over a read-only database connection. It cannot write."""
