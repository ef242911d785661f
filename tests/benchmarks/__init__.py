"""How fast Keystone is, and what a swap costs its visitors.

    make bench
    make bench BENCHMARKS="pages push_to_live"

Each compares within one run, on one machine, since figures of two machines mean little together.
"""
