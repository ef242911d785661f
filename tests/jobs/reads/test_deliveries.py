"""What GitHub sent: newest first, with what it led to, narrowed down."""

import pytest

from jobs.reads.deliveries import DeliveryFilter, delivery_page
from jobs.states import DeliveryOutcome
from jobs.storage.models import App
from tests.jobs.bench import Bench, push_of

SHA = "a" * 40


@pytest.fixture
def app(bench: Bench) -> App:
    return bench.app()


@pytest.fixture(autouse=True)
def two_deliveries(bench: Bench, app: App) -> None:
    """A push for two apps, and the same once more."""
    bench.app("api")
    for _ in range(2):
        bench.deliver(push_of(bench, SHA), guid="one", body="b")


def outcomes(bench: Bench, **wanted: object) -> list[str]:
    with bench.reading() as session:
        page = delivery_page(session, DeliveryFilter(**wanted))  # type: ignore[arg-type]
    return [view.outcome for view in page.items]


def test_each_delivery_lists_its_deployments(bench: Bench) -> None:
    with bench.reading() as session:
        first = delivery_page(session, DeliveryFilter(limit=1))
        second = delivery_page(session, DeliveryFilter(limit=1, before=first.next))
    assert [view.outcome for view in first.items] == ["duplicate"]
    (view,) = second.items
    assert second.next is None
    assert len(view.deployments) == 2
    assert (view.repository, view.sender) == ("octo/web", "octocat")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"repository": "Octo/WEB"}, 2),
        ({"repository": "octo/none"}, 0),
        ({"outcome": DeliveryOutcome.QUEUED}, 1),
        ({"event": "push"}, 2),
        ({"event": "ping"}, 0),
        ({"text": "OCTOCAT"}, 2),
        ({"text": "aaaa"}, 2),
        ({"text": "accepted before"}, 1),
        ({"text": "%"}, 0),
        ({"repository": "octo/web", "outcome": DeliveryOutcome.DUPLICATE, "text": "main"}, 1),
    ],
)
def test_filters_narrow(bench: Bench, wanted: dict[str, object], found: int) -> None:
    assert len(outcomes(bench, **wanted)) == found
