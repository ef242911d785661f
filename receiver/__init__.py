"""The web process: the application, the webhook, the API, and the forms of the pages."""
