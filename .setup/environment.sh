#!/bin/sh
# Makes the virtual environment with exactly the packages of a lock file, installs Keystone in it, and
# lets the link `.venv` lead to it. Environments are in `.venvs`, and are named after what is in them,
# so that a running Keystone keeps its own. Does nothing, and ends quickly, if everything is there.
#
# environment.sh LOCK [--beside]    LOCK: requirements.lock or requirements-test.lock;
#                                   --beside: leave `.venv` as it is, and print the environment
set -eu

lock=${1:?a lock file}
beside=${2:-}
link=.venv

say() { printf 'setup: %s\n' "$*" >&2; }

# What an environment depends on beside the packages: Keystone's own metadata, the place, and Python.
made_from() {
    { sed '/^\[tool\./,$d' pyproject.toml && pwd -P && python3 -VV; } | digest
}

digest() { sha256sum | cut -d ' ' -f 1; }

# Whether an environment has all of Keystone's packages in these versions, and its Python works.
is_ready() {
    [ -e "$1/$stamp" ] &&
        [ "$(cat "$1/.lock-digest" 2>/dev/null)" = "$(digest <requirements.lock)" ] &&
        [ "$(cat "$1/.made-from" 2>/dev/null)" = "$(made_from)" ] &&
        { [ "$stamp" = .ready ] || cmp -s "$lock" "$1/.lock"; } &&
        "$1/bin/python" -c 'import pip' 2>/dev/null
}

# Packages that somebody has added to the environment in use, such as PostgreSQL's driver.
added_packages() {
    [ -x "$link/bin/python" ] || return 0
    if [ -e "$link/.lock" ]; then
        known=$(cat "$link/.lock" "$lock" | names)
    else
        known=$({ cat requirements-test.lock | names | grep -v '^psycopg'; names <"$lock"; })
    fi
    "$link/bin/python" -m pip freeze --exclude-editable --disable-pip-version-check 2>/dev/null |
        grep '==' | while read -r package; do
        name=$(printf '%s\n' "$package" | names)
        [ "$name" = keystone ] || printf '%s\n' "$known" | grep -qxF "$name" || echo "$package"
    done
}

names() { sed -n 's/^\([A-Za-z0-9._-]*\).*==.*/\1/p' | tr 'A-Z_.' 'a-z--'; }

make_environment() {
    say "making $1"
    rm -rf "$1"
    python3 -m venv "$1"
    say "installing the packages of $lock"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --requirement "$lock" >&2
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --no-build-isolation --editable . >&2
    added=$(added_packages)
    if [ -n "$added" ]; then
        say "installing what .venv has besides: $(echo "$added" | tr '\n' ' ')"
        # shellcheck disable=SC2086 — a list of words
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input $added >&2 ||
            say "that failed; install it in $1 yourself"
    fi
    cp "$lock" "$1/.lock"
    made_from >"$1/.made-from"
    digest <requirements.lock >"$1/.lock-digest"
    [ "$lock" = requirements.lock ] || touch "$1/.ready-to-test"
    touch "$1/.ready"
}

# Let `.venv` lead to an environment. An environment that is a folder of that name stays, elsewhere.
point_link() {
    if [ -d "$link" ] && [ ! -L "$link" ]; then
        kept=.venvs/earlier-$(date +%Y%m%d-%H%M%S)
        mv "$link" "$kept"
        say "the earlier .venv is now $kept; remove it once nothing runs from it"
    fi
    ln -sfn "$1" "$link.new"
    mv -T "$link.new" "$link"
}

stamp=.ready
[ "$lock" = requirements.lock ] || stamp=.ready-to-test
mkdir -p .venvs
# One after the other: two would install into the same environment.
exec 9>>.venvs/.making
flock 9
# What `.venv` leads to may stay, if it has all that is asked for.
if [ -L "$link" ] && is_ready "$link"; then
    environment=.venvs/$(basename "$(readlink -f "$link")")
else
    environment=.venvs/$({ cat "$lock" && made_from; } | digest | cut -c 1-16)
    is_ready "$environment" || make_environment "$environment"
    [ -n "$beside" ] || point_link "$environment"
fi
[ -z "$beside" ] || echo "$environment"
