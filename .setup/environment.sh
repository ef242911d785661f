#!/bin/sh
# Makes the virtual environment `.venv` with exactly the packages of a lock file, and Keystone in it.
set -eu

lock=${1:?a lock file}
venv=.venv

# One that was moved, or whose Python was replaced, is of no use any more.
if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    printf 'setup: making %s\n' "$venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
fi
printf 'setup: installing the packages of %s\n' "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --requirement "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --no-deps --no-build-isolation --editable .
