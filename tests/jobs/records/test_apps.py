"""Apps and repositories: made, changed and removed, with every change on record."""

import pytest
from sqlmodel import select

from jobs.errors import ConfigurationError, ConflictError, GitHubDeniedError, GitHubError
from jobs.reads.secrets import repository_token
from jobs.records.apps import (
    RemovedApp,
    allocate_port,
    block_ports,
    change_app,
    remove_app,
)
from jobs.records.audit import Tag
from jobs.records.repositories import remove_repository
from jobs.rules.app_fields import AppChange
from jobs.rules.port_range import PortRange
from jobs.storage.models import (
    App,
    AuditEvent,
    BlockedPort,
    Delivery,
    Deployment,
    Repository,
    RepositorySecret,
)
from jobs.watcher import send_all
from tests.jobs.bench import TESTER, Bench

RANGE = PortRange(first=20000, last=20003)


def change(bench: Bench, app: App, **fields: object) -> App:
    settings, vault = bench.runtime.settings, bench.runtime.vault
    wanted = AppChange.model_validate(fields)
    with bench.writing() as session:
        row = session.get_one(App, app.id)
        return change_app(session, row, wanted, TESTER, settings=settings, vault=vault).app


def events(bench: Bench, tag: Tag) -> list[AuditEvent]:
    with bench.reading() as session:
        return list(session.exec(select(AuditEvent).where(AuditEvent.tag == tag)).all())


def own_token(bench: Bench, app: App) -> str | None:
    with bench.reading() as session:
        token = repository_token(session, app.repository_id, bench.runtime.vault)
    return token.get_secret_value() if token else None


