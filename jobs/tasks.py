"""What RQ may run: shims that rebuild one thing and make one call. Arguments are ids only."""

import os
import threading
from functools import cache

from jobs.deployment.lease import holder_name
from jobs.deployment.work import Tools
from jobs.dispatch import dispatch, real_tools
from jobs.processes.configuration import read_settings
from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import WorkerSettings

# A deployment does not fail for a router that `keystone up` is about to start again.
ROUTER_BACK_WITHIN_S = 20.0

# Set in a child whose worker was told to stop.
leaving = threading.Event()


@cache
def opened() -> Runtime[WorkerSettings]:
    """Open Keystone once in this process; a worker's children find it open when they are forked.

    Raises:
        KeystoneError: it cannot be opened.
    """
    return open_runtime(read_settings(WorkerSettings, os.environ))


@cache
def tools() -> Tools:
    """Open the tools of a deployment once in this process."""
    return real_tools(opened(), router_patience_s=ROUTER_BACK_WITHIN_S)


def deploy(deployment_id: int) -> None:
    """Deploy what the deployment's app has to deploy next."""
    runtime = opened()
    dispatch(
        runtime,
        tools(),
        deployment_id,
        holder=holder_name(os.getpid()),
        is_leaving=leaving.is_set,
    )
