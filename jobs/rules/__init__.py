"""Pure rules: no database, clock, file or network."""
