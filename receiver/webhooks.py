"""POST /webhooks/github: bytes, proof, meaning, in that order; written down before it is answered.

What is not even a signature by its form is refused before the body is read. What may be one is
tried with few secrets, always as many: those of the repository that the bytes claim, opened afresh
for every delivery, and the global one. Only a proven body is parsed.

Only the body is signed. So the headers are believed as far as they do no harm: the event must fit
the body, and the GUID is one of two ways to know a delivery again (the signed body is the other).
And a signature proves who sent the body, not what the body says of anybody else: which repository
it is for is decided among those whose secret has signed it, and neither an id nor a name is learnt
from it (`jobs.records.repository_identity`).
"""

import hashlib
import logging
import re
import time
from dataclasses import dataclass, replace
from functools import cached_property

from anyio import CapacityLimiter, to_thread
from sqlmodel import Session
from starlette.background import BackgroundTask
from starlette.datastructures import Headers
from starlette.responses import Response

from jobs.errors import ConfigurationError, StorageError
from jobs.processes.runtime import Runtime
from jobs.reads.repositories import claimed_repositories, has_webhook_secret
from jobs.reads.secrets import claimed_webhook_secrets
from jobs.records.deliveries import Envelope, Receipt, accept_push, write_down
from jobs.records.pushes import judge
from jobs.records.repository_identity import note_claim
from jobs.rules.triggers import Judgement, Push
from jobs.settings import WebSettings
from jobs.states import DeliveryOutcome
from jobs.storage.database import Database
from jobs.storage.models import Repository
from receiver.access import Door, address_of
from receiver.claims import Claim, find_claim
from receiver.errors import MediaTypeError, PayloadError, SignatureError
from receiver.payloads import FORM, JSON, Event, Other, Ping, Subject, parse
from receiver.routing import Call, Endpoints, content_type, json_response, whole_body
from receiver.schemas import DeliveryAnswer, QueuedView
from receiver.signature import is_well_formed, signers
from receiver.webhook_path import WEBHOOK

ENDPOINTS = Endpoints()

logger = logging.getLogger(__name__)

EVENT = re.compile(r"[a-z_]{1,50}")
GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
# The owner of KEYSTONE_WEBHOOK_SECRET; repositories are named by their ids, which begin at 1.
GLOBAL = 0
# GitHub waits for 10 s and never asks again: what cannot be written down by then gets its 503.
WRITTEN_WITHIN_S = 9.0

Judged = Judgement | Ping | Other


@dataclass(frozen=True)
class Sealed:
    """A delivery as it came in: nothing in it is believed yet.

    Attributes:
        signature: by its form it may be one.
        until: when it has to be written down, of `time.monotonic`.
    """

    headers: Headers
    content_type: str
    signature: str
    body: bytes
    address: str
    until: float

    @cached_property
    def claim(self) -> Claim:
        """The repository that the body says it is of."""
        return find_claim(self.body, self.headers, is_form=self.content_type == FORM)


@ENDPOINTS.add(
    "POST",
    WEBHOOK,
    needs=Door.SIGNATURE,
    gives=DeliveryAnswer,
    status=202,
    also=(200,),
    reads_body=True,
    errors=(400, 401, 503),
)
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
    signature = _signature(request.headers)
    body, address = await whole_body(request), address_of(request)
    sealed = Sealed(request.headers, kind, signature, body, address, until)
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
    signed_by = _prove(runtime, sealed)
    event_name, guid = _read_headers(sealed.headers)
    event = parse(event_name, sealed.content_type, sealed.body)
    digest = hashlib.sha256(sealed.body).hexdigest()
    draft = Envelope(guid, event_name, digest, None, sealed.address)
    receipt = _keep(runtime.database, signed_by, draft, event, until=sealed.until)
    logger.info(
        "A delivery of %s was %s: %s",
        event_name,
        receipt.outcome,
        receipt.reason or "accepted",
        extra={"action": "delivery_taken", "delivery": guid},
    )
    return _describe(guid, receipt)


