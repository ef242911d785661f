"""What RQ may run: shims that rebuild one thing and make one call. Arguments are ids only."""

import os
from functools import cache

from jobs.dispatch import dispatch, real_tools
from jobs.lease import holder_name
from jobs.runtime import Runtime, open_runtime
from jobs.settings import WorkerSettings, read_settings


@cache
def opened() -> Runtime[WorkerSettings]:
    """Open Keystone once in this process; a worker's children find it open when they are forked.

    Raises:
        KeystoneError: it cannot be opened.
    """
    return open_runtime(read_settings(WorkerSettings, os.environ))


def deploy(deployment_id: int) -> None:
    """Deploy what the deployment's app has to deploy next."""
    runtime = opened()
    dispatch(runtime, real_tools(runtime), deployment_id, holder=holder_name(os.getpid()))
