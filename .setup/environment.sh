#!/bin/sh
# Makes the virtual environment `.venv` with exactly the packages of a lock file, and installs
# Keystone in it.
set -eu

lock=${1:?a lock file}
venv=.venv

# Make a new environment if the old one was moved, or its Python was replaced.
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
