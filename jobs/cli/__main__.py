"""`python -m jobs.cli`: the entry point of Keystone's own processes."""

from jobs.cli.main import main

main()
