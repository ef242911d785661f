"""Tests of the router's adapter."""
