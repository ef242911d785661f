# ruff: noqa: E501, RUF001 - real output
"""Which line of a failed command's output is its cause, from what the tools really print."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.build_causes import LONGEST_HELD, Cause
from jobs.rules.text import plain

TRACEBACK = """\
Traceback (most recent call last):
  File "/app/manage.py", line 5, in <module>
    import nope
"""
NODE = """\
node:internal/modules/cjs/loader:1210
  throw err;
  ^

Error: Cannot find module '/app/x.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1207:15)
    at node:internal/main/run_main_module:28:49 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v20.20.2"""

# By tool: what it prints, and the cause.
OUTPUTS = {
    "npm 11, script": (
        """\
npm error Missing script: "build"
npm error
npm error To see a list of scripts, run:
npm error   npm run
npm error A complete log of this run can be found in: /root/.npm/_logs/2026-12-01-debug-0.log""",
        'npm error Missing script: "build"',
    ),
    "npm 8, script": (
        """\
npm ERR! Missing script: "build"
npm ERR!
npm ERR! Did you mean this?
npm ERR!     npm run built # run the "built" package script
npm ERR!
npm ERR! To see a list of scripts, run:
npm ERR!   npm run

npm ERR! A complete log of this run can be found in:
npm ERR!     /root/.npm/_logs/2023-01-01T00_00_00_000Z-debug-0.log""",
        'npm ERR! Missing script: "build"',
    ),
    "npm, not there": (
        """\
npm ERR! code E404
npm ERR! 404 Not Found - GET https://registry.test/nope - Not found
npm ERR! 404
npm ERR! 404  'nope@1' is not in this registry.""",
        "npm ERR! 404 Not Found - GET https://registry.test/nope - Not found",
    ),
    "npm, lock": (
        """\
npm error code EUSAGE
npm error
npm error The `npm ci` command can only install with an existing package-lock.json or
npm error npm-shrinkwrap.json with lockfileVersion >= 1. Run an install with npm@5 or""",
        "npm error The `npm ci` command can only install with an existing package-lock.json or",
    ),
    "npm, peers": (
        """\
npm ERR! code ERESOLVE
npm ERR! ERESOLVE unable to resolve dependency tree
npm ERR!
npm ERR! While resolving: web@1.0.0""",
        "npm ERR! ERESOLVE unable to resolve dependency tree",
    ),
    "npm, no package.json": (
        """\
npm ERR! code ENOENT
npm ERR! syscall open
npm ERR! path /app/package.json
npm ERR! errno -2
npm ERR! enoent Could not read package.json: Error: ENOENT: no such file or directory
npm ERR! enoent This is related to npm not being able to find a file.""",
        "npm ERR! enoent Could not read package.json: Error: ENOENT: no such file or directory",
    ),
    "npm, a script of node": (
        f"\n> web@1.0.0 build\n> node x.js\n\n{NODE}",
        "Error: Cannot find module '/app/x.js'",
    ),
    "npm, a script's program": (
        """\

> web@1.0.0 lint
> eslint .

sh: 1: eslint: not found
npm ERR! code ELIFECYCLE
npm ERR! syscall spawn""",
        "sh: 1: eslint: not found",
    ),
    "npm 6": (
        """\
src/a.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.
npm ERR! code ELIFECYCLE
npm ERR! errno 2
npm ERR! web@1.0.0 build: `tsc`
npm ERR! Exit status 2
npm ERR!
npm ERR! Failed at the web@1.0.0 build script.
npm ERR! This is probably not a problem with npm. There is likely additional logging output above.
""",
        "src/a.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
    ),
    "node-gyp": (
        """\
npm ERR! code 1
npm ERR! path /app/node_modules/bcrypt
npm ERR! command failed
npm ERR! command sh -c node-pre-gyp install --fallback-to-build
npm ERR! gyp info using node@18.19.0 | linux | x64
npm ERR! gyp ERR! find Python Could not find any Python installation to use
npm ERR! gyp ERR! not ok""",
        "npm ERR! gyp ERR! find Python Could not find any Python installation to use",
    ),
    "yarn 1": (
        """\