def _signature(headers: Headers) -> str:
    """Give what may be a signature by its form.

    Raises:
        SignatureError: there is nothing of the kind, or more than one.
    """
    header = _only(headers, "x-hub-signature-256")
    if header is None or not is_well_formed(header):
        raise SignatureError
    return header


def _prove(runtime: Runtime[WebSettings], sealed: Sealed) -> frozenset[int]:
    """Give the repositories, by their ids, whose own secret has signed the body, and `GLOBAL`."""
    claim = sealed.claim
    try:
        with runtime.database.reading(is_urgent=True) as session:
            secrets = claimed_webhook_secrets(
                session, runtime.vault, github_id=claim.github_id, full_name=claim.full_name
            )
    except ConfigurationError as exc:
        # Our own key does not fit: that is not the sender's mistake, and may be put right.
        raise StorageError(f"the webhook secrets cannot be opened: {exc}") from exc
    ring = {**secrets, GLOBAL: [runtime.settings.webhook_secret]}
    found = signers(sealed.body, sealed.signature, ring)
    if not found:
        raise SignatureError
    return found


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
    database: Database, signed_by: frozenset[int], draft: Envelope, event: Event, *, until: float
) -> Receipt:
    """Write a delivery down; a push is judged before the transaction, see `Judgement`."""
    judged = _judged(database, event)

    def write() -> Receipt:
        with database.writing(until=until) as session:
            return _write(session, signed_by, draft, judged)

    return judged.settle(write) if isinstance(judged, Judgement) else write()


def _judged(database: Database, event: Event) -> Judged:
    if not isinstance(event, Push):
        return event
    with database.reading(is_urgent=True) as session:
        return judge(session, event)


def _write(session: Session, signed_by: frozenset[int], draft: Envelope, event: Judged) -> Receipt:
    subject = _subject(event)
    repository = None
    if subject is not None:
        repository = _find_repository(session, signed_by, subject)
        if repository is None:
            reason = f"no app deploys {subject.full_name}"
            return write_down(session, draft, DeliveryOutcome.IGNORED, reason)
        note_claim(repository, github_id=subject.github_id, full_name=subject.full_name)
    envelope = replace(draft, repository_id=repository.id if repository else None)
    match event:
        case Judgement():
            return accept_push(session, envelope, event)
        case Ping():
            return write_down(session, envelope, DeliveryOutcome.PONG, event.warning)
        case Other():
            reason = f"Keystone does not act on {draft.event}"
            return write_down(session, envelope, DeliveryOutcome.IGNORED, reason)


def _subject(event: Judged) -> Subject | None:
    if not isinstance(event, Judgement):
        return event.subject
    return Subject(event.push.github_id, event.push.full_name)


def _find_repository(
    session: Session, signed_by: frozenset[int], subject: Subject
) -> Repository | None:
    """Find the repository that a body is of; None: one that nobody has configured.

    Raises:
        SignatureError: it was signed by nobody who may speak for that repository.
    """
    claimed = claimed_repositories(
        session, github_id=subject.github_id, full_name=subject.full_name
    )
    for repository in claimed:
        if _covers(session, signed_by, repository.id or 0):
            return repository
    # A repository's own secret says nothing about another one, whether that is known or not.
    if claimed or GLOBAL not in signed_by:
        raise SignatureError
    return None


def _covers(session: Session, signed_by: frozenset[int], repository_id: int) -> bool:
    """Whether what was signed may speak for a repository: the global secret where it has none."""
    if repository_id in signed_by:
        return True
    return GLOBAL in signed_by and not has_webhook_secret(session, repository_id)


def _describe(guid: str, receipt: Receipt) -> DeliveryAnswer:
    deployments = [
        QueuedView(id=row.id or 0, app=app, number=row.number, commit_sha=row.commit_sha)
        for row, app in receipt.deployments
    ]
    return DeliveryAnswer(
        status=receipt.outcome, delivery=guid, reason=receipt.reason, deployments=deployments
    )
