"""The steps of a deployment, one module each; `jobs.deploy` runs them in order."""
