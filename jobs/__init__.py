"""The domain and the work: tables, queue, the deployment, its adapters, the command line."""
