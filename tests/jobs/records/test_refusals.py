"""What is kept of refused deliveries: little, and of configured repositories first."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from jobs.reads.deliveries import refused_deliveries, wrong_secrets
from jobs.records.refusals import (
    KEPT,
    MOST_OF_ADDRESS,
    MOST_OF_REPOSITORY,
    MOST_ROWS,
    Refused,
    keep_refusals,
)
from jobs.states import DeliveryOutcome, Refusal
from jobs.storage.models import Delivery, RefusalCount, RefusedDelivery, Repository, now
from tests.jobs.bench import Bench

AT = now()
WRONG = Refused("octo/web", None, "140.82.112.1", Refusal.WRONG_SIGNATURE, 1, AT, AT)
STRANGE = replace(WRONG, claimed="eve/none", address="192.0.2.1")


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    bench.app("web")
    with bench.writing() as session:
        session.exec(select(Repository)).one().github_id = 77
        yield session


def rows(session: Session) -> list[RefusedDelivery]:
    session.flush()
    return list(session.exec(select(RefusedDelivery).order_by(RefusedDelivery.claimed)))


def counts(session: Session) -> dict[str, int]:
    session.flush()
    return {row.reason: row.count for row in session.exec(select(RefusalCount))}


class TestKeeping:
    def test_those_that_are_alike_share_a_row(self, session: Session) -> None:
        keep_refusals(session, [WRONG])
        later = AT + timedelta(minutes=5)
        keep_refusals(session, [replace(WRONG, count=3, first_at=later, last_at=later)])
        (row,) = rows(session)
        assert (row.count, row.first_at, row.last_at) == (4, AT, later)
        assert (row.repository_id, row.claimed) == (1, "octo/web")

    @pytest.mark.parametrize(
        "claim",
        [
            {"claimed": "Octo/WEB"},
            {"claimed": "", "github_id": 77},
            {"claimed": "octo/renamed", "github_id": 77},
        ],
    )
    def test_a_repository_is_known_by_its_name_or_its_id(
        self, session: Session, claim: dict[str, object]
    ) -> None:
        keep_refusals(session, [replace(WRONG, **claim)])  # type: ignore[arg-type]
        (row,) = rows(session)
        assert (row.repository_id, row.reason) == (1, Refusal.WRONG_SIGNATURE)

    def test_no_secret_could_have_signed_for_a_repository_that_is_not_configured(
        self, session: Session
    ) -> None:
        keep_refusals(session, [STRANGE, replace(STRANGE, claimed="", github_id=78)])
        (row,) = rows(session)
        assert (row.repository_id, row.reason) == (None, Refusal.UNKNOWN_REPOSITORY)
        assert (row.claimed, row.count) == ("eve/none", 2)

    def test_they_go_with_their_repository(self, session: Session) -> None:
        keep_refusals(session, [WRONG, STRANGE])
        session.flush()
        session.connection().exec_driver_sql("DELETE FROM apps")
        session.connection().exec_driver_sql("DELETE FROM repositories")
        session.expire_all()
        assert [row.claimed for row in rows(session)] == ["eve/none"]

    def test_each_reason_is_counted_for_ever(self, session: Session) -> None:
        long_ago = AT - KEPT - timedelta(days=1)
        keep_refusals(session, [replace(WRONG, count=5, first_at=long_ago, last_at=long_ago)])
        keep_refusals(session, [WRONG, STRANGE, replace(STRANGE, reason=Refusal.TOO_LARGE)])
        assert counts(session) == {
            "wrong_signature": 6,
            "unknown_repository": 1,
            "too_large": 1,
        }


class TestBounds:
    def test_an_address_has_few_rows(self, session: Session) -> None:
        for reason in Refusal:
            keep_refusals(session, [replace(STRANGE, reason=reason), replace(WRONG, reason=reason)])
        more = [replace(WRONG, address=STRANGE.address, reason=reason) for reason in Refusal]
        keep_refusals(session, more)
        found = rows(session)
        of_one = [row for row in found if row.address == STRANGE.address]
        assert len(of_one) <= MOST_OF_ADDRESS
        assert sum(row.count for row in found) == 3 * len(Refusal)

    def test_a_repository_has_few_rows_and_the_rest_is_counted_together(
        self, session: Session
    ) -> None:
        keep_refusals(session, [WRONG])
        flood = [replace(WRONG, address=f"192.0.2.{number}") for number in range(200)]
        keep_refusals(session, flood)
        found = rows(session)
        assert len(found) == MOST_OF_REPOSITORY + 1
        (rest,) = [row for row in found if not row.address]
        assert rest.count == 201 - MOST_OF_REPOSITORY
        assert any(row.address == WRONG.address for row in found)

    def test_strangers_push_nothing_out_that_is_of_a_configured_repository(
        self, session: Session
    ) -> None:
        keep_refusals(session, [WRONG])
        later = AT + timedelta(hours=1)
        flood = [
            replace(STRANGE, address=f"10.0.{n // 250}.{n % 250}", first_at=later, last_at=later)
            for n in range(2 * MOST_ROWS)
        ]
        keep_refusals(session, flood)
        keep_refusals(session, flood)
        found = rows(session)
        assert len(found) == MOST_ROWS
        assert [row.address for row in found if row.repository_id] == [WRONG.address]
        assert counts(session)["unknown_repository"] == 4 * MOST_ROWS

    def test_what_is_old_is_forgotten(self, session: Session) -> None:
        old = AT - KEPT - timedelta(seconds=1)
        keep_refusals(session, [replace(WRONG, first_at=old, last_at=old)])
        keep_refusals(session, [STRANGE])
        assert [row.claimed for row in rows(session)] == ["eve/none"]


class TestReading:
    def test_configured_repositories_come_first_and_the_last_at_the_top(
        self, session: Session
    ) -> None:
        later = AT + timedelta(minutes=1)
        keep_refusals(session, [WRONG, replace(STRANGE, last_at=later + timedelta(minutes=1))])
        keep_refusals(session, [replace(WRONG, reason=Refusal.TOO_SLOW, last_at=later)])
        session.flush()
        views = refused_deliveries(session).items
        assert [(view.repository, view.reason) for view in views] == [
            ("octo/web", Refusal.TOO_SLOW),
            ("octo/web", Refusal.WRONG_SIGNATURE),
            (None, Refusal.UNKNOWN_REPOSITORY),
        ]
        assert views[1].words == "signed with another secret"

    def arrived(self, session: Session, *, minutes: int, body: str = "f" * 64) -> None:
        session.add(
            Delivery(
                guid="g",
                event="push",
                repository_id=1,
                body_sha256=body,
                outcome=DeliveryOutcome.IGNORED,
                received_at=AT + timedelta(minutes=minutes),
            )
        )
        session.flush()

    def wrong(self, session: Session) -> list[tuple[str, int]]:
        session.flush()
        found = wrong_secrets(session, since=AT - timedelta(days=7))
        return [(each.repository, each.count) for each in found]

    def test_a_repository_of_which_only_wrong_signatures_arrive_is_named(
        self, session: Session
    ) -> None:
        other = replace(WRONG, address="140.82.112.2", reason=Refusal.MISSING_SIGNATURE)
        keep_refusals(session, [replace(WRONG, count=2), other, STRANGE])
        assert self.wrong(session) == [("octo/web", 3)]
        self.arrived(session, minutes=-1)
        assert self.wrong(session) == [("octo/web", 3)]
        self.arrived(session, minutes=1)
        assert self.wrong(session) == []

    def test_what_github_was_asked_for_has_not_arrived(self, session: Session) -> None:
        keep_refusals(session, [WRONG])
        self.arrived(session, minutes=1, body="")
        assert self.wrong(session) == [("octo/web", 1)]

    def test_other_reasons_say_nothing_about_the_secret(self, session: Session) -> None:
        keep_refusals(session, [replace(WRONG, reason=Refusal.TOO_LARGE)])
        assert self.wrong(session) == []

    def test_what_was_long_ago_wants_nobody(self, session: Session) -> None:
        long_ago = AT - timedelta(days=8)
        keep_refusals(session, [replace(WRONG, first_at=long_ago, last_at=long_ago)])
        assert self.wrong(session) == []
