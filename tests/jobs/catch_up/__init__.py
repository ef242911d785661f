"""Catching up on missed pushes."""
