"""Catches up on missed pushes: asks GitHub for failed deliveries, or the git server for the head.

It checks one repository after the other, at the watcher's start and every few minutes. When the
token may see the repository's webhooks, GitHub's list of deliveries shows which ones failed. For
everything else, the branch's head is compared with the known commits. A missed push is handled like
any other push: under the same lock, by the same rules, exactly once. `jobs.rules.missed_pushes`
decides; this package asks and acts.
"""
