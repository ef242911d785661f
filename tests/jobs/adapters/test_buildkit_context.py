"""Which files of a tree are sent to the engine, and how they are described."""

import time

import pytest

from jobs.adapters.buildkit.context import Context, Filters
from jobs.adapters.buildkit.wire import Message
from jobs.errors import BuildError
from tests.trees import MemoryTree

GO_FOLDER, GO_SYMLINK = 1 << 31, 1 << 27


def selected(tree: MemoryTree, **filters: tuple[str, ...]) -> list[str]:
    return [node.path for node in Context(tree).select(Filters(**filters))]


def test_folders_come_right_before_what_is_in_them() -> None:
    tree = MemoryTree({"a-b": "", "a/z": "", "a/b/c": "", "a.txt": "", "B": ""})

    assert selected(tree) == ["B", "a", "a/b", "a/b/c", "a/z", "a-b", "a.txt"]


def test_excluded_folder_is_sent_only_for_its_exceptions() -> None:
    tree = MemoryTree({"a/x": "", "a/y": "", "b/x": "", "c": ""})

    assert selected(tree, exclude=("a", "b", "!a/y")) == ["a", "a/y", "c"]


def test_folder_whose_files_are_all_excluded_is_sent_empty() -> None:
    assert selected(MemoryTree({"logs/a.log": "", "c": ""}), exclude=("**/*.log",)) == ["c", "logs"]


def test_included_paths_bring_their_folders() -> None:
    tree = MemoryTree({"a/b/Dockerfile": "", "a/other": "", "c": ""})

    assert selected(tree, include=("a/b/Dockerfile", "absent")) == ["a", "a/b", "a/b/Dockerfile"]


@pytest.mark.parametrize("everything", [".", "/", ""])
def test_root_as_wanted_path_is_everything(everything: str) -> None:
    assert selected(MemoryTree({"a": "", "b": ""}), follow=("a", everything)) == ["a", "b"]


def test_followed_links_bring_what_they_lead_to_and_no_more() -> None:
    tree = MemoryTree(
        {"releases/1/app": "", "releases/1/other": "", "shared/conf": ""},
        links={"current": "releases/1", "releases/1/conf": "../../shared/conf"},
    )

    assert selected(tree, follow=("current/app",)) == [
        "current",
        "releases",
        "releases/1",
        "releases/1/app",
    ]
    assert "shared/conf" in selected(tree, follow=("current/c*",))


def test_links_that_lead_out_or_round_in_circles_end() -> None:
    tree = MemoryTree(
        {"etc/passwd": ""},
        links={"a": "b", "b": "a", "deep": "deep/deep", "out": "../../etc/passwd", "abs": "/etc"},
    )

    assert selected(tree, follow=("a", "out")) == ["a", "b", "etc", "etc/passwd", "out"]
    assert selected(tree, follow=("abs/passwd",)) == ["abs", "etc", "etc/passwd"]
    assert selected(tree, follow=("deep",)) == ["deep"]


def test_links_that_multiply_are_refused() -> None:
    links = {f"d{n}/{k}": f"../d{8 * n + k}" for n in range(600) for k in range(1, 9)}

    with pytest.raises(BuildError, match="too many places"):
        selected(MemoryTree({}, links=links), follow=("d0/*/*/*/*/x",))


def test_more_patterns_than_the_files_allow_are_refused_at_once() -> None:
    tree = MemoryTree({f"d{n}/f": "" for n in range(5000)})
    patterns = tuple(f"q{n}" for n in range(6000))
    started = time.process_time()

    for filters in (Filters(exclude=patterns), Filters(include=patterns)):
        with pytest.raises(BuildError, match=r"^the 6000 patterns of .dockerignore, or .* 10000"):
            Context(tree).select(filters)
    assert time.process_time() - started < 2


def test_patterns_that_are_too_many_for_any_tree_are_refused_at_once() -> None:
    started = time.process_time()

    with pytest.raises(BuildError, match="say it with fewer patterns"):
        selected(MemoryTree({"a": ""}), exclude=tuple(f"q{n}" for n in range(100_000)))
    assert time.process_time() - started < 2


def test_links_that_are_too_many_to_compare_are_refused() -> None:
    tree = MemoryTree({}, links={f"{'d/' * (n % 40)}l{n}": "absent" for n in range(2000)})

    with pytest.raises(BuildError, match="too many places"):
        selected(tree, follow=tuple(f"p{n}" for n in range(1500)))


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(exclude=tuple(f"q{n}" for n in range(100))),
        Filters(include=tuple(f"q{n}" for n in range(100))),
        Filters(follow=("l*",)),
    ],
)
def test_selection_that_nobody_waits_for_ends_soon(filters: Filters) -> None:
    tree = MemoryTree({f"f{n}": "" for n in range(100)}, links={f"l{n}": "f1" for n in range(100)})
    asked = 0

    def given_up() -> bool:
        nonlocal asked
        asked += 1
        return asked > 20

    with pytest.raises(BuildError, match="nobody waits"):
        Context(tree).select(filters, given_up)
    assert asked == 21
    assert len(tree.reads) <= 20


def test_one_deep_folder_in_many_places_is_refused() -> None:
    tree = MemoryTree({f"d{n}/{'a/' * 2000}f": "" for n in range(100)})

    with pytest.raises(BuildError, match="too many folders, in one another"):
        selected(tree)


def test_path_that_no_machine_can_have_is_refused_by_its_name() -> None:
    with pytest.raises(BuildError, match=r"^the path a/{1}x{38}… in the commit is longer than"):
        Context(MemoryTree({"a/" + "x" * 5000: ""})).ensure_dockerfile("Dockerfile")


def test_link_that_grows_with_each_turn_leads_nowhere() -> None:
    tree = MemoryTree({}, links={"l": f"l/{'x' * 2000}"})

    assert selected(tree, follow=("l",)) == ["l"]


def test_description_carries_mode_size_and_target() -> None:
    tree = MemoryTree({"run": "12345", "d/f": ""}, executables=("run",), links={"l": "d/f"})
    stats = {
        stat.text(1): stat
        for stat in (Message(node.stat()) for node in Context(tree).select(Filters()))
    }

    assert (stats["run"].number(2), stats["run"].number(5)) == (0o755, 5)
    assert stats["d/f"].number(2) == 0o644
    assert stats["d"].number(2) == GO_FOLDER | 0o755
    assert (stats["l"].number(2), stats["l"].text(7)) == (GO_SYMLINK | 0o777, "d/f")


def test_a_file_is_dated_by_when_it_changed() -> None:
    (entry,) = MemoryTree({"a": "one"}).entries()

    (node,) = Context(MemoryTree({"a": "one"})).select(Filters())

    assert Message(node.stat()).number(6) == entry.changed_ns


def test_no_file_is_read_to_describe_a_tree() -> None:
    tree = MemoryTree({"a": "x", "b/c": "y"})
    Context(tree).select(Filters())

    assert tree.reads == []


def test_endless_link_is_refused() -> None:
    with pytest.raises(BuildError, match="symbolic link l is longer than 4096"):
        selected(MemoryTree({}, links={"l": "x" * 5000}))


def test_dockerfile_must_be_a_file_of_the_commit() -> None:
    context = Context(MemoryTree({"d/Dockerfile": ""}, links={"Dockerfile": "/etc/passwd"}))

    context.ensure_dockerfile("./d/Dockerfile")
    with pytest.raises(BuildError, match="is a symbolic link"):
        context.ensure_dockerfile("Dockerfile")
    with pytest.raises(BuildError, match="no Dockerfile at absent"):
        context.ensure_dockerfile("absent")
