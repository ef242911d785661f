#!/bin/sh
# Installs what Keystone needs on this machine: `machine.sh run` for Keystone itself, `machine.sh test`
# also for its tests, `machine.sh bench` also for its benchmarks. As root it installs missing packages
# with apt, makes the system users, and says so. Otherwise it prints the command to run. It does
# nothing, and ends quickly, if nothing is missing.
set -eu

purpose=${1:?run, test or bench}
engine_log=/var/log/keystone-dockerd.log
engine_within_s=60
# The users of Keystone's parts when root starts it; the same as in jobs/system/part_users.py.
users='keystone keystone-web keystone-redis keystone-router'
no_cluster=/etc/postgresql-common/createcluster.d/keystone.conf

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Debian's folders for daemons, which are not on every user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

oldest_python='import sys; sys.exit(sys.version_info < (3, 11))'

missing_packages() {
    have git || echo git
    have redis-server || have valkey-server || echo redis-server
    have haproxy || echo haproxy
    # gcc compiles the sample app of the demo and the images of the tests.
    have gcc || echo gcc libc6-dev
    have python3 || echo python3
    python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    if ! engine_answers; then
        have dockerd || echo docker.io
        have iptables || echo iptables
    fi
    if [ "$purpose" != run ]; then
        have chromium || have chromium-browser || have google-chrome || echo chromium
        # The tests run a second Docker Engine, which they may kill, with its own network.
        have ip || echo iproute2
        have systemd-analyze || echo systemd
        have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
    fi
    if [ "$purpose" = bench ]; then
        have wrk || echo wrk
        have curl || echo curl
    fi
}

engine_answers() {
    python3 - <<'PYTHON' 2>/dev/null
import os, socket, sys
host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
if not host.startswith("unix://"):
    sys.exit()  # another host: this script does not start its engine
with socket.socket(socket.AF_UNIX) as engine:
    engine.settimeout(5)
    engine.connect(host.removeprefix("unix://"))
    engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
    sys.exit(b" 200 " not in engine.recv(100))
PYTHON
}

install_packages() {
    [ -n "$1" ] || return 0
    if ! have apt-get; then
        say "please install: $1" >&2
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        say "this machine lacks: $1" >&2
        say "run this, then try again: sudo apt-get install $1" >&2
        exit 1
    fi
    say "installing with apt: $1"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    make_no_cluster "$1"
    # shellcheck disable=SC2086 — a list of words
    apt-get install -y -q --no-install-recommends $1
    rm -f "$no_cluster"
    leave_services_off "$1"
}

# The tests start a private PostgreSQL; keep the package from making and starting one for the machine.
make_no_cluster() {
    case " $1 " in *" postgresql "*) ;; *) return 0 ;; esac
    mkdir -p "$(dirname "$no_cluster")"
    echo 'create_main_cluster = false' >"$no_cluster"
}

# Keystone starts its own Redis and router, so disable the services of the newly installed packages.
# Packages that were installed before belong to the user and stay as they are.
leave_services_off() {
    [ -d /run/systemd/system ] || return 0
    for service in redis-server haproxy; do
        case " $1 " in *" $service "*) systemctl disable --now --quiet "$service" || true ;; esac
    done
}

# Without these users, or if not root starts it, all of Keystone runs as the user that starts it.
make_users() {
    [ "$(id -u)" = 0 ] || return 0
    for user in $users; do
        getent passwd "$user" >/dev/null && continue
        if ! have useradd; then
            say "useradd is missing, so Keystone will run as root; make these users: $users" >&2
            return 0
        fi
        say "making the system user $user"
        useradd --system --user-group --no-create-home --home-dir /nonexistent \
            --shell /usr/sbin/nologin "$user"
    done
}

start_engine() {
    engine_answers && return 0
    if [ "$(id -u)" != 0 ]; then
        say "no Docker Engine answers this user; run this, log in again, and try again:" >&2
        say "  sudo systemctl enable --now docker && sudo usermod -aG docker $(id -un)" >&2
        exit 1
    fi
    if [ -d /run/systemd/system ]; then
        say "starting the Docker Engine with systemd"
        systemctl start docker
        wait_for_engine && return 0
    else
        # Try twice: the first start after a crash may fail while containerd comes up.
        for _ in 1 2; do
            say "starting dockerd in the background; its log is $engine_log"
            setsid dockerd >>"$engine_log" 2>&1 </dev/null &
            wait_for_engine $! && return 0
        done
    fi
    say "the Docker Engine does not answer within $engine_within_s s; see $engine_log" >&2
    exit 1
}

# Waits until the engine answers, the given process ends, or the time is over.
wait_for_engine() {
    waited=0
    while [ "$waited" -lt "$engine_within_s" ]; do
        engine_answers && return 0
        [ -z "${1:-}" ] || kill -0 "$1" 2>/dev/null || return 1
        sleep 1
        waited=$((waited + 1))
    done
    return 1
}

install_packages "$(missing_packages | tr '\n' ' ' | sed 's/ $//')"
if ! python3 -c "$oldest_python"; then
    say "Keystone needs Python 3.11 or newer; $(python3 --version) was found" >&2
    exit 1
fi
make_users
start_engine
