"""Tests of `jobs.system`."""
