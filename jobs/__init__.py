"""The domain and the work: models, database, queue, the deployment, its adapters and the command line."""
