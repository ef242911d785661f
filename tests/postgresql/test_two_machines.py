"""Two machines that share a database: same host name, same numbers of processes, other boot.

The other machine is a mount namespace with a boot id of its own. It has our PID namespace, whose
number is the same on every Linux machine.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.deployment.claims import claim_next
from jobs.deployment.lease import SecondLook, expired, holder_name
from jobs.storage.models import App
from jobs.system.pid_space import BOOT_ID, ROOT
from tests.jobs.bench import Bench

ELSEWHERE = """
import sys
from jobs.deployment.claims import claim_next
from jobs.deployment.lease import SecondLook, expired, holder_name
from jobs.storage.database import Database

url, app, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = Database(url)
with database.writing() as session:
    assert claim_next(session, app, holder_name(pid))
with database.reading() as session:
    print([lease.app_id for lease in expired(session, SecondLook())])
"""
OTHER_BOOT = "00000000-0000-4000-8000-000000000001"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace")
def test_two_machines_with_one_host_name_leave_each_others_workers_alone(
    bench: Bench, tmp_path: Path
) -> None:
    ours, theirs = bench.app("ours"), bench.app("theirs")
    bench.ask(ours)
    bench.ask(theirs)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with bench.writing() as session:
        assert claim_next(session, ours.id or 0, holder_name(gone.pid))

    # Each sees that the process with that number is gone on itself, and nothing of the other's.
    (tmp_path / "boot").write_text(OTHER_BOOT)
    boot = f'mount --bind "{tmp_path / "boot"}" {ROOT / BOOT_ID} && exec "$@"'
    program = [sys.executable, "-c", ELSEWHERE, bench.runtime.database.url]
    told = subprocess.run(
        ["unshare", "--mount", "sh", "-c", boot, "sh", *program, str(theirs.id), str(gone.pid)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    with bench.reading() as session:
        found = [lease.app_id for lease in expired(session, SecondLook())]
    assert told.stdout.strip() == f"[{theirs.id}]"
    assert found == [ours.id]


def test_the_lease_of_a_machine_that_is_gone_runs_out(bench: Bench, app: App) -> None:
    bench.ask(app)
    with bench.writing() as session:
        assert claim_next(session, app.id or 0, "vm:0123456789ab:4026531836:7")
    with bench.reading() as session:
        assert expired(session, SecondLook()) == []
    bench.expire_leases()
    bench.reconcile()
    assert bench.leases() == []


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()
