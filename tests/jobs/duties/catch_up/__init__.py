"""Tests of `jobs.duties.catch_up`."""
