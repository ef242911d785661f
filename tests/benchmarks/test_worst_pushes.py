"""The worst signed pushes: each is read or refused, and judged, in an acceptable time."""

from receiver.limits import LARGEST_BODIES
from tests.benchmarks import worst_pushes

# Upper limits, many times the usual time, so that they hold on a busy machine too.
LONGEST_S = 10.0


def test_each_body_is_read_or_refused() -> None:
    for name, kind, body in worst_pushes.bodies():
        assert len(body) <= LARGEST_BODIES["/webhooks/github"], name
        taken = worst_pushes.measure(lambda: worst_pushes._read(kind, body))  # noqa: B023 — at once
        assert taken < LONGEST_S, name


def test_each_push_is_judged() -> None:
    for name, push, rules in worst_pushes.pushes():
        taken = worst_pushes.measure(lambda: worst_pushes._judge(push, rules))  # noqa: B023 — at once
        assert taken < LONGEST_S, name
