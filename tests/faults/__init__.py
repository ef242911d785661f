"""Breaking Keystone at every point, on purpose, many times, and counting: `make faults`.

A house (`house`) is a whole running Keystone with apps, a git server and GitHub's API. A round
(`rounds`) is a fault (`strikes`), the moment at which it strikes (`moments`) and what is pushed
meanwhile (`pushes`), drawn by a seed; what is left afterwards is judged (`verdict`) and counted
(`table`).
"""
