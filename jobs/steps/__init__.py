"""The steps of a deployment, one a file, in the order of the story in `jobs.deploy`."""
