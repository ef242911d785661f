"""The pages: GET routes over a read-only database connection, which cannot write."""
