"""Chooses the line of a failed command's output that says what went wrong. Pure.

A build tool prints its cause, and then every program around it adds a line of its own: the compiler
names the mistake, make names the compiler's exit code, and npm says where its log is. So lines have
ranks, by the patterns below, and the best rank wins. The lines come from outside: each one costs
little, and only few are held.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from jobs.rules.text import one_line

LONGEST_READ = 1000  # characters of a line that are compared with the patterns
CLIPPED = "[output clipped, log limit "  # how BuildKit says so, in a line of its own
LONGEST_HELD = 64 * 1024  # characters of a line that are given; far longer than any secret


class Rank(IntEnum):
    """How well a line says what went wrong; the lowest is the best."""

    MISTAKE = 0  # a compiler, a shell or a bundler names a place or a program
    NAMES = 1  # a host name could not be resolved
    EXCEPTION = 2  # a program ended with an exception
    TOOL = 3  # a tool says in its own form why it ended
    WORDS = 4  # a line that sounds like an error
    SUMMARY = 5  # only says that another program failed
    ERRORS = 6  # any line of the standard error
    OUTPUT = 7  # any line of the standard output


# Of these ranks the last line counts: what was printed before may have been tolerated. Of the
# others the first, because one mistake causes the next.
LAST_COUNTS = frozenset({Rank.EXCEPTION, Rank.WORDS, Rank.SUMMARY, Rank.ERRORS, Rank.OUTPUT})


@dataclass(frozen=True)
class Rule:
    """The lines of one rank. If the next line matches `then`, it belongs to the cause."""

    rank: Rank | None  # None: the line says nothing
    pattern: re.Pattern[str]
    then: re.Pattern[str] | None = None


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_ANY = re.compile(r"\S")
_SH = r"^(?:/\S{1,200}/)?(?:ba|da|a|z|k)?sh: (?:\d+: |line \d+: )?"
_EXCEPTION = r"(?:[A-Za-z_$][\w$]*(?:\.|::|/))*(?:[A-Z][\w$]*)?(?:Error|Exception)(?: \[\w+\])?: \S"

# What programs say without a working DNS: apt, pip, npm, apk, go, curl, git, cargo, Java.
NO_NAMES = re.compile(
    r"temporary failure (?:in name resolution|resolving)|\bEAI_AGAIN\b|\bENOTFOUND\b"
    r"|could not resolve (?:host|')|\bbad address '|name or service not known|no such host"
    r"|server misbehaving|nodename nor servname|failed to resolve '|failed to lookup address"
    r"|dns error|dns lookup error|name does not resolve|temporary error \(try again later\)"
    r"|UnknownHostException|no address associated with hostname",
    re.IGNORECASE,
)

# In this order: the first rule that matches a line decides.
RULES: Sequence[Rule] = (
    Rule(Rank.NAMES, NO_NAMES),
    Rule(
        None,
        _any(
            r"^npm (?:ERR!|error)\s*(?:$|code |errno |syscall |path |dest |command |signal )",
            r"^npm (?:ERR!|error) (?:A complete log|Lifecycle script|Exit status|Failed at the )",
            r"^npm (?:ERR!|error) (?:Error: command failed|  ?(?:in workspace|at location): )",
            r"^npm (?:ERR!|error) (?:This is probably not|There is likely|\s+/|\S+@\S+ \w+: `)",
            r"^npm (?:ERR!|error) (?:If you are |If you need help|enoent This is related)",
            r"^npm (?:ERR!|error) (?:To see a list of scripts|  npm run$|Did you mean)",
            r"^npm (?:notice|warn|WARN)\b|^\[notice\]|^info Visit |^warning |^WARN",
            r"^WARNING: |^\s*(?:note|hint|warning|help)(?:\[\w+\])?: |^Node\.js v\d",
            r"^\s*(?:at |from )\S|^\s*File \"|^\s*\.\.\. |^\s*[\^~|]+\s*$|^\s*\d* \| ",
            r"^ERROR: pip's dependency resolver",
            r"^\[ERROR\]\s*(?:$|-> |\[Help|To see|Re-run|For more|After correcting)",
            r"^\* (?:Try|Get more help)|^> Run with |^> Get more help|^BUILD FAILED|^\[INFO\]",
            r"^For more information|^Some errors have detailed",
            r"^mv: .*\.tmp|^debconf: |^go: (?:downloading|finding|extracting|added|upgraded)",
            r"^\w+ aborted!$|^\s*(?:compilation terminated\.|Traceback \(most recent call last\):)",
        ),
    ),
    Rule(
        Rank.SUMMARY,
        _any(
            r"^g?make(?:\[\d+\])?: \*\*\* \[",
            r"^(?:npm (?:ERR!|error) )?gyp ERR! (?:build error|stack Error: `|not ok)",
            r"^error Command failed with exit code|ELIFECYCLE|^error: script \".*\" exited with",
            r"^collect2: error: ld returned|^error: command '.*' failed with exit",
            r"^error: (?:could not compile|aborting due|build failed|subprocess-exited)",
            r"^\s*(?:error: subprocess-exited|ERROR: (?:Failed building|Could not build wheels))",
            r"^\s*ERROR: (?:Failed to build|Command errored|Exception:)|^Failed to compile\.$",
            r"^\[ERROR\] (?:Failed to execute goal|COMPILATION ERROR)",
            r"^E: (?:Some index files|Unable to fetch some archives|Sub-process )",
            r"^An error occurred while installing|^Your requirements could not be resolved",
            r"^Your lock file does not contain|^error during build:|^ERROR: failed to solve",
            r"^ninja: build stopped|^FAILURE: Build failed|^> Compilation (?:failed|error)",
            r"^Execution failed for task|^\s*\u00d7 .* did not run successfully",
            r"^gem install|^Command failed|^\d+ errors? generated|^Found \d+ errors?",
        ),
    ),
    Rule(
        Rank.MISTAKE,
        re.compile(r"^(?:error\[E\d+\]: |error: (?=.*\b(?:expected|cannot find|unexpected)\b))"),
        then=re.compile(r"^\s*--> "),
    ),
    Rule(Rank.MISTAKE, re.compile(r"^ERROR in \S"), then=re.compile(r"^(?:Module |TS\d|\S+Error)")),
    Rule(
        Rank.MISTAKE,
        _any(
            # gcc, clang, swiftc, javac, tsc, csc and MSBuild
            r"^\s{0,8}\S{1,300}?[:(]\d+(?:[:,]\d+)?\)?:? (?:- )?(?:fatal )?error\b",
            r"\b(?:fatal )?error [A-Z]{2,}\d+: ",
            r"^\S{1,300}\.go:\d+(?::\d+)?: ",
            r"^\[(?:ERROR|error)\] \S{1,300}\.\w+:\[?\d+|^e: \S{1,300}:\(?\d+",
            r": undefined reference to |^\S*ld(?:\.\w+)?: cannot find ",
            # The bundlers of the web, and linters
            r"^\s*Module not found: |^Type error: |^\[vite\]: Rollup failed to resolve",
            r"^\W{1,4}\[ERROR\] \S|^\s+\d+:\d+\s+error\s+\S",
            # Shells
            rf"{_SH}.{{1,300}}: (?:command )?not found$",
            r"^\S{1,300}: (?:line )?\d+: .{1,300}: (?:command )?not found$",
            r"^(?:/usr/bin/)?env: .{1,300}: No such file or directory$",
            r"^g?make(?:\[\d+\])?: \S{1,300}: (?:No such file|Command not found|Permission denied)",
            r"^(?:npm (?:ERR!|error) )?gyp ERR! (?:find Python Could not|stack Error: not found)",
            r"^Can't find the '|^== Compilation error in file",
        ),
    ),
    Rule(
        Rank.EXCEPTION,
        re.compile(r"^thread '.{1,200}' panicked at"),
        then=_ANY,
    ),
    Rule(
        Rank.EXCEPTION,
        _any(
            rf"^\s{{0,8}}(?:Uncaught |Caused by: )?{_EXCEPTION}",
            r"^Exception in thread |^\*\* \(|^(?:PHP )?(?:Fatal|Parse) error: |^panic: ",
            r"^\S{1,300}:\d+:in .{1,600} \((?:\w+::)*[A-Z]\w*\)$",
        ),
    ),
    Rule(
        Rank.TOOL,
        _any(
            r"^\* What went wrong:",
            r"^ERROR: unable to select packages:",
            r"^In \w+\.php line \d+:",
            r"^CMake Error\b",
        ),
        then=_ANY,
    ),
    Rule(Rank.TOOL, re.compile(r"^\s*\u00d7 \S"), then=re.compile(r"^\s*[╰└]─▶ ")),
    Rule(Rank.TOOL, re.compile(r"^Because \S"), then=re.compile(r"version solving failed\.$")),
    Rule(
        Rank.TOOL,
        _any(
            r"^npm (?:ERR!|error) \S|^error \S|^\s?ERR_PNPM_\w+|^Usage Error: ",
            r"^➤ YN00(?:01|09|18|27|28|35|41|50|66|82): ",
            r"^\s{0,8}(?:fatal|error|ERROR|FATAL|FAILED)(?: error)?: \S",
            r"^[\w./+-]{1,60}: (?:fatal )?error: \S",
            r"^E: \S|^go: \S|^go\.mod:\d|^\[ERROR\] \S|^\[error\] \S",
            r"^pyproject\.toml changed |^Poetry could not |^Group\(s\) not found",
            r"^Could not (?:find|locate|fetch|reach|resolve) |^Your Ruby version is |^Your bundle ",
            r"^\s*- (?:Root composer\.json requires|\S+ .{0,200}requires? ext-)",
            r"^Composer could not |^g?make(?:\[\d+\])?: \*\*\* \S|^Task '.{1,200}' not found",
            r"^(?:cp|mv|cat|rm|tar|ln|chmod|chown|mkdir|sed|install|unzip|gzip|wget|curl|git): \S",
            rf"{_SH}\S|^FAIL(?:ED)? \S",
        ),
    ),
    Rule(
        Rank.WORDS,
        re.compile(
            r"\b(?:error|fatal|failed|cannot|can't|could not|unable to|not found|no such file"
            r"|denied|refused|missing|invalid|unsupported)\b",
            re.IGNORECASE,
        ),
    ),
)
_TRACEBACK = re.compile(r"^(\s*)Traceback \(most recent call last\):")
_PYTHONS_OWN = re.compile(r"^\s*[A-Za-z_][\w.]*(?:: \S|$)")


class Cause:
    """Reads a command's output line by line, and gives the line that says what went wrong.

    Attributes:
        is_clipped: whether the engine left out a part of the output, and said so.
    """

    def __init__(self) -> None:
        self.is_clipped = False
        self._found: dict[Rank, str] = {}
        self._then: tuple[Rank, re.Pattern[str]] | None = None
        self._indent: str | None = None  # of the traceback that is being read

    def feed(self, line: str, *, is_error: bool = False) -> None:
        """Read the next line.

        Args:
            is_error: whether the command wrote it to its standard error.
        """
        text = _clean(line[:LONGEST_READ])
        if not text.strip():
            return
        if text.startswith(CLIPPED):
            self.is_clipped = True
            return
        if self._goes_on(text, line):
            return
        rank, then = self._judged(text)
        if rank is None:
            return
        if rank is Rank.OUTPUT and is_error:
            rank = Rank.ERRORS
        if rank in LAST_COUNTS or rank not in self._found:
            self._found[rank] = line[:LONGEST_HELD]
            self._then = (rank, then) if then else None

    @property
    def line(self) -> str:
        """The cause in one line, not yet masked; empty when nothing was printed."""
        best = self._found[min(self._found)] if self._found else ""
        return " ".join(map(str.strip, best.splitlines())).strip()

    def _goes_on(self, text: str, line: str) -> bool:
        """Add the line to the cause before, if it belongs to it."""
        goes_on, self._then = self._then, None
        if goes_on is None or not goes_on[1].search(text):
            return False
        rank = goes_on[0]
        self._found[rank] = f"{self._found[rank]}\n{line[:LONGEST_HELD]}"
        return True

    def _judged(self, text: str) -> tuple[Rank | None, re.Pattern[str] | None]:
        if traceback := _TRACEBACK.match(text):
            self._indent = traceback[1]
            return None, None
        if self._indent is not None and not text.startswith(f"{self._indent} "):
            self._indent = None
            if _PYTHONS_OWN.match(text):
                return Rank.EXCEPTION, None
        rule = next((rule for rule in RULES if rule.pattern.search(text)), None)
        return (Rank.OUTPUT, None) if rule is None else (rule.rank, rule.then)


def _clean(text: str) -> str:
    """Remove what is not seen, and keep the blanks at the beginning, which the patterns need."""
    indent = text[: len(text) - len(text.lstrip())]
    return indent + one_line(text)
