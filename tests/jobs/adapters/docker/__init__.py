"""Tests of the Docker adapter."""
