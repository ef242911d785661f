"""Tests of the git adapter."""
