"""POST /webhooks/github: read the bytes, verify, parse, store, in that order; then answer.

A malformed signature is refused before the body is read. A well-formed one is verified with few
secrets: those of the repository that the bytes claim, decrypted anew for every delivery, and the
global one. All of them are tried, and only a verified body is parsed.

Only the body is signed, so the headers are trusted only where that does no harm: the event must fit
the body, and the GUID is one of two ways to detect a repeated delivery (the other is the signed
body). A signature proves who sent the body, not what it says about other repositories. So only a
repository whose secret signed the body can be its repository, and Keystone learns neither an id nor
a name from it (`jobs.records.repository_identity`).
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
from jobs.rules.naming import WEBHOOK_PATH
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

ENDPOINTS = Endpoints()

logger = logging.getLogger(__name__)

EVENT = re.compile(r"[a-z_]{1,50}")
GUID = re.compile(r"[A-Za-z0-9-]{1,100}")
# Stands for KEYSTONE_WEBHOOK_SECRET among the ids of repositories, which begin at 1.
GLOBAL = 0
# GitHub waits for 10 s and never retries: a delivery that cannot be stored by then is answered 503.
WRITTEN_WITHIN_S = 9.0

Judged = Judgement | Ping | Other


@dataclass(frozen=True)
class Sealed:
    """A delivery as received, not verified yet.

    Attributes:
        signature: the well-formed signature.
        until: the deadline for storing it, by `time.monotonic`.
    """

    headers: Headers
    content_type: str
    signature: str
    body: bytes
    address: str
    until: float

    @cached_property
    def claim(self) -> Claim:
        """The repository that the delivery claims to be about."""
        return find_claim(self.body, self.headers, is_form=self.content_type == FORM)


@ENDPOINTS.add(
    "POST",
    WEBHOOK_PATH,
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
    stored and its deployments are queued before the answer; a worker is woken up after it.
    """
    until = time.monotonic() + WRITTEN_WITHIN_S
    request, runtime = call.request, call.runtime
    kind = content_type(request)
    if kind not in {JSON, FORM}:
        raise MediaTypeError(f"send the delivery as {JSON} or {FORM}")
    signature = _signature(request.headers)
    body, address = await whole_body(request), address_of(request)
    sealed = Sealed(request.headers, kind, signature, body, address, until)
    # Not the shared thread pool: other requests must not keep a delivery waiting.
    limiter: CapacityLimiter = request.app.state.delivery_threads
    answer = await to_thread.run_sync(take, runtime, sealed, limiter=limiter)
    if answer.status is not DeliveryOutcome.QUEUED:
        return json_response(answer, 200)
    ids = [deployment.id for deployment in answer.deployments]
    return json_response(answer, 202, after=BackgroundTask(request.app.state.waker.wake, ids))


def take(runtime: Runtime[WebSettings], sealed: Sealed) -> DeliveryAnswer:
    """Verify a delivery, parse it and store it.

    Raises:
        SignatureError: it is not signed with a secret that is valid for its repository.
        PayloadError: it is signed but cannot be used.
        StorageError: it could not be stored.
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
    """Give the well-formed signature in the headers.

    Raises:
        SignatureError: the header is missing or malformed, or occurs more than once.
    """
    header = _only(headers, "x-hub-signature-256")
    if header is None or not is_well_formed(header):
        raise SignatureError
    return header


def _prove(runtime: Runtime[WebSettings], sealed: Sealed) -> frozenset[int]:
    """Give the ids of the repositories whose secrets signed the body, `GLOBAL` among them."""
    claim = sealed.claim
    try:
        with runtime.database.reading(is_urgent=True) as session:
            secrets = claimed_webhook_secrets(
                session, runtime.vault, github_id=claim.github_id, full_name=claim.full_name
            )
    except ConfigurationError as exc:
        # Our own key is wrong: that is not the sender's mistake, and can be corrected.
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
    """Store a delivery; a push is judged before the transaction, see `Judgement`."""
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
    """Find the repository that a body is about; None: it is not configured.

    Raises:
        SignatureError: the body is not signed with a secret that is valid for that repository.
    """
    claimed = claimed_repositories(
        session, github_id=subject.github_id, full_name=subject.full_name
    )
    for repository in claimed:
        if _covers(session, signed_by, repository.id or 0):
            return repository
    # A repository's own secret is not valid for any other repository, configured or not.
    if claimed or GLOBAL not in signed_by:
        raise SignatureError
    return None


def _covers(session: Session, signed_by: frozenset[int], repository_id: int) -> bool:
    """Whether a signature is valid for a repository; one without a secret uses the global one."""
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