class TestAdding:
    def test_a_repository_has_as_many_apps_as_one_push_may_deploy(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("jobs.records.apps.MOST_APPS", 1)
        bench.app("one")
        with pytest.raises(ConflictError, match="octo/web has 1 apps already"):
            bench.app("two")
        assert bench.app("two", repository="octo/other")

    def test_the_first_app_makes_its_repository(self, bench: Bench) -> None:
        app = bench.app(repository="Octo/Web")
        with bench.reading() as session:
            repository = session.get_one(Repository, app.repository_id)
        assert (repository.full_name, repository.name_key) == ("Octo/Web", "octo/web")
        assert repository.git_url == "https://github.com/Octo/Web.git"
        assert [event.target for event in events(bench, Tag.APP_CREATED)] == ["app:web"]
        assert len(events(bench, Tag.REPOSITORY_CREATED)) == 1

    def test_a_second_app_shares_it_however_it_is_spelt(self, bench: Bench) -> None:
        first, second = bench.app(repository="Octo/Web"), bench.app("api", repository="octo/web")
        assert first.repository_id == second.repository_id
        assert second.host_port == first.host_port + 1

    def test_secrets_are_sealed(self, bench: Bench) -> None:
        bench.app(token="ghp_plain")
        with bench.reading() as session:
            rows = session.exec(select(RepositorySecret)).all()
            told = str([event.details for event in session.exec(select(AuditEvent)).all()])
        assert len(rows) == 2
        assert all(b"ghp_plain" not in row.sealed for row in rows)
        assert "ghp_plain" not in told

    def test_a_name_that_is_taken(self, bench: Bench) -> None:
        bench.app()
        with pytest.raises(ConflictError, match="an app named web already"):
            bench.app(repository="octo/other")

    def test_another_git_url_for_the_same_repository(self, bench: Bench) -> None:
        bench.app()
        with pytest.raises(ConflictError, match="is fetched from"):
            bench.app("api", git_url="https://evil.example/octo/web.git")

    def test_a_scheme_the_settings_do_not_allow(self, bench: Bench) -> None:
        with pytest.raises(ConfigurationError, match="http is not allowed"):
            bench.app(git_url="http://github.com/octo/web.git")
        with bench.reading() as session:
            assert session.exec(select(Repository)).all() == []


class TestPorts:
    def test_the_lowest_free_one_that_nobody_else_listens_on(self, bench: Bench) -> None:
        with bench.writing() as session:
            block_ports(session, [20000, 20002])
        assert bench.app().host_port == 20001
        assert bench.app("api").host_port == 20003

    def test_the_blocked_ones_are_replaced(self, bench: Bench) -> None:
        for ports in ([20000, 20001], [20001, 20002]):
            with bench.writing() as session:
                block_ports(session, ports)
        with bench.reading() as session:
            found = set(session.exec(select(BlockedPort.port)).all())
        assert found == {20001, 20002}

    def test_one_that_is_wanted(self, bench: Bench) -> None:
        assert bench.app(host_port=20500).host_port == 20500
        with pytest.raises(ConflictError, match="20500 belongs to another app"):
            bench.app("api", host_port=20500)

    @pytest.mark.parametrize(
        ("wanted", "error", "sentence"),
        [
            (19999, ConfigurationError, "outside KEYSTONE_PORT_RANGE"),
            (20001, ConflictError, "another program on this machine listens"),
        ],
    )
    def test_one_that_cannot_be_had(
        self, bench: Bench, wanted: int, error: type[Exception], sentence: str
    ) -> None:
        with bench.writing() as session:
            block_ports(session, [20001])
            with pytest.raises(error, match=sentence):
                allocate_port(session, RANGE, wanted)

    def test_all_taken(self, bench: Bench) -> None:
        with bench.writing() as session:
            block_ports(session, [20000, 20001, 20002, 20003])
            with pytest.raises(ConflictError, match="widen it"):
                allocate_port(session, RANGE, None)


class TestChanging:
    def test_what_the_container_is_made_of_asks_for_a_redeploy(self, bench: Bench) -> None:
        app = bench.app()
        assert change(bench, app, branch="next").configuration == 1
        assert change(bench, app, memory_mb=256).configuration == 2
        assert change(bench, app, memory_mb=256).configuration == 2

    def test_before_and_after_are_on_record(self, bench: Bench) -> None:
        change(bench, bench.app(), branch="next", memory_mb=512)
        (event,) = events(bench, Tag.APP_CHANGED)
        assert event.actor == "user:ada"
        assert event.details == {"before": {"branch": "main"}, "after": {"branch": "next"}}

    def test_the_port_never_changes(self, bench: Bench) -> None:
        app = bench.app()
        assert change(bench, app, host_port=app.host_port).host_port == app.host_port
        with pytest.raises(ConfigurationError, match="keeps 20000"):
            change(bench, app, host_port=20500)
        assert change(bench, app, host_port=None).host_port == app.host_port

    def test_a_token_is_set_and_taken_away(self, bench: Bench) -> None:
        app = bench.app()
        change(bench, app, token="ghp_new")
        assert own_token(bench, app) == "ghp_new"
        change(bench, app, branch="next")
        assert own_token(bench, app) == "ghp_new"
        change(bench, app, token="")
        assert own_token(bench, app) is None
        assert [event.details["set"] for event in events(bench, Tag.REPOSITORY_TOKEN_SET)] == [
            True,
            False,
        ]

    def test_another_git_url_is_on_record_and_must_be_allowed(self, bench: Bench) -> None:
        app = bench.app()
        change(bench, app, git_url="https://github.com/octo/moved.git")
        (event,) = events(bench, Tag.REPOSITORY_MOVED)
        assert event.details == {
            "before": "https://github.com/octo/web.git",
            "after": "https://github.com/octo/moved.git",
        }
        with pytest.raises(ConfigurationError, match="file is not allowed"):
            change(bench, app, git_url="file:///etc")

    def test_a_token_does_not_follow_to_another_server(self, bench: Bench) -> None:
        app = bench.app(token="ghp_own")
        change(bench, app, git_url="https://github.com/octo/moved.git")
        assert own_token(bench, app) == "ghp_own"
        change(bench, app, git_url="https://evil.example/octo/web.git")
        assert own_token(bench, app) is None

    @pytest.mark.parametrize(
        ("token", "fields", "is_told"),
        [
            ("ghp_own", {"git_url": "https://evil.example/octo/web.git"}, True),
            ("ghp_own", {"git_url": "https://github.com/octo/moved.git"}, False),
            ("ghp_own", {"git_url": "https://ghe.example/o/w.git", "token": "ghe_new"}, False),
            (None, {"git_url": "https://evil.example/octo/web.git"}, False),
        ],
    )
    def test_that_a_token_stays_behind_is_told(
        self, bench: Bench, token: str | None, fields: dict[str, str], *, is_told: bool
    ) -> None:
        app = bench.app(token=token)
        settings, vault = bench.runtime.settings, bench.runtime.vault
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            wanted = AppChange.model_validate(fields)
            changed = change_app(session, row, wanted, TESTER, settings=settings, vault=vault)
        assert changed.lost_token is is_told
        assert bool(changed.notes) is is_told

    def test_a_token_that_comes_with_the_new_server_stays(self, bench: Bench) -> None:
        app = bench.app(token="ghp_own")
        change(bench, app, git_url="https://ghe.example/octo/web.git", token="ghe_new")
        assert own_token(bench, app) == "ghe_new"


class TestRemoving:
    def remove(self, bench: Bench, app: App) -> RemovedApp:
        with bench.writing() as session:
            return remove_app(session, session.get_one(App, app.id), TESTER)

    def test_its_history_goes_with_it(self, bench: Bench) -> None:
        app = bench.app(memory_mb=64)
        deployment = bench.ask(app)
        bench.cancel(deployment)
        self.remove(bench, app)
        with bench.reading() as session:
            assert session.get(Deployment, deployment) is None
        (event,) = events(bench, Tag.APP_REMOVED)
        assert event.details["port"] == app.host_port
        assert event.details["before"] == {"memory_mb": 64}
        assert bench.app().host_port == app.host_port

    def test_not_while_it_is_being_deployed(self, bench: Bench) -> None:
        app = bench.app()
        bench.ask(app)
        with bench.writing() as session:
            row = session.get_one(App, app.id)
            with pytest.raises(ConflictError, match="web is being deployed; cancel #1 first"):
                remove_app(session, row, TESTER)

    def test_the_last_one_takes_its_repository_along(self, bench: Bench) -> None:
        first, second = bench.app(token="ghp_own"), bench.app("api", auto_deploy=False)
        bench.deploy(first)
        removed = self.remove(bench, first)
        assert (removed.app, removed.repository) == ("web", None)
        assert own_token(bench, second) == "ghp_own"
        removed = self.remove(bench, second)
        assert (removed.app, removed.repository) == ("api", "octo/web")
        with bench.reading() as session:
            assert session.exec(select(Repository)).all() == []
            assert session.exec(select(RepositorySecret)).all() == []
            # What arrived is on record all the same.
            assert [row.repository_id for row in session.exec(select(Delivery)).all()] == [None]
        (event,) = events(bench, Tag.REPOSITORY_REMOVED)
        assert (event.actor, event.target) == ("user:ada", "repository:1")
        assert event.details["before"] == {
            "full_name": "octo/web",
            "git_url": "https://github.com/octo/web.git",
            "github_id": None,
        }

    def test_another_one_of_that_name_begins_anew(self, bench: Bench) -> None:
        """Neither the old token nor the old mirror is the new one's."""
        app = bench.app(token="ghp_own")
        self.remove(bench, app)
        again = bench.app(git_url="https://other.example/octo/web.git")
        assert again.repository_id > app.repository_id
        assert own_token(bench, again) is None

    def test_a_status_that_was_not_sent_yet_is_told_of_and_breaks_nothing(
        self, bench: Bench
    ) -> None:
        app = bench.app(token="ghp_own")
        deployment = bench.ask(app, sha="a" * 40)
        removed: list[RemovedApp] = []

        def remove_it(_about: str) -> None:
            bench.cancel(deployment)
            removed.append(self.remove(bench, app))

        bench.world.forge.on("post_status", remove_it)
        send_all(bench.runtime, bench.world.forge)
        notes = removed[0].notes(bench.runtime.settings)
        assert notes[-1] == "2 commit statuses were not sent yet, and will not be"
        assert "https://github.com/octo/web/settings/hooks" in notes[1]

    @pytest.mark.parametrize(
        "error", [GitHubError("down"), GitHubDeniedError("no", permanent=True)]
    )
    def test_nor_does_one_that_could_not_be_sent(self, bench: Bench, error: GitHubError) -> None:
        app = bench.app(token="ghp_own")
        deployment = bench.ask(app, sha="a" * 40)

        def remove_it(_about: str) -> None:
            bench.cancel(deployment)
            self.remove(bench, app)
            raise error

        bench.world.forge.on("post_status", remove_it)
        send_all(bench.runtime, bench.world.forge)
        assert events(bench, Tag.REPOSITORY_REMOVED)


class TestRepositoriesWithoutApps:
    """Earlier versions left them behind, with token, secret and mirror."""

    @pytest.fixture
    def left(self, bench: Bench) -> Repository:
        app = bench.app(token="ghp_own")
        with bench.writing() as session:
            session.delete(session.get_one(App, app.id))
            return session.get_one(Repository, app.repository_id)

    def test_an_app_may_come_back_with_another_address(
        self, bench: Bench, left: Repository
    ) -> None:
        app = bench.app(git_url="https://git.example/octo/web.git")
        assert app.repository_id == left.id
        assert own_token(bench, app) is None
        (event,) = events(bench, Tag.REPOSITORY_MOVED)
        assert event.details["after"] == "https://git.example/octo/web.git"

    @pytest.mark.usefixtures("left")
    def test_but_with_none_that_is_not_allowed(self, bench: Bench) -> None:
        with pytest.raises(ConfigurationError, match="file is not allowed"):
            bench.app(git_url="file:///srv/web.git")

    def test_one_is_removed(self, bench: Bench, left: Repository) -> None:
        with bench.writing() as session:
            remove_repository(session, session.get_one(Repository, left.id), TESTER)
        with bench.reading() as session:
            assert session.exec(select(RepositorySecret)).all() == []

    def test_one_with_apps_is_not(self, bench: Bench) -> None:
        app = bench.app()
        with bench.writing() as session:
            row = session.get_one(Repository, app.repository_id)
            with pytest.raises(ConflictError, match="octo/web has apps"):
                remove_repository(session, row, TESTER)


def test_a_name_that_a_delivery_has_claimed_is_nobodys(bench: Bench) -> None:
    """Else an app of corp/secret would get the address, token and code of whoever claimed it."""
    app = bench.app(repository="corp/secret")
    with bench.writing() as session:
        session.get_one(Repository, app.repository_id).is_name_claimed = True
    with pytest.raises(ConflictError, match="is a name that a delivery has claimed"):
        bench.app("secret", repository="corp/secret")
