"""Drops privileges: a process permanently becomes another user and cannot regain privileges.

This module is loaded before each part of Keystone, so it imports none of our modules, and few of
Python's.

Sources: credentials(7), capabilities(7), prctl(2), "no_new_privs" of the kernel's documentation
(read 2026-11-30).
"""

import ctypes
import os
from collections.abc import Collection, Iterable
from typing import NamedTuple

PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_CAPBSET_DROP = 8, 23, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 38, 47, 2
CAPABILITY_VERSION = 0x20080522  # of capset(2): two words of 32 capabilities each
LAST_CAPABILITY = "/proc/sys/kernel/cap_last_cap"

# Names of capabilities(7).
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_KILL = 0, 1, 2, 3, 5
CAP_SETGID, CAP_SETUID, CAP_SETPCAP = 6, 7, 8
CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW = 10, 12, 13
CAP_SYS_CHROOT, CAP_SYS_RESOURCE = 18, 24


class Rights(NamedTuple):
    """A process's user, groups and capabilities.

    Attributes:
        groups: supplementary groups, besides `gid`.
        capabilities: the numbers of the capabilities to keep, also after an exec. Root lacks some
            of them in many containers; those stay missing.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    capabilities: tuple[int, ...] = ()

    def to_text(self) -> str:
        """Write the rights as one argument of a command line: "995:994:999,107:10"."""
        return f"{self.uid}:{self.gid}:{_joined(self.groups)}:{_joined(self.capabilities)}"

    @classmethod
    def from_text(cls, text: str) -> "Rights":
        """Parse the output of `to_text`."""
        uid, gid, groups, capabilities = text.split(":")
        return cls(int(uid), int(gid), _split(groups), _split(capabilities))


def _joined(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def _split(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()


def take_on(rights: Rights) -> None:
    """Make this process run with these rights from now on. Only root may call it.

    This clears the process's parent-death signal: set that signal afterwards.

    Raises:
        OSError: the kernel refuses, for example because root may not change its user here.
    """
    kept = [each for each in rights.capabilities if _prctl(PR_CAPBSET_READ, each)]
    _limit_bounding_set(kept)
    os.setgroups(rights.groups)
    os.setresgid(rights.gid, rights.gid, rights.gid)
    _prctl(PR_SET_KEEPCAPS, int(bool(kept)))
    os.setresuid(rights.uid, rights.uid, rights.uid)
    # Root regains its capabilities with each exec, limited only by the bounding set.
    passed_on = kept if rights.uid else ()
    _set_capabilities(kept, passed_on)
    for capability in passed_on:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def gain_nothing() -> None:
    """Prevent this process, and those it starts, from gaining privileges by an exec."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def _limit_bounding_set(kept: Collection[int]) -> None:
    with open(LAST_CAPABILITY, encoding="utf-8") as file:  # noqa: PTH123 — avoids importing pathlib
        last = int(file.read())
    for capability in range(last + 1):
        if capability not in kept and _prctl(PR_CAPBSET_READ, capability):
            _prctl(PR_CAPBSET_DROP, capability)


def _set_capabilities(kept: Collection[int], inheritable: Collection[int]) -> None:
    effective = permitted = sum(1 << capability for capability in kept)
    sets = (effective, permitted, sum(1 << capability for capability in inheritable))
    words = [half for shift in (0, 32) for half in ((each >> shift) & 0xFFFFFFFF for each in sets)]
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _ensure_done(_libc().capset(header, (ctypes.c_uint32 * 6)(*words)))


def _prctl(option: int, *arguments: int) -> int:
    # The kernel requires unused arguments to be 0, as unsigned longs.
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _ensure_done(_libc().prctl(option, *map(ctypes.c_ulong, padded)))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _ensure_done(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
