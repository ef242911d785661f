"""The task that RQ may run: a thin shim around `dispatch`. Its argument is an id only."""

import os
import threading
from collections.abc import Collection
from functools import cache

from jobs.deployment.lease import holder_name
from jobs.deployment.work import Tools
from jobs.dispatch import dispatch, real_tools
from jobs.processes.configuration import read_settings
from jobs.processes.runtime import Runtime, open_runtime
from jobs.settings import WorkerSettings
from jobs.states import EVERY_LANE, Lane

# Long enough for `keystone up` to restart a router that died, so the deployment does not fail.
ROUTER_BACK_WITHIN_S = 20.0

# Set in a child process whose worker must stop: its deployment goes back into the queue.
leaving = threading.Event()


class Taken:
    """The lanes whose deployments this process's worker runs."""

    lanes: Collection[Lane] = EVERY_LANE


@cache
def opened() -> Runtime[WorkerSettings]:
    """Open Keystone once per process; children forked from a worker inherit it.

    Raises:
        KeystoneError: it cannot be opened.
    """
    return open_runtime(read_settings(WorkerSettings, os.environ))


@cache
def tools() -> Tools:
    """Open a deployment's tools once per process."""
    return real_tools(opened(), router_patience_s=ROUTER_BACK_WITHIN_S)


def deploy(deployment_id: int) -> None:
    """Run the next queued deployment of this deployment's app."""
    runtime = opened()
    dispatch(
        runtime,
        tools(),
        deployment_id,
        holder=holder_name(os.getpid()),
        lanes=Taken.lanes,
        is_leaving=leaving.is_set,
    )
