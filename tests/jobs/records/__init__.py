"""Tests of `jobs/records`, one file a module."""
