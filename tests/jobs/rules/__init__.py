"""Tests of `jobs.rules`."""
