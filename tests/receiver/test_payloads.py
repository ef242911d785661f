"""GitHub's payloads, recorded and invented, as Push, Ping and Other."""

import json
import re
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from jobs.rules.push_payload import _Push
from jobs.rules.triggers import Push
from receiver.errors import PayloadError
from receiver.payloads import FORM, JSON, Other, Ping, Subject, _unquoted, parse
from tests.builders import PAYLOADS, SHA_B, payload, signed_push

OCTO_WEB = Subject(186853002, "octo/web")


def read(data: object, event: str = "push") -> object:
    """Parse a payload as GitHub sends it."""
    return parse(event, JSON, json.dumps(data).encode())


def push(**changes: object) -> Push:
    """Parse the recorded push with changes."""
    found = read(payload("push", **changes))
    assert isinstance(found, Push)
    return found


def test_a_push_becomes_what_decides_and_nothing_else() -> None:
    assert push() == Push(
        github_id=186853002,
        full_name="octo/web",
        ref="refs/heads/main",
        before="a" * 40,
        commit_sha=SHA_B,
        deleted=False,
        message="Answer faster\n\nBy caching.",
        author="Ada Lovelace",
        sender="ada",
        pushed_at=1795443345,
        paths=frozenset({"app/main.py"}),
    )


def test_the_paths_of_all_commits_are_known_together() -> None:
    commits = [{"added": ["a"], "removed": ["b"]}, {"modified": ["b", "c"]}]
    assert push(commits=commits).paths == frozenset({"a", "b", "c"})


@pytest.mark.parametrize(
    "changes",
    [
        {"forced": True},
        {"created": True},
        {"commits": []},
        {"commits": [{"added": ["a"]}] * 2048},
        {"commits": [{"added": [f"{number}" for number in range(3000)]}]},
    ],
    ids=["forced", "created", "no commits", "too many commits", "too many files"],
)
def test_a_list_that_may_leave_something_out_tells_no_paths(changes: dict[str, object]) -> None:
    assert push(**changes).paths is None


def test_a_tags_commit_is_the_head_commit_and_not_the_tag_object() -> None:
    found = read(payload("push_tag"))
    assert isinstance(found, Push)
    assert (found.ref, found.commit_sha) == ("refs/tags/v1.2.0", SHA_B)


def test_a_deleted_branch_has_no_commit() -> None:
    found = read(payload("push_branch_deleted"))
    assert isinstance(found, Push)
    assert (found.deleted, found.commit_sha) == (True, "")


def test_a_new_branch_without_commits_has_its_head() -> None:
    found = read(payload("push_branch_created"))
    assert isinstance(found, Push)
    assert (found.ref, found.commit_sha) == ("refs/heads/feature/log-in", SHA_B)


def test_without_a_head_commit_the_push_is_of_where_the_ref_points() -> None:
    assert push(head_commit=None).commit_sha == SHA_B


def test_an_author_without_a_user_name_is_still_named() -> None:
    found = read(payload("push_no_username"))
    assert isinstance(found, Push)
    assert found.author == "build bot"


def test_long_texts_are_cut_and_unstorable_characters_replaced() -> None:
    found = push(
        head_commit__message="x" * 5000,
        head_commit__author={"name": "\0" + "y" * 500},
        sender={"login": "z\ud800"},
    )
    assert (len(found.message), found.author, found.sender) == (
        2000,
        "\ufffd" + "y" * 199,
        "z\ufffd",
    )


def test_a_name_is_one_line_that_passes_for_no_other() -> None:
    found = push(
        head_commit__message="fix\r\nthe \x1b[8mthing\u2028\x00",
        head_commit__author={"name": "Ada\u200b\nLovelace\x1b[2J"},
        sender={"login": "ad\u200bmin\u2028user:root"},
    )
    assert found.message == "fix\nthe thing"
    assert (found.author, found.sender) == ("Ada\ufffd Lovelace\ufffd", "ad\ufffdmin user:root")


