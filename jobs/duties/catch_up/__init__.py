"""Catching up on pushes that never reached us: GitHub is asked, or the branch itself.

One repository after the other, each at the watcher's start and every few minutes. Where the token
may see the repository's webhooks, GitHub's list of deliveries tells what failed. What it does not
tell, the branch's head does, compared with what is known of it. What is found goes the way of every
push: under the same lock, past the same rules, once. `jobs.rules.missed_pushes` decides, this room
asks and acts.
"""
