"""Compares the running version of Keystone with the code in this folder."""

from jobs.processes.code_copies import digest_of
from jobs.processes.versions import failed_code, read_running
from jobs.rules.findings import Finding, Verdict
from jobs.settings import Settings
from jobs.system.installation import code_folder, commit_of

NAME = "version"


def version_that_runs(settings: Settings, *, up: bool) -> Finding:
    """Report which version runs, since when, and whether it is that of this folder."""
    here = code_folder()
    digest, commit = digest_of(here), commit_of(here)
    folder = f"code {digest[:7]}{f', commit {commit[:10]}' if commit else ''}"
    running = read_running(settings.run_dir)
    if not up or running is None:
        return Finding(NAME, Verdict.IDLE, f"in this folder: {folder}; `keystone up` runs it")
    found = f"{running.version.in_words} since {running.started_at[:16].replace('T', ' ')} UTC"
    if running.version.code.endswith(digest):
        return Finding(NAME, Verdict.OK, f"{found}, which is that of this folder")
    failed = failed_code(settings.run_dir) == digest
    told = ", which did not get ready when it was tried" if failed else ""
    fix = "run `make upgrade` to run the version of this folder"
    return Finding(NAME, Verdict.WARNING, f"{found}; in this folder: {folder}{told}", fix)
