"""The JSON API, one noun a file: each function answers one endpoint of `receiver.endpoints`."""
