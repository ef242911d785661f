"""Repositories, by git."""
