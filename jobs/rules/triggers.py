"""Decides which apps a push deploys, and compares the order of pushes. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TypeVar

from jobs.errors import RulesChangedError
from jobs.rules.app_settings import PushRules
from jobs.rules.globs import Texts
from jobs.rules.push_patterns import Pattern, at_first, is_tag_wanted, path_patterns
from jobs.rules.refs import BRANCH_PREFIX, NEWEST_TAG, TAG_PREFIX
from jobs.rules.text import shown_name
from jobs.states import DeployOn

# The longest path that git can check out (PATH_MAX); GitHub sends no longer ones.
LONGEST_PATH = 4096
MOST_PATH_CHARACTERS = 500_000
# The budget for matching the paths of one push, for all apps of a repository together: about 0.1 s.
# The unit is one character of a pattern times one character of the paths (0.13 ns).
MOST_COST = 500_000_000
COST_TO_PARSE = 3000  # for each character of a pattern
TRIES = 5
MOST_SHOWN = 40  # characters of a pattern, in a sentence


@dataclass(frozen=True)
class Push:
    """The content of a verified `push` delivery, bounded and typed.

    `commit_sha` is the id of the head commit: `after` may be the id of a tag object instead.
    """

    github_id: int
    full_name: str
    ref: str
    before: str
    commit_sha: str  # empty when the ref was deleted
    deleted: bool
    message: str
    author: str
    sender: str
    pushed_at: int | None  # seconds; GitHub's clock
    paths: frozenset[str] | None = None  # touched paths; None: the payload does not show them


@dataclass(frozen=True)
class Rule:
    """The conditions under which a push deploys an app."""

    app: str
    branch: str
    auto_deploy: bool
    wanted: PushRules = field(default_factory=PushRules)


@dataclass(frozen=True)
class Deploy:
    """The push deploys the app."""


@dataclass(frozen=True)
class Ignored:
    """The push does not deploy the app, for this reason."""

    reason: str


Verdict = Deploy | Ignored
Result = TypeVar("Result")


def bounded_paths(paths: Iterable[str]) -> frozenset[str] | None:
    """Collect the paths that a push touched; None if they are too many or too long to match.

    None means that the push may have touched any path.
    """
    found, size = set[str](), 0
    for path in paths:
        if path in found:
            continue
        size += len(path)
        if len(path) > LONGEST_PATH or size > MOST_PATH_CHARACTERS:
            return None
        found.add(path)
    return frozenset(found)


class Judgement:
    """The verdicts whether one push deploys the apps of its repository, one for each rule.

    Matching paths takes time, and nobody else can write during the transaction that queues
    deployments. So the verdicts are computed before it, and the transaction only looks up those of
    the rules that it reads.
    """

    def __init__(self, push: Push, rules: Iterable[Rule] = ()) -> None:
        self.push = push
        self._touched = _Touched(push.paths)
        self._verdicts: dict[Rule, Verdict] = {}
        self._judges_at_once = False
        self._judge(rules)

    def on(self, rules: Sequence[Rule]) -> list[Verdict]:
        """Look up the verdicts on rules that were judged before.

        Raises:
            RulesChangedError: some of the rules were not judged.
        """
        unknown = [rule for rule in rules if rule not in self._verdicts]
        if unknown and not self._judges_at_once:
            raise RulesChangedError(unknown)
        self._judge(unknown)
        return [self._verdicts[rule] for rule in rules]

    def settle(self, attempt: Callable[[], Result]) -> Result:
        """Run a transaction that looks up verdicts; retry it if the rules have changed.

        If the rules change each time, the last attempt computes verdicts inside its transaction.
        """
        for _ in range(TRIES):
            try:
                return attempt()
            except RulesChangedError as exc:
                self._judge(exc.rules)
        self._judges_at_once = True
        return attempt()

    def _judge(self, rules: Iterable[Rule]) -> None:
        for rule in rules:
            self._verdicts[rule] = _decide(self.push, rule, self._touched)


def decide(push: Push, rule: Rule) -> Verdict:
    """Decide whether a push deploys an app."""
    return _decide(push, rule, _Touched(push.paths))


def _decide(push: Push, rule: Rule, touched: "_Touched") -> Verdict:
    if other := _other_ref(push.ref, rule):
        return Ignored(other)
    if push.deleted or not push.commit_sha:
        return Ignored(f"{short_ref(push.ref)} was deleted")
    if not rule.auto_deploy:
        return Ignored(f"auto-deploy of {rule.app} is paused")
    if phrase := _skip_phrase(push.message, rule.wanted.skip_phrases):
        return Ignored(f"the commit message says {phrase}")
    if rule.wanted.watch_paths and not touched.any_of(rule.wanted.watch_paths):
        return Ignored(untouched(rule.app, rule.wanted.watch_paths))
    return Deploy()


def touches(paths: Iterable[str] | None, patterns: Sequence[str]) -> bool:
    """Whether any of the paths matches the patterns; true when the paths are unknown."""
    return _Touched(paths).any_of(patterns)


class _Touched:
    """The paths that a push touched, matched against the patterns of all apps.

    All patterns share one budget. Once it is used up, every further pattern counts as matching: one
    deployment too many is better than a missed one.
    """

    def __init__(self, paths: Iterable[str] | None, *, budget: int = MOST_COST) -> None:
        self._paths = None if paths is None else bounded_paths(paths)
        self._budget = budget
        self._parsed: dict[str, tuple[Pattern, ...]] = {}
        self._known: dict[Pattern, bool] = {}

    def any_of(self, patterns: Iterable[str]) -> bool:
        """Whether the push touched, or may have touched, a path that the patterns match."""
        if self._paths is None:
            return True
        known = self._taken_apart(patterns)
        if known is None:
            return True
        if any(pattern.is_negated for pattern in known):
            return self._in_order(known)
        return any(map(self._may_fit, known))

    def _taken_apart(self, texts: Iterable[str]) -> list[Pattern] | None:
        """Take patterns apart; None if the budget does not suffice."""
        found: list[Pattern] = []
        for text in texts:
            if text not in self._parsed:
                self._budget -= COST_TO_PARSE * len(text)
                if self._budget < 0:
                    return None
                self._parsed[text] = path_patterns(text)
            found.extend(self._parsed[text])
        return found

    def _in_order(self, patterns: Sequence[Pattern]) -> bool:
        ends = at_first(patterns, self._texts)
        for pattern in patterns:
            if not self._affords(pattern):
                return True
            ends = pattern.after(ends, self._texts)
        return ends != 0

    def _may_fit(self, pattern: Pattern) -> bool:
        if pattern not in self._known:
            self._known[pattern] = not self._affords(pattern) or bool(pattern.fitted(self._texts))
        return self._known[pattern]

    def _affords(self, pattern: Pattern) -> bool:
        if self._budget >= 0:
            self._budget -= pattern.cost(self._texts)
        return self._budget >= 0

    @cached_property
    def _texts(self) -> Texts:
        return Texts(self._paths or ())


def _other_ref(ref: str, rule: Rule) -> str:
    """Say why the app does not deploy a ref; return "" if it does."""
    if ref.startswith(TAG_PREFIX):
        if rule.wanted.tags is None:
            return f"{rule.app} does not deploy tags"
        if not is_tag_wanted(rule.wanted.tags, ref.removeprefix(TAG_PREFIX)):
            return f"{rule.app} deploys tags like {rule.wanted.tags}, not {short_ref(ref)}"
        return ""
    if rule.wanted.is_tags_only:
        return f"{rule.app} deploys only tags like {rule.wanted.tags}, not {short_ref(ref)}"
    if ref != f"{BRANCH_PREFIX}{rule.branch}":
        return f"{rule.app} deploys {rule.branch}, not {short_ref(ref)}"
    return ""


def _skip_phrase(message: str, phrases: Sequence[str]) -> str | None:
    lowered = message.lower()
    return next((phrase for phrase in phrases if phrase.lower() in lowered), None)


def untouched(app: str, patterns: Sequence[str]) -> str:
    """Say that a push touched nothing that an app watches, with the first patterns."""
    first = [f"{each[:MOST_SHOWN]}…" if len(each) > MOST_SHOWN else each for each in patterns[:3]]
    more = f" and {len(patterns) - 3} more" if len(patterns) > 3 else ""  # noqa: PLR2004
    return f"it touched nothing that {app} watches ({', '.join(first)}{more})"


def default_ref(branch: str, deploy_on: DeployOn) -> str:
    """Give the ref that an app deploys when nobody names another."""
    return NEWEST_TAG if deploy_on is DeployOn.TAGS else f"{BRANCH_PREFIX}{branch}"


def source_words(branch: str, deploy_on: DeployOn, tag_pattern: str | None) -> str:
    """Name what deploys an app: its branch or its tags."""
    return f"tags {tag_pattern or ''}".strip() if deploy_on is DeployOn.TAGS else branch


def short_ref(ref: str) -> str:
    """Give the short form of a ref: `main`, `tag v1`; replace misleading characters."""
    shown = shown_name(ref)
    if shown == NEWEST_TAG:
        return "the newest tag"
    if shown.startswith(TAG_PREFIX):
        return f"tag {shown.removeprefix(TAG_PREFIX)}"
    return shown.removeprefix(BRANCH_PREFIX)


class Order(Enum):
    """The order of one push relative to another of the same branch."""

    OLDER = "older"
    NEWER = "newer"
    UNKNOWN = "unknown"


def compare(pushed_at: int | None, other: int | None) -> Order:
    """Tell whether a push was made before or after another of the same branch.

    GitHub's clock decides. For two pushes in the same second the caller must look at the branch
    itself. The commits before and after the pushes do not prove their order, because a branch may
    return to an earlier commit.

    Args:
        pushed_at: the time of the push, in seconds since 1970; None if unknown.
        other: the time of the other push.
    """
    if pushed_at is None or other is None or pushed_at == other:
        return Order.UNKNOWN
    return Order.OLDER if pushed_at < other else Order.NEWER