@pytest.mark.parametrize(
    ("given_time", "seconds"),
    [
        (1795443345, 1795443345),
        ("2026-11-23T13:55:45Z", 1795442145),
        ("2026-11-23T14:55:45+01:00", 1795442145),
        (None, None),
    ],
)
def test_the_time_of_a_push_is_a_number_or_an_iso_time(
    given_time: object, seconds: int | None
) -> None:
    assert push(repository__pushed_at=given_time).pushed_at == seconds


def test_the_time_of_a_push_may_be_missing() -> None:
    data = payload("push")
    del data["repository"]["pushed_at"]
    found = read(data)
    assert isinstance(found, Push)
    assert found.pushed_at is None


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/feature/a/b",
        "refs/heads/refs/heads/main",
        "refs/heads/$(touch${IFS}x)",
        "refs/heads/--upload-pack=x",
        "refs/heads/<script>alert(1)</script>",
        "refs/heads/ünïcödé-🚀",
    ],
)
def test_every_ref_that_git_allows_is_kept_as_it_is(ref: str) -> None:
    assert push(ref=ref).ref == ref


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": "main"},
        {"ref": "refs/heads/a b"},
        {"ref": "refs/heads/a\nb"},
        {"ref": "refs/heads/" + "x" * 600},
        {"ref": 1},
        {"before": "abc"},
        {"after": SHA_B.upper()},
        {"after": None},
        {"deleted": "false"},
        {"head_commit": []},
        {"head_commit__id": "HEAD"},
        {"head_commit__message": 5},
        {"repository": None},
        {"repository__id": "186853002"},
        {"repository__id": True},
        {"repository__id": 2**63},
        {"repository__id": 0},
        {"repository__full_name": "octo"},
        {"repository__full_name": "octo/web\n"},
        {"repository__full_name": "octo/../etc"},
        {"repository__pushed_at": -1},
        {"repository__pushed_at": 10**30},
        {"repository__pushed_at": "yesterday"},
        {"repository__pushed_at": [1]},
        {"sender": "ada"},
        {"commits": {}},
        {"commits": [{"added": [1]}]},
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(PayloadError):
        push(**changes)


@pytest.mark.parametrize(
    "field", ["ref", "before", "after", "deleted", "head_commit", "repository"]
)
def test_a_push_without_what_every_push_has_is_refused(field: str) -> None:
    data = payload("push")
    del data[field]
    with pytest.raises(PayloadError, match=field):
        read(data)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(PayloadError) as refusal:
        push(ref="refs heads <script>")
    assert "script" not in str(refusal.value)


def test_a_form_holds_the_same_json() -> None:
    request = signed_push(SecretStr("any"), as_form=True)
    assert parse("push", FORM, request.body) == push()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"other=1",
        b"payload=%7B%7D&payload=%7B%7D",
        b"payload=%ff%fe",
        b"payload=\xff",
        b"&".join([b"a=1"] * 50),
        b"&".join([b"payload=%7B%7D"] + [b"a=1"] * 50),
        b"payload=%7B%7",
        b"payload=%zz",
        b"payload=%%377B%7D",
    ],
)
def test_a_form_without_one_readable_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        parse("push", FORM, body)


@given(value=st.binary(max_size=100))
def test_a_forms_value_is_decoded_as_others_decode_it(value: bytes) -> None:
    assert _unquoted(quote_plus(value, safe="=_.!/").encode()) == value


@given(value=st.text("%3Dd=\n\r+_ &a", max_size=40))
def test_whatever_a_forms_value_is_it_is_decoded_as_others_do_or_refused(value: str) -> None:
    try:
        found = _unquoted(value.encode())
    except ValueError:
        assert re.search("%(?![0-9A-Fa-f]{2})", value)
        return
    assert found == unquote_to_bytes(value.replace("+", " "))


