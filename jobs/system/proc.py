"""What the kernel says of processes, on Linux; elsewhere nothing is known of them."""

from pathlib import Path

STOPPED = "T"
BURIED = frozenset({"", "Z", "X"})  # not there any more, or only until its parent has looked


def is_there(pid: int) -> bool:
    """Whether a process has not ended."""
    return _state_and_parent(pid)[0] not in BURIED


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped: not asleep, not in a debugger."""
    return _state_and_parent(pid)[0] == STOPPED


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process is another one, or was started by it or by one that was."""
    while pid > 1 and pid != ancestor:
        _, pid = _state_and_parent(pid)
    return pid == ancestor


def children_of(pid: int) -> list[int]:
    """Give the process ids of those that a process has started and that have not ended."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        # The name stands in parentheses and may hold anything, other parentheses too.
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return state, int(parent)
