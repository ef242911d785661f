"""Reads a Dockerfile as far as error messages and build arguments need it. Pure.

The builder alone decides what a Dockerfile means. This module finds the line of an instruction, the
frontend, and the declared build arguments; the text comes from a repository, so each function costs
a time that grows with the text's length only.

Source: https://docs.docker.com/reference/dockerfile/ (read 2026-12-01).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jobs.rules.text import BYTE_ORDER_MARK

MOST_INSTRUCTIONS = 10_000
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(\S.*)")
_HEREDOC = re.compile(r"<<-?\s*([\"']?)([A-Za-z_][A-Za-z0-9_]{0,200})\1")
_WITH_HEREDOCS = frozenset({"RUN", "COPY", "ADD"})
_STAGE = re.compile(r"^\[(?:(\S+) )?\d+/\d+\] ")
_AS = re.compile(r"\sAS\s+(\S+)\s*$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[^}]{0,500}\}|\$\w+")
_ARGUMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=|\s|$)")


@dataclass(frozen=True)
class Instruction:
    """One instruction: the number of its first line, its stage, and its text on one line."""

    line: int
    stage: str
    text: str
    has_heredoc: bool = False

    @property
    def word(self) -> str:
        """The instruction's name, like RUN."""
        return self.text.split(maxsplit=1)[0].upper()


def instructions(text: str) -> Iterator[Instruction]:
    """Give the instructions in order, at most `MOST_INSTRUCTIONS`."""
    escape = "`" if directives(text).get("escape") == "`" else "\\"
    lines = enumerate(text.removeprefix(BYTE_ORDER_MARK).splitlines(), start=1)
    stages, stage = -1, ""
    for _ in range(MOST_INSTRUCTIONS):
        found = _next(lines, escape)
        if found is None:
            return
        number, whole, has_heredoc = found
        if whole.split(maxsplit=1)[0].upper() == "FROM":
            stages += 1
            named = _AS.search(whole)
            stage = named[1].lower() if named else f"stage-{stages}"
        yield Instruction(number, stage, whole, has_heredoc)


def _next(lines: Iterator[tuple[int, str]], escape: str) -> tuple[int, str, bool] | None:
    first, parts = 0, []
    for number, line in lines:
        told = line.strip()
        if not told or told.startswith("#"):
            continue  # also between the lines of one instruction
        first = first or number
        parts.append(told.removesuffix(escape))
        if not told.endswith(escape):
            break
    whole = " ".join(parts).strip()
    if not whole:
        return (first, escape, False) if first else None
    has_heredoc = whole.split(maxsplit=1)[0].upper() in _WITH_HEREDOCS and "<<" in whole
    if has_heredoc:
        _skip_heredocs(lines, [found[2] for found in _HEREDOC.finditer(whole)])
    return first, whole, has_heredoc


def _skip_heredocs(lines: Iterator[tuple[int, str]], words: list[str]) -> None:
    for word in words:
        for _, line in lines:
            if line.strip("\t\r\n ") == word:
                break


def directives(text: str) -> dict[str, str]:
    """Give the parser directives, which stand in comments before everything else."""
    found: dict[str, str] = {}
    for line in text.removeprefix(BYTE_ORDER_MARK).splitlines():
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None or directive[1].lower() in found:
            return found
        found[directive[1].lower()] = directive[2]
    return found


def has_heredocs(text: str) -> bool:
    """Whether an instruction has a here-document."""
    return any(each.has_heredoc for each in instructions(text))


def declared_arguments(text: str) -> set[str]:
    """Give the names of the build arguments that the Dockerfile declares with ARG."""
    names: set[str] = set()
    for each in instructions(text):
        if each.word == "ARG":
            words = each.text.split()[1:]
            names |= {found[1] for word in words if (found := _ARGUMENT.match(word))}
    return names


def line_of(text: str, step: str) -> int | None:
    """Find the line of the instruction that a step of a build is named after.

    Args:
        step: the builder's name of the step, like "[build 2/4] RUN make".

    Returns:
        None when no instruction, or more than one, can be meant.
    """
    prefix = _STAGE.match(step)
    stage = (prefix[1] or "").lower() if prefix else ""
    wanted = _squashed(step[prefix.end() :] if prefix else step)
    every = list(instructions(text))
    within = [each for each in every if each.stage == stage] or every
    same = [each for each in within if _squashed(each.text) == wanted]
    same = same or [each for each in within if _fits(_squashed(each.text), wanted)]
    return same[0].line if len(same) == 1 else None


def _fits(template: str, wanted: str) -> bool:
    """Whether a text is a template with something in the place of each variable."""
    first, *rest = _VARIABLE.split(template)
    if not rest or not wanted.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = wanted.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return wanted.endswith(rest[-1]) and at <= len(wanted) - len(rest[-1])


def _squashed(text: str) -> str:
    return "".join(text.split())
