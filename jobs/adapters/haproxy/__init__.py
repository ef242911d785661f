"""The router: HAProxy."""