yarn run v1.22.19
error Command "build" not found.
info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command.""",
        'error Command "build" not found.',
    ),
    "yarn 1, a script": (
        """\
yarn run v1.22.19
$ tsc
/bin/sh: 1: tsc: not found
error Command failed with exit code 127.
info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command.""",
        "/bin/sh: 1: tsc: not found",
    ),
    "yarn 4": (
        """\
➤ YN0000: · Yarn 4.0.2
➤ YN0000: ┌ Resolution step
➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.
➤ YN0000: └ Completed
➤ YN0000: · Failed with errors in 0s 62ms""",
        (
            "➤ YN0028: │ The lockfile would have been modified by this install, "
            "which is explicitly forbidden."
        ),
    ),
    "pnpm": (
        """\
 ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is old
Note that in CI environments this setting is true by default.""",
        (
            'ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because '
            "pnpm-lock.yaml is old"
        ),
    ),
    "pip, version": (
        """\
Collecting django==99
  ERROR: Could not find a version that satisfies the requirement django==99 (from versions: 1.0)
ERROR: No matching distribution found for django==99
[notice] A new release of pip is available: 23.0.1 -> 24.0
[notice] To update, run: pip install --upgrade pip""",
        (
            "ERROR: Could not find a version that satisfies the requirement django==99 "
            "(from versions: 1.0)"
        ),
    ),
    "pip, file": (
        (
            "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'r.txt'\n"
            "WARNING: You are using pip version 21.2.4; however, version 24.0 is available."
        ),
        "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'r.txt'",
    ),
    "pip, a wheel": (
        """\
  error: subprocess-exited-with-error

  × Getting requirements to build wheel did not run successfully.
  │ exit code: 1
  ╰─> [34 lines of output]
      running egg_info

      Error: pg_config executable not found.

      pg_config is required to build psycopg2 from source.
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: subprocess-exited-with-error""",
        "Error: pg_config executable not found.",
    ),
    "python": (
        TRACEBACK + "ModuleNotFoundError: No module named 'nope'",
        "ModuleNotFoundError: No module named 'nope'",
    ),
    "django": (
        TRACEBACK + "django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting is empty.",
        "django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting is empty.",
    ),
    "python, twice": (
        TRACEBACK + "KeyError: 'A'\n\nDuring handling of the above exception, another exception "
        "occurred:\n\n" + TRACEBACK + "decouple.UndefinedValueError: A not found.",
        "decouple.UndefinedValueError: A not found.",
    ),
    "uv": (
        """\
Using CPython 3.12.3
  × No solution found when resolving dependencies:
  ╰─▶ Because nope was not found in the package registry and you require nope, we can conclude
      that your requirements are unsatisfiable.""",
        (
            "× No solution found when resolving dependencies: ╰─▶ Because nope was not found in the "
            "package registry and you require nope, we can conclude"
        ),
    ),
    "uv, lock": (
        "error: Unable to find lockfile at `uv.lock`. To create a lockfile, run `uv lock`.",
        "error: Unable to find lockfile at `uv.lock`. To create a lockfile, run `uv lock`.",
    ),
    "poetry": (
        """\
Installing dependencies from lock file

pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock`.""",
        (
            "pyproject.toml changed significantly since poetry.lock was last generated. "
            "Run `poetry lock`."
        ),
    ),
    "poetry, version": (
        """\
Resolving dependencies...

Because app depends on nope (1.0) which doesn't match any versions, version solving failed.""",
        (
            "Because app depends on nope (1.0) which doesn't match any versions, "
            "version solving failed."
        ),
    ),
    "cargo": (
        """\
   Compiling app v0.1.0 (/app)
warning: unused variable: `y`
 --> src/main.rs:1:5
error[E0425]: cannot find value `x` in this scope
 --> src/main.rs:2:20
  |
2 |     println!("{}", x);
  |                    ^ not found in this scope

For more information about this error, try `rustc --explain E0425`.
error: could not compile `app` (bin "app") due to 1 previous error""",
        "error[E0425]: cannot find value `x` in this scope --> src/main.rs:2:20",
    ),
    "cargo, no manifest": (
        "error: could not find `Cargo.toml` in `/app` or any parent directory",
        "error: could not find `Cargo.toml` in `/app` or any parent directory",
    ),
    "go": (
        "go: downloading github.com/x/y v1.2.3\n# example.com/app\n./main.go:6:2: undefined: foo",
        "./main.go:6:2: undefined: foo",
    ),
    "go, no module": (
        (
            "go: go.mod file not found in current directory or any parent directory; "
            "see 'go help modules'"
        ),
        (
            "go: go.mod file not found in current directory or any parent directory; "
            "see 'go help modules'"
        ),
    ),
    "go, too old": (
        (
            "go: downloading go1.22 (linux/amd64)\n"
            "go: go.mod requires go >= 1.22 (running go 1.21; GOTOOLCHAIN=local)"
        ),
        "go: go.mod requires go >= 1.22 (running go 1.21; GOTOOLCHAIN=local)",
    ),
    "tsc --pretty": (
        (
            "\x1b[96msrc/a.ts\x1b[0m:\x1b[93m1\x1b[0m:\x1b[93m7\x1b[0m - \x1b[91merror\x1b[0m"
            "\x1b[90m TS2322: \x1b[0mType 'string' is not assignable to type 'number'.\n\n"
            "Found 1 error in src/a.ts:1"
        ),
        "src/a.ts:1:7 - error TS2322: Type 'string' is not assignable to type 'number'.",
    ),
    "webpack": (
        """\
asset main.js 1.2 KiB [compared for emit]
ERROR in ./src/index.js 1:0-20
Module not found: Error: Can't resolve './nope' in '/app/src'
resolve './nope' in '/app/src'

webpack 5.90.0 compiled with 1 error in 120 ms""",
        (
            "ERROR in ./src/index.js 1:0-20 Module not found: Error: Can't resolve './nope' in "
            "'/app/src'"
        ),
    ),
    "next": (
        """\
   Creating an optimized production build ...
Failed to compile.

./pages/index.js
Module not found: Can't resolve 'nope'

https://nextjs.org/docs/messages/module-not-found""",
        "Module not found: Can't resolve 'nope'",
    ),
    "vite": (
        """\
vite v5.0.0 building for production...
error during build:
RollupError: Could not resolve "./nope" from "src/main.js"
    at getRollupError (file:///app/node_modules/rollup/dist/es/shared/parseAst.js:375:41)""",
        'RollupError: Could not resolve "./nope" from "src/main.js"',
    ),
    "esbuild": (
        '✘ [ERROR] Could not resolve "./nope"\n\n    src/a.js:1:7:\n1 error',
        '✘ [ERROR] Could not resolve "./nope"',
    ),
    "make": (
        "make: *** No rule to make target 'nope'.  Stop.",
        "make: *** No rule to make target 'nope'. Stop.",
    ),
    "make, a program": (
        "nope\nmake: nope: No such file or directory\nmake: *** [Makefile:4: npm] Error 127",
        "make: nope: No such file or directory",
    ),
    "gcc": (
        """\
gcc -o a a.c
a.c: In function 'main':
a.c:1:20: error: 'x' undeclared (first use in this function)
    1 | int main(){ return x; }
      |                    ^
a.c:1:20: note: each undeclared identifier is reported only once for each function it appears in
a.c:2:20: error: 'y' undeclared (first use in this function)
make: *** [Makefile:2: all] Error 1""",
        "a.c:1:20: error: 'x' undeclared (first use in this function)",
    ),
    "gcc, a header": (
        (
            "b.c:1:10: fatal error: foo.h: No such file or directory\n    1 | #include <foo.h>\n"
            "      |          ^~~~~~~\ncompilation terminated."
        ),
        "b.c:1:10: fatal error: foo.h: No such file or directory",
    ),
    "ld": (
        """\
/usr/bin/ld: /tmp/ccfcpKTx.o: in function `main':
c.c:(.text+0xa): undefined reference to `f'
collect2: error: ld returned 1 exit status""",
        "c.c:(.text+0xa): undefined reference to `f'",
    ),
    "apt": (
        """\
Reading package lists...
Building dependency tree...
E: Unable to locate package nopepkg""",
        "E: Unable to locate package nopepkg",
    ),
    "apt, gone": (
        """\
Err:1 http://deb.test/debian buster/main amd64 x amd64 1
  404  Not Found [IP: 192.0.2.1 80]
E: Failed to fetch http://deb.test/debian/pool/x.deb  404  Not Found [IP: 192.0.2.1 80]
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?""",
        "E: Failed to fetch http://deb.test/debian/pool/x.deb 404 Not Found [IP: 192.0.2.1 80]",
    ),
    "apk": (
        """\
(1/2) Installing a (1)
ERROR: unable to select packages:
  nope (no such package):
    required by: world[nope]""",
        "ERROR: unable to select packages: nope (no such package):",
    ),
    "bundle": (
        (
            "Fetching gem metadata from https://rubygems.org/..\n"
            "Could not find gem 'nope' in rubygems repository https://rubygems.org/ or installed "
            "locally."
        ),
        (
            "Could not find gem 'nope' in rubygems repository https://rubygems.org/ or installed "
            "locally."
        ),
    ),
    "bundle, ruby": (
        "Your Ruby version is 3.1.2, but your Gemfile specified 3.3.0",
        "Your Ruby version is 3.1.2, but your Gemfile specified 3.3.0",
    ),
    "rails": (
        """\
rake aborted!
NameError: uninitialized constant Foo
/app/config/environment.rb:5:in `<main>'
Tasks: TOP => assets:precompile""",
        "NameError: uninitialized constant Foo",
    ),
    "mvn": (
        """\
[INFO] Compiling 1 source file
[ERROR] COMPILATION ERROR :
[ERROR] /app/src/main/java/App.java:[3,16] cannot find symbol
[INFO] BUILD FAILURE
[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.1:compile
[ERROR] -> [Help 1]
[ERROR]
[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.""",
        "[ERROR] /app/src/main/java/App.java:[3,16] cannot find symbol",
    ),
    "mvn, in colours": (
        (
            "[\x1b[1;31mERROR\x1b[m] The goal you specified requires a project to execute but there "
            "is no POM in this directory (/app).\n[\x1b[1;31mERROR\x1b[m] \n[\x1b[1;31mERROR\x1b[m] "
            "To see the full stack trace of the errors, re-run Maven with the -e switch."
        ),
        (
            "[ERROR] The goal you specified requires a project to execute but there is no POM in "
            "this directory (/app)."
        ),
    ),
    "gradle": (
        """\
> Task :compileJava FAILED
/app/src/main/java/App.java:3: error: cannot find symbol
    return x;
           ^
1 error

FAILURE: Build failed with an exception.

* What went wrong:
Execution failed for task ':compileJava'.
> Compilation failed; see the compiler error output for details.

* Try:
> Run with --stacktrace option to get the stack trace.

BUILD FAILED in 2s""",
        "/app/src/main/java/App.java:3: error: cannot find symbol",
    ),
    "gradle, task": (
        """\
FAILURE: Build failed with an exception.

* What went wrong:
Task 'nope' not found in root project 'app'.

* Try:
> Run gradlew tasks to get a list of available tasks.

BUILD FAILED in 4s""",
        "* What went wrong: Task 'nope' not found in root project 'app'.",
    ),
    "composer": (
        """\
Your lock file does not contain a compatible set of packages. Please run composer update.

  Problem 1
    - phpoffice/phpspreadsheet 1.29.0 requires ext-gd * -> it is missing from your system.""",
        "- phpoffice/phpspreadsheet 1.29.0 requires ext-gd * -> it is missing from your system.",
    ),
    "php": (
        (
            'PHP Fatal error:  Uncaught Error: Class "Foo" not found in /app/a.php:3\nStack trace:\n'
            "#0 {main}\n  thrown in /app/a.php on line 3"
        ),
        'PHP Fatal error: Uncaught Error: Class "Foo" not found in /app/a.php:3',
    ),
    "dotnet": (
        """\
  Determining projects to restore...
/app/Program.cs(1,1): error CS0103: The name 'x' does not exist [/app/app.csproj]

Build FAILED.""",
        "/app/Program.cs(1,1): error CS0103: The name 'x' does not exist [/app/app.csproj]",
    ),
    "dotnet, no project": (
        "MSBUILD : error MSB1003: Specify a project or solution file.",
        "MSBUILD : error MSB1003: Specify a project or solution file.",
    ),
    "a shell": ("sh: line 3: nope: command not found", "sh: line 3: nope: command not found"),
    "busybox": ("/bin/sh: npm: not found", "/bin/sh: npm: not found"),
    "cp": (
        "copying\ncp: cannot stat 'a': No such file or directory",
        "cp: cannot stat 'a': No such file or directory",
    ),
    "git": (
        "fatal: not a git repository (or any of the parent directories): .git",
        "fatal: not a git repository (or any of the parent directories): .git",
    ),
    "hugo": (
        """\
Start building sites …
Total in 3 ms
Error: module "ananke" not found in "/app/themes/ananke"; either add it as a Hugo Module""",
        'Error: module "ananke" not found in "/app/themes/ananke"; either add it as a Hugo Module',
    ),
    "cmake": (
        (
            'CMake Error at CMakeLists.txt:3 (find_package):\n  By not providing "FindFoo.cmake"\n'
            "-- Configuring incomplete, errors occurred!"
        ),
        'CMake Error at CMakeLists.txt:3 (find_package): By not providing "FindFoo.cmake"',
    ),
    "unknown": ("step one\nstep two failed badly\ndone", "step two failed badly"),
    "no word of it": ("one\ntwo\n", "two"),
    "nothing": ("\n\n", ""),
}


