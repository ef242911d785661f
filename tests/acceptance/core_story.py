"""The core story on one engine and router: push, updates, rollback, cancel, heredocs, the doctor.

`tests/roots` runs it on other distributions; it is not part of an ordinary run of the tests, whose
modules tell all of this in more detail. Private base images are in `test_engine_logins`.
"""

import json
import os

import pytest

from tests.acceptance.keystone import Keystone, until
from tests.acceptance.machine import Machine
from tests.acceptance.project import Nap, Project, add_project
from tests.acceptance.traffic import steady_traffic
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker

SOON_S = 60
OLDEST_WITH_HEREDOCS = 23  # of Docker Engine
HEREDOC = """FROM scratch
COPY web /web
SHELL ["/web", "say"]
RUN <<EOF
from the heredoc
EOF
COPY --link <<EOF /version.txt
written by the Dockerfile
EOF
COPY behaviour /
CMD ["/web"]
"""


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    return add_project(keystone, git_server, "story")


def test_a_push_goes_live_and_updates_and_a_rollback_fail_no_request(
    keystone: Keystone, web: Project
) -> None:
    first = web.deploy("one")
    assert first["state"] == "success", first["reason"]
    with steady_traffic(web.port) as traffic:
        traffic.wait_for("one")
        for version in ("two", "three"):
            updated = web.deploy(version)
            assert (updated["state"], web.answer()) == ("success", version), updated["reason"]
            traffic.wait_for(version)
        asked = keystone.api("POST", "/api/apps/story/rollback", {"release": 1})
        over = keystone.wait_for(asked["id"])
        assert (over["state"], web.answer()) == ("success", "one"), over["reason"]
        traffic.wait_for("one")
    assert traffic.failures == []


def test_a_cancelled_build_leaves_nothing_running(keystone: Keystone, web: Project) -> None:
    keystone.api("PATCH", "/api/apps/story", {"auto_deploy": True})
    nap = Nap()
    queued = web.push(web.commit("four", dockerfile=nap.dockerfile))
    until(nap.sleepers, timeout=SOON_S, what="the build sleeps")
    keystone.api("POST", f"/api/deployments/{queued['id']}/cancel")
    assert keystone.wait_for(queued["id"])["state"] == "cancelled"
    until(lambda: not nap.sleepers(), timeout=SOON_S, what="the build has ended")
    assert web.answer() == "one"


def test_a_heredoc_does_what_it_says_or_fails_the_build(
    keystone: Keystone, web: Project, machine: Machine
) -> None:
    deployed = web.deploy("five", dockerfile=HEREDOC)
    engine = int(machine.client.version()["Version"].split(".")[0])
    if engine < OLDEST_WITH_HEREDOCS:
        assert deployed["state"] == "failure"
        assert web.answer() == "one"
    else:
        assert deployed["state"] == "success", deployed["reason"]
        assert web.answer().strip() == "written by the Dockerfile"
        assert "from the heredoc" in keystone.transcript(deployed["id"])


def test_the_doctor_finds_no_fault(keystone: Keystone) -> None:
    done = keystone.run("doctor", "--json")
    findings = {each["name"]: each for each in json.loads(done.stdout)["items"]}
    failed = [each for each in findings.values() if each["verdict"] == "failed"]
    # A container's disk is whatever it is.
    assert [each for each in failed if each["name"] not in {"disk", "engine space"}] == []
    assert "images" in findings["engine space"]["found"]
    if os.environ.get("STORY_ENGINE"):
        assert os.environ["STORY_ENGINE"] in findings["docker"]["found"]
