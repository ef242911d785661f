"""/metrics: Prometheus' text, counted from the database."""

from datetime import timedelta

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from jobs.records.statuses import NO_TOKEN, OVERTAKEN, settle
from jobs.states import DeploymentState, StepName, StepState, Trigger
from jobs.storage.models import Step, now
from receiver.app import create_app
from tests.builders import WebRuntime, make_app, make_deployment, signed_push, webhook_secret
from tests.receiver.live import serving


def samples(text: str) -> dict[str, float]:
    """Give the samples as `name{label}` → value."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_deliveries_and_deployments_are_counted(
    client: TestClient, viewer: TestClient, runtime: WebRuntime
) -> None:
    request = signed_push(webhook_secret(make_app(runtime)))
    for _ in range(3):
        client.post("/webhooks/github", content=request.body, headers=request.headers)
    make_deployment(runtime, state=DeploymentState.FAILURE)
    found = samples(viewer.get("/metrics").text)
    assert found["keystone_deliveries_total{queued}"] == 1
    assert found["keystone_deliveries_total{duplicate}"] == 2
    assert found["keystone_deliveries_total{pong}"] == 0
    assert found["keystone_deployments{queued}"] == 1
    assert found["keystone_deployments{failure}"] == 1


def test_the_queue_has_a_depth_and_an_age(viewer: TestClient, runtime: WebRuntime) -> None:
    empty = samples(viewer.get("/metrics").text)
    for lane in ("build", "quick"):
        assert empty[f"keystone_queue_depth{{{lane}}}"] == 0
        assert empty[f"keystone_queue_age_seconds{{{lane}}}"] == 0
    make_app(runtime)
    old = make_deployment(runtime)
    make_deployment(runtime)
    make_deployment(runtime, trigger=Trigger.ROLLBACK)
    with runtime.database.writing() as session:
        old.queued_at = now() - timedelta(seconds=90)
        session.add(old)
    found = samples(viewer.get("/metrics").text)
    assert found["keystone_queue_depth{build}"] == 2
    assert found["keystone_queue_depth{quick}"] == 1
    assert 90 <= found["keystone_queue_age_seconds{build}"] < 120
    assert found["keystone_queue_age_seconds{quick}"] < 90


def test_steps_are_timed(viewer: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    began = now()
    ends = [began + timedelta(seconds=1.5), began + timedelta(seconds=2.5), None]
    ids = [make_deployment(runtime).id or 0 for _ in ends]
    with runtime.database.writing() as session:
        session.add_all(
            Step(
                deployment_id=deployment_id,
                name=StepName.BUILD,
                state=StepState.SUCCESS,
                started_at=began,
                ended_at=end,
            )
            for deployment_id, end in zip(ids, ends, strict=True)
        )
    found = samples(viewer.get("/metrics").text)
    assert found["keystone_step_duration_seconds_count{build}"] == 2
    assert found["keystone_step_duration_seconds_sum{build}"] == pytest.approx(4, abs=0.01)


def test_statuses_given_up_on_are_counted(viewer: TestClient, runtime: WebRuntime) -> None:
    make_app(runtime)
    for _ in range(4):
        make_deployment(runtime)
    with runtime.database.writing() as session:
        settle(session, 1, error="GitHub refused the token")
        for number, nobody_failed in enumerate((NO_TOKEN, OVERTAKEN), start=2):
            settle(session, number, error=nobody_failed)
    found = samples(viewer.get("/metrics").text)
    assert found["keystone_status_failures_total"] == 1
    assert found["keystone_statuses_waiting"] == 1


def test_a_stranger_from_afar_sees_nothing(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 401


def test_a_program_on_this_machine_needs_no_token(runtime: WebRuntime) -> None:
    with serving(create_app(runtime)) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        assert httpx2.get(url).status_code == 200
        assert httpx2.get(url, headers={"X-Forwarded-For": "192.0.2.7"}).status_code == 401
        assert httpx2.get(url, headers={"Host": "rebound.example"}).status_code == 401
