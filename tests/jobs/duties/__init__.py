"""Tests of `jobs.duties`."""
