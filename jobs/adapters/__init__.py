"""The only files that speak to the outside: Docker, git, GitHub and the router."""
