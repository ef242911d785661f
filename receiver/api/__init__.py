"""The JSON API, one noun per module: each handler answers one endpoint of `receiver.endpoints`."""
