"""Tests of `jobs.reads`."""
