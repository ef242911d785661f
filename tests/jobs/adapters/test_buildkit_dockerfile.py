"""What is read in a Dockerfile: its instructions' lines, directives and build arguments."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.buildkit.dockerfile import (
    declared_arguments,
    directives,
    has_heredocs,
    instructions,
    line_of,
)

TEXT = """\
# syntax=docker/dockerfile:1
# a comment

FROM node:20 AS build
ARG KEYSTONE_COMMIT
ARG A=1 B="two words" C
RUN npm ci && \\
    # a comment between
    npm run build
RUN <<EOF
ARG INSIDE
RUN make
EOF
COPY $SRC/${NAME} /x
FROM scratch
RUN make
COPY --from=build /a /a
RUN make
"""


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("[build 2/5] RUN npm ci &&     npm run build", 7),
        ("[build 3/5] RUN <<EOF (ARG INSIDE...)", None),
        ("[build 4/5] COPY src/name /x", 14),
        ("[stage-1 2/4] COPY --from=build /a /a", 17),
        ("[stage-1 1/4] RUN make", None),  # there are two
        ("FROM scratch", 15),
        ("[internal] load build context", None),
        ("", None),
    ],
)
def test_line_of_a_step(step: str, line: int | None) -> None:
    assert line_of(TEXT, step) == line


def test_arguments_that_are_declared() -> None:
    # A value in quotes is split at its blank: its second word is taken for a name too many.
    assert declared_arguments(TEXT) >= {"KEYSTONE_COMMIT", "A", "B", "C"}
    assert "INSIDE" not in declared_arguments(TEXT)


def test_directives_stand_before_everything() -> None:
    assert directives(TEXT) == {"syntax": "docker/dockerfile:1"}
    assert directives("\ufeff#syntax = a/b \n# escape=`\nFROM x") == {
        "syntax": "a/b",
        "escape": "`",
    }
    assert directives("FROM x\n# syntax=a") == {}
    assert directives("\n# syntax=a") == {}


def test_escape_character_may_be_another() -> None:
    text = "# escape=`\nFROM x\nRUN a `\n  b\nCOPY c:\\ d\n"

    assert [(each.line, each.text) for each in instructions(text)] == [
        (2, "FROM x"),
        (3, "RUN a  b"),
        (5, "COPY c:\\ d"),
    ]


def test_heredocs_are_known() -> None:
    assert has_heredocs(TEXT)
    assert not has_heredocs("FROM x\nRUN echo 1\n")


@given(st.text(), st.text())
def test_any_text_can_be_read(text: str, step: str) -> None:
    line_of(text, step)
    declared_arguments(text)
    directives(text)


@pytest.mark.parametrize(
    "piece", ["\\\n", "RUN <<A\n", "ARG a ", "$a", "${", "# a=b\n", "FROM a AS "]
)
def test_hostile_texts_cost_little(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()

    line_of(text, "[a 1/2] RUN " + "x" * 100_000)
    declared_arguments(text)
    assert time.process_time() - started < 20


def test_a_hostile_directive_costs_little() -> None:
    started = time.process_time()
    told = directives("# syntax = a" + " " * 1_000_000 + "b\n# escape=` \nFROM x")
    assert time.process_time() - started < 10
    assert told["escape"] == "`"
