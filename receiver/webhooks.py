"""POST /webhooks/github: bytes, proof, meaning, in that order; written down before it is answered.

Only the body is signed. So the headers are believed as far as they do no harm: the event must fit
the body, and the GUID is one of two ways to know a delivery again (the signed body is the other).

The secrets are read and opened afresh for every delivery, so a new app or a changed secret counts
at once; opening one takes 0.02 ms.
"""

import hashlib
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import Response

from jobs.database import Database
from jobs.errors import ConfigurationError, StorageError
from jobs.models import Repository
from jobs.records.deliveries import Envelope, Receipt, accept_push, write_down
from jobs.records.pushes import judge
from jobs.runtime import Runtime
from jobs.secrets_store import webhook_secrets
from jobs.settings import WebSettings
from jobs.states import DeliveryOutcome
from jobs.triggers import Judgement, Push
from receiver.access import address_of
from receiver.errors import MediaTypeError, PayloadError, SignatureError
from receiver.payloads import FORM, JSON, Event, Other, Ping, Subject, parse
from receiver.routing import Call, content_type, json_response, whole_body
from receiver.schemas import DeliveryAnswer, QueuedView
from receiver.signature import signers

logger = logging.getLogger(__name__)

EVENT = re.compile(r"[a-z_]{1,50}")
GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
# The owner of KEYSTONE_WEBHOOK_SECRET; repositories are named by their ids, which begin at 1.
GLOBAL = 0
ATTEMPTS = 2
# GitHub waits for 10 s and never asks again: what cannot be written down by then gets its 503.
WRITTEN_WITHIN_S = 9.0


@dataclass(frozen=True)
class Sealed:
    """A delivery as it came in: nothing in it is believed yet.

    Attributes:
        until: when it has to be written down, of `time.monotonic`.
    """

    headers: Headers
    content_type: str
    body: bytes
    address: str
    until: float


@dataclass(frozen=True)
class Proof:
    """Whose secrets signed a delivery, and who has one."""

    signers: frozenset[int]
    owners: frozenset[int]

    def covers(self, repository: Repository) -> bool:
        """Whether the signature may speak for the repository."""
        if repository.id in self.signers:
            return True
        return GLOBAL in self.signers and repository.id not in self.owners


async def receive_delivery(call: Call[None]) -> Response:
    """Take a delivery from GitHub.

    The body must be signed with the repository's webhook secret (`X-Hub-Signature-256`). A push is
    written down and its deployments are queued before the answer; a worker is woken up after it.
    """
    until = time.monotonic() + WRITTEN_WITHIN_S
    request, runtime = call.request, call.runtime
    kind = content_type(request)
    if kind not in {JSON, FORM}:
        raise MediaTypeError(f"send the delivery as {JSON} or {FORM}")
    sealed = Sealed(request.headers, kind, await whole_body(request), address_of(request), until)
    # Not the shared thread pool: whatever people ask for must not keep a delivery waiting.
    limiter: CapacityLimiter = request.app.state.delivery_threads
    answer = await to_thread.run_sync(take, runtime, sealed, limiter=limiter)
    if answer.status is not DeliveryOutcome.QUEUED:
        return json_response(answer, 200)
    ids = [deployment.id for deployment in answer.deployments]
    return json_response(answer, 202, after=BackgroundTask(request.app.state.waker.wake, ids))


def take(runtime: Runtime[WebSettings], sealed: Sealed) -> DeliveryAnswer:
    """Verify a delivery, understand it and write it down.

    Raises:
        SignatureError: nobody who may speak for its repository signed it.
        PayloadError: it is signed but cannot be used.
        StorageError: it could not be written down.
    """
    proof = _prove(runtime, sealed)
    event_name, guid = _read_headers(sealed.headers)
    event = parse(event_name, sealed.content_type, sealed.body)
    digest = hashlib.sha256(sealed.body).hexdigest()
    draft = Envelope(guid, event_name, digest, None, sealed.address)
    receipt = _keep(runtime, proof, draft, event, until=sealed.until)
    logger.info(
        "A delivery of %s was %s: %s",
        event_name,
        receipt.outcome,
        receipt.reason or "accepted",
        extra={"action": "delivery_taken", "delivery": guid},
    )
    return _describe(guid, receipt)


