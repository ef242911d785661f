"""The command line, as used by a person at the machine and by a program in a pipe."""

import pytest

from tests.acceptance.conftest import TOKEN
from tests.acceptance.keystone import Keystone, until
from tests.acceptance.project import Nap, Project, add_project
from tests.gitserver import GitServer

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def web(keystone: Keystone, git_server: GitServer) -> Project:
    """An app that the command line added, with the token from standard input."""
    repo = git_server.repository("octo/typed")
    added = keystone.command(
        *("app", "add", "typed", "--repository", "octo/typed", "--git-url", repo.url),
        *("--health-path", "/health", "--health-timeout-s", "60", "--token-stdin", "--json"),
        stdin=f"{TOKEN}\n",
    )
    assert added["name"] == "typed"
    return Project(
        keystone,
        "typed",
        repo,
        github_id=1,
        port=added["host_port"],
        secret=added["webhook"]["secret"],
    )


def test_an_app_is_added_listed_and_shown(keystone: Keystone, web: Project) -> None:
    shown = keystone.command("app", "show", "typed", "--json")
    assert shown == web.view()
    assert shown["token_set"] is True
    assert shown["webhook"]["secret"] is None
    assert shown in keystone.command("app", "list", "--json")["items"]
    table = keystone.run("app", "list")
    assert table.returncode == 0
    assert "octo/typed" in table.stdout


def test_deploy_waits_for_a_success(keystone: Keystone, web: Project) -> None:
    web.commit("one")
    finished = keystone.run("deploy", "typed", "--wait")
    assert finished.returncode == 0, finished.stderr
    assert "healthy after" in finished.stdout
    assert web.answer() == "one"


def test_deploy_waits_for_a_failure_and_says_why(keystone: Keystone, web: Project) -> None:
    sha = web.commit("dies", behaviour="exit 3")
    finished = keystone.run("deploy", "typed", "--ref", sha, "--wait")
    assert finished.returncode == 1
    told = finished.stdout + finished.stderr
    assert "the container exited with code 3 before it was healthy" in told
    assert "Traceback" not in told


def test_status_and_logs_describe_the_deployment(keystone: Keystone, web: Project) -> None:
    status = keystone.command("status", "typed", "--json")
    assert status in keystone.command("status", "--json")["items"]
    assert status["state"] == "running"
    newest = keystone.deployments("typed")[0]
    of_deployment, of_app = keystone.run("logs", str(newest["id"])), keystone.run("logs", "typed")
    assert of_deployment.returncode == of_app.returncode == 0
    assert "told to exit with code 3" in of_deployment.stdout
    assert of_app.stdout == "listening on 8000\n"
    shown = keystone.run("status", "typed")
    assert shown.returncode == 0
    assert "failure" in shown.stdout


def test_cancel_stops_a_build(keystone: Keystone, web: Project) -> None:
    web.commit("never", dockerfile=Nap().dockerfile)
    queued = keystone.command("deploy", "typed", "--json")
    keystone.wait_for_step(queued["id"], "build")
    keystone.command("cancel", str(queued["id"]), "--json")
    over = keystone.wait_for(queued["id"])
    assert over["state"] == "cancelled"
    assert over["actor"].startswith("cli:")
    again = keystone.run("cancel", str(queued["id"]))
    assert again.returncode == 4
    assert "over already" in again.stderr


def test_a_token_works_until_it_is_revoked(keystone: Keystone) -> None:
    made = keystone.command("token", "create", "reader", "--role", "viewer", "--json")["token"]
    assert made.startswith("ks_")
    admin, keystone.token = keystone.token, made
    try:
        assert keystone.ask("GET", "/api/apps").status_code == 200
        assert keystone.ask("POST", "/api/apps/typed/deployments", {}).status_code == 403
        assert keystone.ask("GET", "/api/audit").status_code == 403
        assert keystone.run("token", "revoke", "reader").returncode == 0
        assert keystone.ask("GET", "/api/apps").status_code == 401
    finally:
        keystone.token = admin
    listed = keystone.command("token", "list", "--json")["items"]
    (reader,) = [token for token in listed if token["name"] == "reader"]
    assert reader["revoked_at"]
    assert made not in str(listed)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("app", "show", "nope"), 3, "there is no app named"),
        (("deploy", "nope"), 3, "there is no app named"),
        (("logs", "999999"), 3, "999999"),
        (("app", "add", "Bad Name", "--repository", "octo/x"), 2, "name"),
        (("app", "add", "typed", "--repository", "octo/typed"), 4, "already"),
        (("deploy", "typed", "--ref", "--upload-pack=x"), 2, ""),
        (("up",), 4, "another `keystone up` uses"),
    ],
)
def test_mistakes_have_exit_codes_and_messages(
    keystone: Keystone, web: Project, arguments: tuple[str, ...], code: int, words: str
) -> None:
    finished = keystone.run(*arguments)
    assert finished.returncode == code, finished.stderr
    assert words in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_misspelt_setting_is_refused(keystone: Keystone) -> None:
    finished = keystone.run("config", KEYSTONE_WORKER="2")
    assert finished.returncode == 2
    assert "KEYSTONE_WORKER: no such setting" in finished.stderr


def test_an_app_is_removed_with_all_it_had(keystone: Keystone, git_server: GitServer) -> None:
    gone = add_project(keystone, git_server, "gone")
    assert gone.deploy("dies", behaviour="exit 3")["state"] == "failure"
    belongings = keystone.belongings()
    assert [name for name in belongings.everything() if "gone" in name]
    assert keystone.run("app", "remove", "gone").returncode == 2
    assert keystone.run("app", "remove", "gone", "--yes").returncode == 0
    assert keystone.ask("GET", "/api/apps/gone").status_code == 404
    until(
        lambda: not [name for name in belongings.everything() if "gone" in name],
        timeout=60,
        what="neither image nor network of the app is left",
    )
    belongings.close()
