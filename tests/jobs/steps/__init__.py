"""Tests of `jobs/steps`, one file a module."""
