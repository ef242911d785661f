"""The web process's front door: everything that arrives and asks for a change."""