def _prove(runtime: Runtime[WebSettings], sealed: Sealed) -> Proof:
    try:
        with runtime.database.reading(is_urgent=True) as session:
            secrets = webhook_secrets(session, runtime.vault)
    except ConfigurationError as exc:
        # Our own key does not fit: that is not the sender's mistake, and may be put right.
        raise StorageError(f"the webhook secrets cannot be opened: {exc}") from exc
    ring: Mapping[int, Iterable[SecretStr]] = {**secrets, GLOBAL: [runtime.settings.webhook_secret]}
    header = _only(sealed.headers, "x-hub-signature-256")
    found = signers(sealed.body, header, ring)
    if not found:
        raise SignatureError
    return Proof(found, frozenset(secrets))


def _read_headers(headers: Headers) -> tuple[str, str]:
    event, guid = _only(headers, "x-github-event"), _only(headers, "x-github-delivery")
    if event is None or not EVENT.fullmatch(event):
        raise PayloadError("X-GitHub-Event must be there once, and name an event")
    if guid is None or not GUID.fullmatch(guid):
        raise PayloadError("X-GitHub-Delivery must be there once, and hold a GUID")
    return event, guid


def _only(headers: Headers, name: str) -> str | None:
    found = headers.getlist(name)
    return found[0] if len(found) == 1 else None


def _keep(
    runtime: Runtime[WebSettings], proof: Proof, draft: Envelope, event: Event, *, until: float
) -> Receipt:
    """Write the delivery down, once more when another process wrote the same at the same time."""
    judged = _judged(runtime.database, event)

    def write() -> Receipt:
        with runtime.database.writing(until=until) as session:
            return _write(session, proof, draft, judged)

    for _ in range(ATTEMPTS):
        try:
            return judged.settle(write) if isinstance(judged, Judgement) else write()
        except IntegrityError:
            continue
    raise PayloadError("the repository's id and its name belong to two different repositories")


def _judged(database: Database, event: Event) -> Judgement | Ping | Other:
    """Judge a push before the transaction that writes it down: see `Judgement`."""
    if not isinstance(event, Push):
        return event
    with database.reading(is_urgent=True) as session:
        return judge(session, event)


def _write(
    session: Session, proof: Proof, draft: Envelope, event: Judgement | Ping | Other
) -> Receipt:
    subject = _subject(event.push) if isinstance(event, Judgement) else event.subject
    repository = _find_repository(session, subject) if subject else None
    if repository is not None and not proof.covers(repository):
        raise SignatureError
    if repository is None and subject is not None:
        return _write_stranger(session, proof, draft, subject)
    envelope = Envelope(
        draft.guid,
        draft.event,
        draft.body_sha256,
        repository.id if repository else None,
        draft.address,
    )
    match event:
        case Judgement():
            return accept_push(session, envelope, event)
        case Ping():
            return write_down(session, envelope, DeliveryOutcome.PONG, event.warning)
        case Other():
            reason = f"Keystone does not act on {draft.event}"
            return write_down(session, envelope, DeliveryOutcome.IGNORED, reason)


def _subject(push: Push) -> Subject:
    return Subject(push.github_id, push.full_name)


def _find_repository(session: Session, subject: Subject) -> Repository | None:
    """Find a repository by GitHub's id, or by its name as long as the id is not known."""
    known = select(Repository).where(Repository.github_id == subject.github_id)
    unknown = select(Repository).where(
        Repository.name_key == subject.full_name.lower(), col(Repository.github_id).is_(None)
    )
    return session.exec(known).first() or session.exec(unknown).first()


def _write_stranger(session: Session, proof: Proof, draft: Envelope, subject: Subject) -> Receipt:
    # A repository's own secret says nothing about another repository.
    if GLOBAL not in proof.signers:
        raise SignatureError
    reason = f"no app deploys {subject.full_name}"
    return write_down(session, draft, DeliveryOutcome.IGNORED, reason)


def _describe(guid: str, receipt: Receipt) -> DeliveryAnswer:
    deployments = [
        QueuedView(id=row.id or 0, app=app, number=row.number, commit_sha=row.commit_sha)
        for row, app in receipt.deployments
    ]
    return DeliveryAnswer(
        status=receipt.outcome, delivery=guid, reason=receipt.reason, deployments=deployments
    )
