"""Tests of `jobs/demo`: that what it shows is so, and that it would tell if it were not."""
