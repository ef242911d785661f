"""A push is accepted once by each app, whatever GitHub repeats, renames or delivers late."""

import threading
from dataclasses import replace

import pytest
from sqlmodel import select

from jobs.records.audit import Tag
from jobs.records.deliveries import Envelope, Receipt, write_down
from jobs.rules.triggers import Push
from jobs.states import DeliveryOutcome, DeploymentState
from jobs.storage.models import App, AuditEvent, Delivery, Repository
from tests.jobs.bench import Bench, push_of

SHA = "a" * 40
QUEUED, DUPLICATE, IGNORED = (
    DeliveryOutcome.QUEUED,
    DeliveryOutcome.DUPLICATE,
    DeliveryOutcome.IGNORED,
)


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture
def push(bench: Bench) -> Push:
    return push_of(bench, SHA)


def names(receipt: Receipt) -> list[str]:
    return [name for _, name in receipt.deployments]


def ids(receipt: Receipt) -> list[int | None]:
    return [row.id for row, _ in receipt.deployments]


class TestAccepting:
    @pytest.mark.usefixtures("app")
    def test_every_app_of_the_branch_deploys(self, bench: Bench, push: Push) -> None:
        bench.app("api")
        bench.app("next", branch="next")
        receipt = bench.deliver(push)
        assert receipt.outcome is QUEUED
        assert names(receipt) == ["api", "web"]
        assert receipt.reason == "next deploys next, not main"

    @pytest.mark.usefixtures("app")
    def test_all_of_it_is_written_down_together(self, bench: Bench, push: Push) -> None:
        receipt = bench.deliver(push, guid="one")
        deployment = receipt.deployments[0][0]
        with bench.reading() as session:
            delivery = session.exec(select(Delivery)).one()
            tags = set(session.exec(select(AuditEvent.tag)).all())
        assert (delivery.guid, delivery.outcome, delivery.sender) == ("one", QUEUED, "octocat")
        assert deployment.delivery_id == delivery.id
        assert deployment.actor == "webhook:octocat"
        assert {Tag.DELIVERY_ACCEPTED, Tag.DEPLOYMENT_REQUESTED} <= tags
        assert len(bench.statuses(deployment.id or 0)) == 1

    @pytest.mark.usefixtures("app")
    def test_numbers_count_per_app(self, bench: Bench) -> None:
        other = bench.app("api")
        for number in range(1, 4):
            receipt = bench.deliver(push_of(bench, str(number) * 40))
            assert [row.number for row, _ in receipt.deployments] == [number, number]
        assert bench.fresh(other).last_deployment == 3

    def test_nothing_to_deploy_says_why(self, bench: Bench, push: Push) -> None:
        bench.app("paused", auto_deploy=False)
        receipt = bench.deliver(push)
        assert (receipt.outcome, receipt.reason) == (IGNORED, "auto-deploy of paused is paused")
        assert receipt.deployments == ()

    def test_what_is_no_push_is_kept_too(self, bench: Bench, app: App) -> None:
        envelope = Envelope("one", "ping", "b" * 64, app.repository_id)
        with bench.writing() as session:
            write_down(session, envelope, DeliveryOutcome.PONG, "x" * 1000)
        with bench.reading() as session:
            delivery = session.exec(select(Delivery)).one()
        assert (delivery.event, delivery.outcome) == ("ping", DeliveryOutcome.PONG)
        assert len(delivery.reason) == 500


