"""The line that says why a program failed, in real outputs of many tools."""

import time

import pytest

from jobs.rules.cause_line import cause_of
from jobs.rules.container_values import OutputLine


def out(text: str) -> list[OutputLine]:
    return [OutputLine("", line) for line in text.splitlines()]


def err(text: str) -> list[OutputLine]:
    return [OutputLine("", line, is_error=True) for line in text.splitlines()]


PYTHON = """Traceback (most recent call last):
  File "/app/main.py", line 3, in <module>
    import flask
ModuleNotFoundError: No module named 'flask'
"""
GUNICORN = f"""[2026-12-01 01:00:00 +0000] [7] [INFO] Booting worker with pid: 7
[2026-12-01 01:00:00 +0000] [7] [ERROR] Exception in worker process
{PYTHON}[2026-12-01 01:00:00 +0000] [7] [INFO] Worker exiting (pid: 7)
[2026-12-01 01:00:00 +0000] [1] [ERROR] Shutting down: Master
[2026-12-01 01:00:00 +0000] [1] [ERROR] Reason: Worker failed to boot.
"""
NODE = """node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module '/app/server.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)
    at node:internal/main/run_main_module:23:47 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v18.19.0
"""
NODE_IN_USE = """node:events:495
      throw er; // Unhandled 'error' event
      ^

Error [ERR_SERVER_LISTEN]: listen EACCES: permission denied 0.0.0.0:80
    at Server.setupListenHandle [as _listen2] (node:net:1800:21)
Node.js v20.1.0
"""
NPM_OLD = """npm ERR! code ELIFECYCLE
npm ERR! errno 1
npm ERR! web@1.0.0 start: `node server.js`
npm ERR! Exit status 1
npm ERR!
npm ERR! Failed at the web@1.0.0 start script.
npm ERR! This is probably not a problem with npm. There is likely additional logging output above.

npm ERR! A complete log of this run can be found in:
npm ERR!     /root/.npm/_logs/2026-12-01T01_00_00_000Z-debug.log
"""
NPM_SCRIPT = """npm error Missing script: "start"
npm error
npm error To see a list of scripts, run:
npm error   npm run
npm error A complete log of this run can be found in: /root/.npm/_logs/x-debug-0.log
npm notice New major version of npm available! 9.2.0 -> 11.0.0
"""
GO = """panic: dial tcp 10.0.0.1:5432: connect: connection refused

goroutine 1 [running]:
main.main()
\t/src/main.go:12 +0x1d
exit status 2
"""
JAVA = """Exception in thread "main" java.lang.IllegalStateException: no database
\tat app.Main.main(Main.java:9)
Caused by: java.net.ConnectException: Connection refused
\tat java.base/sun.nio.ch.Net.pollConnect(Native Method)
\t... 12 more
"""
RUBY = """/app/config.rb:3:in `fetch': key not found: "SECRET_KEY_BASE" (KeyError)
\tfrom /app/config.rb:3:in `<top (required)>'
\tfrom config.ru:1:in `require'
"""
PHP = """PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] [2002] in /app/db.php:4
Stack trace:
#0 /app/db.php(4): PDO->__construct()
#1 {main}
  thrown in /app/db.php on line 4
"""
RUST = """thread 'main' panicked at src/main.rs:4:5: no DATABASE_URL
stack backtrace:
   0: rust_begin_unwind::begin
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
NET = """Unhandled exception. System.InvalidOperationException: No connection string
   at Program.<Main>$(String[] args) in /src/Program.cs:line 5
"""


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        (PYTHON, "ModuleNotFoundError: No module named 'flask'"),
        (GUNICORN, "ModuleNotFoundError: No module named 'flask'"),
        (NODE, "Error: Cannot find module '/app/server.js'"),
        (
            NODE_IN_USE,
            "Error [ERR_SERVER_LISTEN]: listen EACCES: permission denied 0.0.0.0:80",
        ),
        (f"{NODE}{NPM_OLD}", "Error: Cannot find module '/app/server.js'"),
        (NPM_SCRIPT, 'npm error Missing script: "start"'),
        (GO, "panic: dial tcp 10.0.0.1:5432: connect: connection refused"),
        (JAVA, "Caused by: java.net.ConnectException: Connection refused"),
        (RUBY, RUBY.splitlines()[0]),
        (PHP, PHP.splitlines()[0]),
        (RUST, RUST.splitlines()[0]),
        (NET, NET.splitlines()[0]),
        (
            '2026/12/01 01:00:00 [emerg] 1#1: host not found in upstream "api"\n',
            '2026/12/01 01:00:00 [emerg] 1#1: host not found in upstream "api"',
        ),
        (
            "[FATAL tini (7)] exec /nope failed: No such file or directory\n",
            "[FATAL tini (7)] exec /nope failed: No such file or directory",
        ),
        (
            "\x1b[31mError: no such table\x1b[0m\n  in query\n",
            "\x1b[31mError: no such table\x1b[0m",
        ),
    ],
)
def test_the_cause_is_chosen_and_not_what_surrounds_it(errors: str, cause: str) -> None:
    noise = out("> web@1.0.0 start\nserver is starting\n")
    assert cause_of([*noise, *err(errors), *out("bye\n")]) == cause


def test_standard_output_is_used_when_standard_error_holds_only_noise() -> None:
    errors = "npm warn config production Use `--omit=dev`\n(node:7) Warning: old\n"
    lines = [*out("cannot reach the database\n"), *err(errors)]
    assert cause_of(lines) == "cannot reach the database"


def test_noise_is_better_than_nothing() -> None:
    assert cause_of(err("npm ERR! code 1\n\n")) == "npm ERR! code 1"
    assert cause_of([]) == ""


@pytest.mark.parametrize("text", ["(" * 60_000, "0: " * 20_000, "a." * 30_000, " " * 60_000])
def test_a_hostile_line_costs_little(text: str) -> None:
    started = time.monotonic()
    cause_of(err("\n".join([text] * 50)))
    assert time.monotonic() - started < 30
