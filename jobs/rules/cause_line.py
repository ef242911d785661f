"""Chooses the line of a program's last output that says why it failed. Pure.

Programs write the cause to standard error, often followed by lines that only surround it: a stack
trace, the interpreter's version, where a log was written, how to see more.
"""

import re
from collections.abc import Sequence

from jobs.rules.container_values import OutputLine
from jobs.rules.text import one_line, plain

LONGEST_MATCHED = 500  # characters: bounds what a hostile line costs

# Lines that do not hold the cause. The words of each tool are those of its present versions and of
# the one before, which many images still have.
_NPM = r"npm\s(?:ERR!|error)\s*"
_NOISE = re.compile(
    "|".join(
        (
            r"\W*",  # rules and carets
            r"\s+(?:at|from)\s\S.*|\s*\.\.\.\s\d+\smore",  # frames: Node, Java, .NET, Ruby
            r'\s*File\s".*",\sline\s\d+.*|Traceback\s\(most\srecent\scall\slast\):',  # Python
            r"(?:During\shandling\sof|The)\s(?:the\s)?above\sexception\b.*",  # Python
            r"\s*#\d+\s.*|\s+thrown\sin\s.*",  # frames: PHP
            r"goroutine\s\d+\s\[.*|created\sby\s.*|\t.*\.go:\d+.*|[\w./*()-]+\(.*\)",  # frames: Go
            r"exit\sstatus\s\d+",  # go run
            r"note:\srun\swith\s.*|stack\sbacktrace:|\s*\d+:\s.*::.*",  # Rust
            r"Node\.js\sv[\d.]+|\(node:\d+\)\s.*|\(Use\s`node\s.*",
            r"(?i:\W?warn(?:ing)?\b.*)|npm\s(?:notice|warn|WARN)\b.*",
            rf"{_NPM}(?:A\scomplete\slog\sof\sthis\srun.*|/.*|[A-Z]:\\.*)?",
            rf"{_NPM}(?:code|errno|path|syscall|command|signal|cwd|workspace|location)\s.*",
            rf"{_NPM}(?:Exit\sstatus|Failed\sat\sthe|This\sis\sprobably|Lifecycle\sscript)\s.*",
            rf"{_NPM}(?:To\ssee\sa\slist\sof\sscripts.*|npm\srun.*|\S+@\S+\s\S+:\s.*)",
            r"error\sCommand\sfailed\swith\sexit\scode.*|info\sVisit\s.*",  # yarn
            r"\s?ELIFECYCLE\b.*",  # pnpm
        )
    )
)
# Lines that hold the cause wherever they stand: traces and consequences follow them.
_CAUSE = re.compile(
    r"panic:\s|fatal(?:\serror)?:\s|Caused\sby:\s|thread\s'.*'\spanicked\sat\s|PHP\sFatal\serror:"
    r"|.*\bFATAL\b|(?:Uncaught\s|Unhandled\s[Ee]xception[.:]\s)?[A-Za-z_][\w.:$]*"
    r"(?:Error|Exception)(?:\s\[\w+\])?(?::\s|$)|.*\((?:\w+::)*\w*Error\)$"
)


def cause_of(lines: Sequence[OutputLine]) -> str:
    """Give the line of a program's last output that says why it failed; empty if it wrote nothing.

    It is the last line on standard error that names an error, or else the last one there that is
    no noise; without one, the same on standard output. The line is as the program wrote it: neither
    masked nor shortened.
    """
    errors = [line.text for line in lines if line.is_error]
    others = [line.text for line in lines if not line.is_error]
    everything = [line.text for line in lines]
    return _cause_among(errors) or _cause_among(others) or _last(everything)


def _cause_among(texts: Sequence[str]) -> str:
    told = [(text, shape) for text in texts if not _NOISE.fullmatch(shape := _shape(text))]
    causes = [text for text, shape in told if _CAUSE.match(shape)]
    # Source code, and the lines of a message after its first one, are indented.
    flush = [text for text, shape in told if not shape[:1].isspace()]
    return _last(causes) or _last(flush) or _last([text for text, _ in told])


def _shape(text: str) -> str:
    return plain(text[:LONGEST_MATCHED]).rstrip()


def _last(texts: Sequence[str]) -> str:
    return next((text for text in reversed(texts) if one_line(text)), "")
