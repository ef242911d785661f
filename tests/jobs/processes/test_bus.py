"""Questions and answers between processes over a real Redis."""

import threading
import time

import pytest
from redis import Redis

from jobs.errors import DockerError, QueueError
from jobs.processes.bus import HEALTH_KEPT_S, Bus, connect


@pytest.fixture
def bus(redis: Redis) -> Bus:
    return Bus(redis, "abcdef")


def answering(bus: Bus, answer: dict[str, object]) -> threading.Thread:
    def serve() -> None:
        question = bus.next_question(timeout_s=14)
        assert question is not None
        bus.answer(question, {**answer, "about": question.about} if answer else {})

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_question_gets_its_own_answer(bus: Bus, redis_url: str) -> None:
    with connect(redis_url) as line:
        thread = answering(Bus(line, "abcdef"), {"state": "running"})
        answer = bus.ask("container", timeout_s=14, app_id=7)
        thread.join(timeout=60)
    assert answer == {"state": "running", "about": {"app_id": 7}}


def test_an_answer_that_says_what_went_wrong_is_raised(bus: Bus, redis_url: str) -> None:
    with connect(redis_url) as line:
        thread = answering(Bus(line, "abcdef"), {"error": "the Docker Engine is gone"})
        with pytest.raises(DockerError, match="the Docker Engine is gone"):
            bus.ask("container", timeout_s=14, app_id=7)
        thread.join(timeout=60)


def test_a_watcher_that_is_silent_is_given_up_in_time(bus: Bus) -> None:
    begun = time.monotonic()
    with pytest.raises(QueueError, match="is `keystone up` running"):
        bus.ask("container", timeout_s=0.2)
    assert 0.1 < time.monotonic() - begun < 60


def test_no_question_is_none(bus: Bus) -> None:
    assert bus.next_question(timeout_s=0.1) is None


def test_another_keystones_questions_are_not_ours(bus: Bus, redis: Redis) -> None:
    with pytest.raises(QueueError):
        bus.ask("container", timeout_s=0.1)
    assert Bus(redis, "ghijkl").next_question(timeout_s=0.1) is None
    question = bus.next_question(timeout_s=1)
    assert question is not None
    assert question.kind == "container"


def test_questions_that_nobody_answers_do_not_pile_up(bus: Bus, redis: Redis) -> None:
    redis.rpush("keystone-abcdef-questions", *["{}"] * 5000)
    with pytest.raises(QueueError):
        bus.ask("container", timeout_s=0.1)
    assert redis.llen("keystone-abcdef-questions") == 1000


def test_an_answer_that_nobody_fetches_is_forgotten(bus: Bus, redis: Redis) -> None:
    with pytest.raises(QueueError):
        bus.ask("container", timeout_s=0.1)
    question = bus.next_question(timeout_s=1)
    assert question is not None
    bus.answer(question, {"state": "running"})
    ttl = redis.ttl(f"keystone-abcdef-answer-{question.id}")
    assert isinstance(ttl, int)
    assert 0 < ttl <= 30


def test_health_is_known_until_it_is_old(bus: Bus, redis: Redis) -> None:
    assert bus.health() is None
    bus.report_health({"docker": "ok", "router": "the router does not answer"})
    assert bus.health() == {"docker": "ok", "router": "the router does not answer"}
    ttl = redis.ttl("keystone-abcdef-health")
    assert isinstance(ttl, int)
    assert 0 < ttl <= HEALTH_KEPT_S


def test_a_redis_that_is_down_is_a_queue_error() -> None:
    bus = Bus(connect("unix:///nonexistent/redis.sock"), "abcdef")
    for call in (bus.ping, bus.health, lambda: bus.ask("container")):
        with pytest.raises(QueueError, match="Redis does not answer"):
            call()
