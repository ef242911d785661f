"""Tests of the JSON API, one file a noun."""
