"""The problems that need a person, worst first, each with a link. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from dashboard.labels import Shape, Tone
from dashboard.overview_reads import (
    IdentityTrouble,
    Machine,
    MissedPushes,
    NameAdvice,
    Standing,
    TokenTrouble,
    Unused,
)
from jobs.reads.waiting import is_silent
from jobs.rules.token_trouble import token_problem
from jobs.states import AppState
from jobs.storage.models import Vitals

WORST_FIRST = (Tone.BAD, Tone.WARN, Tone.IDLE)
PARTS = {"docker": "Docker", "router": "The router", "redis": "Redis", "disk": "The disk"}


Trouble = TokenTrouble | IdentityTrouble | Unused | MissedPushes | NameAdvice


@dataclass(frozen=True)
class Concern:
    """One problem that needs a person."""

    tone: Tone
    shape: Shape
    subject: str
    words: str
    href: str = ""  # empty: no page shows it
    app: str = ""  # the app that it is about; empty: not about one app


def concerns(
    apps: Sequence[Standing],
    troubles: Sequence[Trouble],
    machine: Machine,
    at: datetime,
) -> list[Concern]:
    """List the problems by tone; within a tone the machine's first, then apps', then the rest."""
    found = [
        *_of_machine(machine.vitals, at),
        *(concern for app in apps for concern in _of_app(app)),
        *(_of_trouble(trouble, at) for trouble in troubles),
        *_of_certificates(machine),
    ]
    return sorted(found, key=lambda concern: WORST_FIRST.index(concern.tone))


def _of_machine(vitals: Vitals | None, at: datetime) -> Iterator[Concern]:
    if vitals is None:
        return
    if is_silent(vitals, at):
        words = "has been silent: nothing is repaired, and GitHub is told nothing; look at its log"
        yield Concern(Tone.BAD, Shape.ALERT, "The watcher", words)
        return
    for part, problem in vitals.problems.items():
        yield Concern(Tone.BAD, Shape.ALERT, PARTS.get(part, part), problem)
    if vitals.workers == 0:
        words = "are not there: what is pushed waits; `keystone doctor` knows more"
        yield Concern(Tone.BAD, Shape.ALERT, "Workers", words)


def least_free(vitals: Vitals) -> int:
    """Give the free bytes of the fuller of the two disks: Keystone's and Docker's."""
    engines = vitals.disk_free if vitals.engine_free is None else vitals.engine_free
    return min(vitals.disk_free, engines)


def _of_app(app: Standing) -> Iterator[Concern]:
    where = {"subject": app.name, "href": f"/apps/{app.name}", "app": app.name}
    match app.state:
        case AppState.FAILING:
            yield Concern(Tone.BAD, Shape.CROSS, words=app.reason, **where)
        case AppState.STOPPED:
            yield Concern(Tone.BAD, Shape.STOP, words=app.reason or "it is stopped", **where)
        case AppState.RUNNING if app.reason:
            words = app.reason if app.went_back else f"{app.reason}; the previous version serves"
            yield Concern(Tone.WARN, Shape.ALERT, words=words, **where)
        case _:
            pass
    if app.is_paused:
        why = f": {app.paused_reason}" if app.paused_reason else ""
        yield Concern(Tone.IDLE, Shape.PAUSE, words=f"auto-deploy is paused{why}", **where)
    if app.needs_redeploy:
        words = "its configuration has changed since what is live; deploy it to apply that"
        yield Concern(Tone.IDLE, Shape.SKIP, words=words, **where)


def _of_trouble(trouble: Trouble, at: datetime) -> Concern:
    match trouble:
        case NameAdvice(words):
            return Concern(Tone.IDLE, Shape.ALERT, "The dashboard", words)
        case TokenTrouble():
            return _of_token(trouble, at)
        case IdentityTrouble(repository, app, words):
            return Concern(Tone.WARN, Shape.ALERT, repository, words, f"/apps/{app}", app)
        case Unused(repository, page):
            words = (
                "has no app any more, but its token, webhook secret and source are kept; "
                "`keystone repository remove` forgets them"
            )
            return Concern(Tone.IDLE, Shape.SLASH, repository, words, page)
        case MissedPushes(repository, words):
            href = f"/deliveries?repository={quote(repository)}"
            return Concern(Tone.WARN, Shape.ALERT, repository, words, href)


def _of_token(trouble: TokenTrouble, at: datetime) -> Concern:
    words = token_problem(trouble.problem, trouble.expires_at, at=at) or ""
    tone = Tone.BAD if trouble.problem else Tone.WARN
    href = f"/apps/{trouble.app}"
    return Concern(tone, Shape.ALERT, trouble.repository, words, href, trouble.app)


def _of_certificates(machine: Machine) -> Iterator[Concern]:
    for certificate in machine.certificates:
        if certificate.problem:
            words = f"its certificate {certificate.problem}"
            href = f"/apps/{certificate.app}" if certificate.app else ""
            yield Concern(
                Tone.WARN, Shape.ALERT, certificate.domain, words, href, certificate.app or ""
            )