def cause_of(output: str, errors: str = "") -> str:
    cause = Cause()
    for line in output.split("\n"):
        cause.feed(line)
    for line in errors.split("\n"):
        cause.feed(line, is_error=True)
    return cause.line


@pytest.mark.parametrize("tool", OUTPUTS)
def test_cause_in_what_tools_print(tool: str) -> None:
    output, told = OUTPUTS[tool]
    given_back = cause_of(output)
    # The styles and blanks stay: only the shown reason is cleaned, after its secrets are masked.
    assert " ".join(plain(given_back).split()) == " ".join(told.split())


def test_standard_error_comes_before_standard_output() -> None:
    assert cause_of("all is well", "it went otherwise") == "it went otherwise"


def test_first_mistake_of_many_is_found_however_much_follows() -> None:
    many = "\n".join(f"a.c:{n}:1: error: number {n}" for n in range(1, 5000))

    assert cause_of(many + "\nmake: *** [all] Error 1") == "a.c:1:1: error: number 1"


def test_cause_is_given_whole_for_its_secrets_to_be_masked() -> None:
    secret = "hunter2-" * 100
    assert secret in cause_of(f"Error: {'x' * 900} {secret}")
    assert len(cause_of("Error: " + "x" * 10**6)) <= LONGEST_HELD


@given(st.lists(st.text(max_size=80) | st.sampled_from([t for t, _ in OUTPUTS.values()])))
def test_any_output_gives_one_line(outputs: list[str]) -> None:
    assert len(cause_of("\n".join(outputs)).splitlines()) <= 1


@pytest.mark.parametrize(
    "piece", ["a.", "a:", " ", "(", "A::", "sh: ", "x: ", "npm ERR! ", "1:1 ", "Error", "\x1b["]
)
def test_hostile_lines_cost_little(piece: str) -> None:
    cause, line = Cause(), piece * 100_000
    started = time.process_time()
    for _ in range(200):
        cause.feed(line)
    assert time.process_time() - started < 8


def test_output_that_was_clipped_is_known_and_no_cause() -> None:
    cause = Cause()
    for line in ("compiling", "[output clipped, log limit 200KiB/s reached]"):
        cause.feed(line)

    assert cause.is_clipped
    assert cause.line == "compiling"
