"""The only code that talks to external systems: Docker, git, GitHub and the router."""
