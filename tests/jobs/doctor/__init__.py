"""Tests of `jobs.doctor`."""
