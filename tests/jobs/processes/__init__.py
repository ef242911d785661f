"""Tests of `jobs.processes`."""
