"""Tests of `jobs.deployment`."""
