"""Reading what git prints, however hostile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.adapters.git.parsing import MOST_ENTRIES, parse_commit, parse_remote_refs, parse_tree
from jobs.errors import CheckoutError, GitError
from jobs.rules.repository_values import TreeEntry
from jobs.rules.text import plain, shown_name

SHA = "a" * 40
OTHER = "b" * 64


def test_only_the_exact_ref_counts() -> None:
    output = f"{SHA}\trefs/heads/refs/heads/main\n{OTHER}\trefs/heads/main\n".encode()
    assert parse_remote_refs(output, "refs/heads/main") == OTHER
    assert parse_remote_refs(output, "refs/heads/mai") is None


def test_of_an_annotated_tag_the_commit_counts() -> None:
    output = f"{SHA}\trefs/tags/v1\n{OTHER}\trefs/tags/v1^{{}}\n".encode()
    assert parse_remote_refs(output, "refs/tags/v1") == OTHER


@given(output=st.binary(max_size=200))
def test_any_answer_of_a_server_can_be_read(output: bytes) -> None:
    assert parse_remote_refs(output, "refs/heads/main") is None


def test_a_commit_has_the_authors_name_and_the_whole_message() -> None:
    content = (
        b"tree 1\nauthor Ada King <a@e.org> 1 +0000\ncommitter C <c@e.org> 1 +0000\n"
        b"gpgsig -----BEGIN\n author Mallory <m@e.org>\n\nSubject\r\n\r\nauthor Eve <e@e.org>\n"
    )
    commit = parse_commit(SHA, content)
    assert commit.author == "Ada King"
    assert commit.message == "Subject\n\nauthor Eve <e@e.org>"


def test_a_nameless_author_and_a_broken_encoding_are_bearable() -> None:
    commit = parse_commit(SHA, b"author <a@e.org> 1 +0000\n\ncaf\xe9\0")
    assert (commit.author, commit.message) == ("", "caf\ufffd")


@given(content=st.binary(max_size=300))
def test_any_commit_can_be_described(content: bytes) -> None:
    commit = parse_commit(SHA, b"author " + content)
    assert len(commit.message) <= 2000
    assert len(commit.author) <= 200
    assert plain(commit.message) == commit.message
    assert shown_name(commit.author) == commit.author


def test_entries_are_read_and_sorted_and_submodules_left_out() -> None:
    output = (
        f"100664 blob {SHA}       5\tz\0"
        f"160000 commit {SHA}       -\tvendor\0"
        f"120000 blob {SHA}      11\tlink\0"
        f"100755 blob {OTHER} 1234567\ta\tb\nc\0"
    ).encode()
    assert parse_tree(output) == [
        TreeEntry("a\tb\nc", 0o100755, 1234567, OTHER),
        TreeEntry("link", 0o120000, 11, SHA),
        TreeEntry("z", 0o100644, 5, SHA),
    ]


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "./a", "/etc/passwd", "a//b", "a/"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(CheckoutError, match="unsafe name"):
        parse_tree(f"100644 blob {SHA} 1\t{path}\0".encode())


def test_a_name_that_is_not_utf8_is_refused_with_what_to_do() -> None:
    with pytest.raises(CheckoutError, match="caf\ufffd is not UTF-8; rename the file"):
        parse_tree(b"100644 blob " + SHA.encode() + b" 1\tcaf\xe9\0")


def test_too_many_files_are_refused() -> None:
    line = f"160000 commit {SHA} -\tx\0".encode()
    assert parse_tree(line * MOST_ENTRIES) == []
    with pytest.raises(CheckoutError, match="more files than Keystone reads"):
        parse_tree(line * (MOST_ENTRIES + 1))


@given(output=st.binary(max_size=200))
def test_a_broken_listing_is_a_git_error(output: bytes) -> None:
    with pytest.raises(GitError):
        parse_tree(b"1" + output)


@given(
    paths=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1),
        unique=True,
    )
)
def test_every_name_git_can_list_comes_back_the_same(paths: list[str]) -> None:
    wanted = sorted(path for path in paths if path not in {".", ".."})
    output = b"".join(f"100644 blob {SHA} 1\t{path}\0".encode() for path in wanted)
    assert [entry.path for entry in parse_tree(output)] == wanted
