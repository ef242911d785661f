"""Makes a program read and write UTF-8, whatever the machine's locale is.

Python takes the encoding of arguments, file names, variables and streams from the locale. In a
locale without UTF-8, an argument could not be printed, and a file of the same name not be found.

Source: https://peps.python.org/pep-0540/ (read 2026-12-01).
"""

import io
import locale
import os
import sys

MODE, ON = "PYTHONUTF8", "1"
UTF8 = "utf-8"


def ensure_utf8() -> None:
    """Run the program in Python's UTF-8 mode, and set up its streams.

    A program in another mode is started again, with the same process id, arguments and open files.
    """
    if sys.getfilesystemencoding() != UTF8 and os.environ.get(MODE) != ON:
        command = [sys.executable, "-X", "utf8=1", *sys.orig_argv[1:]]
        # The programs that this one starts inherit the variable.
        os.execve(sys.executable, command, {**os.environ, MODE: ON})  # noqa: S606 — no shell
    _set_up(sys.stdin, "surrogateescape")
    _set_up(sys.stdout, "replace")
    _set_up(sys.stderr, "backslashreplace")


def _set_up(stream: object, errors: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        encoding = locale.getencoding() if stream.isatty() else UTF8
        # Terminals that are said to know only ASCII know UTF-8, as Python assumes too.
        is_ascii = "é".encode(encoding, "ignore") == b""
        stream.reconfigure(encoding=UTF8 if is_ascii else encoding, errors=errors)
