"""`python -m jobs.cli`: how Keystone's own processes are started."""

from jobs.cli.main import main

main()