class TestRepeating:
    @pytest.mark.parametrize(
        ("guid", "body"), [("one", "other"), ("other", "body")], ids=["GUID", "signed body"]
    )
    def test_the_second_is_a_duplicate_and_names_the_first(
        self, bench: Bench, app: App, push: Push, guid: str, body: str
    ) -> None:
        first = bench.deliver(push, guid="one", body="body")
        second = bench.deliver(push, guid=guid, body=body)
        assert (second.outcome, second.reason) == (DUPLICATE, "this push was accepted before")
        assert ids(second) == ids(first)
        assert bench.states(app) == ["queued"]

    @pytest.mark.usefixtures("app")
    def test_an_app_that_was_added_since_takes_it_alone(self, bench: Bench, push: Push) -> None:
        bench.deliver(push, guid="one", body="body")
        bench.app("api")
        receipt = bench.deliver(push, guid="one", body="body")
        assert (receipt.outcome, names(receipt)) == (QUEUED, ["api"])
        assert bench.deliver(push, guid="one", body="body").outcome is DUPLICATE

    def test_what_deployed_nothing_is_judged_anew(self, bench: Bench, push: Push) -> None:
        app = bench.app(auto_deploy=False)
        assert bench.deliver(push, guid="one", body="body").outcome is IGNORED
        with bench.writing() as session:
            session.get_one(App, app.id).auto_deploy = True
        assert bench.deliver(push, guid="one", body="body").outcome is QUEUED

    def test_twenty_at_once_make_one_deployment(self, bench: Bench, app: App, push: Push) -> None:
        start, receipts = threading.Barrier(20), list[Receipt]()

        def deliver() -> None:
            start.wait(timeout=60)
            receipts.append(bench.deliver(push, guid="one", body="body"))

        threads = [threading.Thread(target=deliver) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert sorted(receipt.outcome for receipt in receipts) == [DUPLICATE] * 19 + [QUEUED]
        assert bench.states(app) == ["queued"]
        assert len({tuple(ids(receipt)) for receipt in receipts}) == 1

    @pytest.mark.usefixtures("app")
    def test_the_same_commit_pushed_again_is_another_push(self, bench: Bench) -> None:
        bench.deliver(push_of(bench, SHA))
        assert bench.deliver(push_of(bench, SHA)).outcome is QUEUED


class TestComingLate:
    def test_an_older_push_by_githubs_clock_is_superseded(self, bench: Bench, app: App) -> None:
        older, newer = push_of(bench, "a" * 40), push_of(bench, "b" * 40)
        bench.deliver(newer)
        receipt = bench.deliver(older)
        assert receipt.outcome is QUEUED
        deployment = receipt.deployments[0][0]
        assert deployment.state is DeploymentState.SUPERSEDED
        assert deployment.reason == "#1 is a newer push and came first"
        assert bench.states(app) == ["queued", "superseded"]

    def test_of_pushes_of_one_second_the_branch_knows_the_newest(
        self, bench: Bench, app: App
    ) -> None:
        older = push_of(bench, "a" * 40, pushed_at=5)
        newer = push_of(bench, "b" * 40, pushed_at=5)
        bench.deliver(newer)
        bench.deliver(older)
        assert bench.states(app) == ["queued", "queued"]


class TestClaiming:
    @pytest.mark.usefixtures("app")
    def test_neither_an_id_nor_a_name_is_learnt(self, bench: Bench, push: Push) -> None:
        bench.deliver(push)
        bench.deliver(replace(push, full_name="corp/secret", commit_sha="b" * 40))
        with bench.reading() as session:
            row = session.exec(select(Repository)).one()
            tags = set(session.exec(select(AuditEvent.tag)).all())
        assert (row.full_name, row.name_key, row.github_id) == ("octo/web", "octo/web", None)
        assert not tags & {Tag.REPOSITORY_RENAMED, Tag.REPOSITORY_IDENTIFIED}

    @pytest.mark.usefixtures("app")
    def test_a_name_or_id_that_another_repository_has_loses_no_push(
        self, bench: Bench, push: Push
    ) -> None:
        bench.app("other", repository="new/home")
        with bench.writing() as session:
            session.get_one(Repository, 2).github_id = push.github_id
        renamed = replace(push, full_name="new/home")
        assert bench.deliver(renamed, repository_id=1).outcome is QUEUED
        assert bench.deliver(renamed, repository_id=2).outcome is QUEUED
