"""Measures the speed of Keystone, and what a switch of releases costs visitors.

    make bench
    make bench BENCHMARKS="pages push_to_live"

Each benchmark compares within one run on one machine; figures of two machines are not comparable.
"""
