"""Fault injection at every step of a deployment, with a count of the failures: `make faults`.

A house (`house`) is a complete running Keystone with apps, a git server and GitHub's API. A round
(`rounds`) combines a fault (`strikes`), the moment at which it strikes (`moments`) and the pushes
that arrive meanwhile (`pushes`). A seed determines the rounds. `verdict` judges the state after a
round, and `table` counts the results.
"""