class TestFloods:
    """Bodies of a million items, of which a valid signature is no promise to be sensible."""

    def test_of_a_list_of_commits_no_more_are_read_than_github_lists(self) -> None:
        commits = [{"added": ["a"]}] * 2047 + [{"added": 1}]
        with pytest.raises(PayloadError, match="2047"):
            push(commits=commits)
        assert push(commits=[{"added": ["a"]}] * 2048 + [{"added": 1}]).paths is None

    def test_of_a_list_of_files_no_more_are_read_than_github_lists(self) -> None:
        assert push(commits=[{"added": ["a"] * 3000 + [1]}]).paths is None

    def test_one_mistake_of_a_million_is_described(self) -> None:
        data = payload("push", commits=[{"added": [1] * 100, "removed": [1] * 100}] * 100)
        with pytest.raises(ValidationError) as caught:
            _Push.model_validate(data)
        assert caught.value.error_count() <= 2

    def test_paths_beyond_what_can_be_matched_are_not_known(self) -> None:
        assert push(commits=[{"added": ["a" * 1_000_000] * 2}]).paths is None


def test_a_ping_names_its_repository() -> None:
    assert read(payload("ping"), "ping") == Ping(OCTO_WEB, "")


def test_an_organizations_ping_names_none() -> None:
    assert read(payload("ping_organization"), "ping") == Ping(None, "")


def test_a_ping_tells_what_is_wrong_with_the_hook() -> None:
    data = payload("ping", hook__events=["issues"], hook__config__insecure_ssl="1")
    found = read(data, "ping")
    assert isinstance(found, Ping)
    assert "tick the event `push`" in found.warning
    assert "certificates" in found.warning


def test_a_pushs_body_is_no_ping() -> None:
    with pytest.raises(PayloadError):
        read(payload("push"), "ping")


def test_any_other_event_names_its_repository_at_most() -> None:
    assert read(payload("issues"), "issues") == Other(OCTO_WEB)
    assert read({}, "meta") == Other(None)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        ("ref",),
        ("before",),
        ("after",),
        ("deleted",),
        ("head_commit",),
        ("head_commit", "id"),
        ("head_commit", "message"),
        ("head_commit", "author"),
        ("head_commit", "author", "name"),
        ("repository",),
        ("repository", "id"),
        ("repository", "full_name"),
        ("repository", "pushed_at"),
        ("sender",),
        ("sender", "login"),
        ("pusher", "name"),
        ("commits",),
        ("forced",),
        ("hook", "events"),
        ("hook", "config"),
    ]
)
EVENTS = st.sampled_from(["push", "ping", "issues"])
RECORDED = {path.stem: path.read_bytes() for path in PAYLOADS.glob("*.json")}


def _raises_nothing_else(event: str, content_type: str, body: bytes) -> None:
    try:
        parse(event, content_type, body)
    except PayloadError:
        return


@given(EVENTS, st.sampled_from([JSON, FORM]), st.binary(max_size=300))
def test_no_bytes_raise_anything_but_payload_error(event: str, kind: str, body: bytes) -> None:
    _raises_nothing_else(event, kind, body)


@given(EVENTS, st.sampled_from(sorted(RECORDED)), PATHS, JSON_VALUES)
def test_no_value_anywhere_raises_anything_but_payload_error(
    event: str, name: str, path: tuple[str, ...], value: object
) -> None:
    data = json.loads(RECORDED[name])
    target = data
    for key in path[:-1]:
        target = target.get(key)
        if not isinstance(target, dict):
            return
    target[path[-1]] = value
    _raises_nothing_else(event, JSON, json.dumps(data).encode())


@given(st.sampled_from(sorted(RECORDED)), st.data())
def test_no_cut_payload_raises_anything_but_payload_error(name: str, data: st.DataObject) -> None:
    body = RECORDED[name]
    cut = data.draw(st.integers(0, len(body)))
    _raises_nothing_else("push", JSON, body[:cut])
