"""What RQ may run: shims that rebuild one thing and make one call. Arguments are ids only."""

import os

from jobs.dispatch import dispatch, real_tools
from jobs.lease import holder_name
from jobs.runtime import open_runtime
from jobs.settings import WorkerSettings, read_settings


def deploy(deployment_id: int) -> None:
    """Deploy what the deployment's app has to deploy next."""
    runtime = open_runtime(read_settings(WorkerSettings, os.environ))
    dispatch(runtime, real_tools(runtime), deployment_id, holder=holder_name(os.getpid()))
