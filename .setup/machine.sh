#!/bin/sh
# Installs what Keystone needs on this machine: `machine.sh run` for Keystone itself, `machine.sh test`
# also for its tests, `machine.sh bench` also for its benchmarks.
#
# It first checks everything, and tells all obstacles at once before it changes anything. As root it
# then installs missing packages with apt, never removes one, makes the system users, and says so.
# Otherwise it prints the command to run. It does nothing, and ends quickly, if nothing is missing.
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

oldest_python=3.11
oldest_haproxy=2.6

# What is missing, in words that `package` turns into names of packages.
missing_things() {
    have git || echo git
    have redis-server || have valkey-server || echo redis
    have haproxy || echo haproxy
    # gcc compiles the sample app of the demo and the images of the tests.
    have gcc || echo gcc
    have python3 || echo python
    python3 -c 'import venv, ensurepip' 2>/dev/null || echo venv
    if ! engine_answers; then
        have dockerd || echo engine
        have iptables || echo iptables
    fi
    if [ "$purpose" != run ]; then
        have chromium || have chromium-browser || have google-chrome || echo chromium
        # The tests run a second Docker Engine, which they may kill, with its own network.
        have ip || echo iproute
        have systemd-analyze || echo systemd
        # A certificate authority for tests.
        have pebble || echo pebble
        # A newer distribution's engine and router are tested, too.
        have debootstrap || echo debootstrap
        have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || echo postgresql
    fi
    if [ "$purpose" = bench ]; then
        have wrk || echo wrk
        have curl || echo curl
    fi
}

# The first package manager of this machine; nothing if it is another one.
package_manager() {
    for manager in apt-get dnf apk pacman zypper; do
        ! have "$manager" || { echo "$manager" && return; }
    done
}

# The packages with a thing, by the names of a package manager's distributions.
package() {
    case "$1 $2" in
    "apt-get redis") echo redis-server ;;
    "pacman redis" | "dnf redis") echo valkey ;;
    "apt-get gcc") echo gcc libc6-dev ;;
    "dnf gcc" | "zypper gcc") echo gcc glibc-devel ;;
    "apk gcc") echo gcc musl-dev ;;
    "pacman python") echo python ;;
    *" python") echo python3 ;;
    "apt-get venv") echo python3-venv ;;
    "pacman venv") echo python ;;
    *" venv") echo python3 ;;
    "apt-get engine") echo docker.io ;;
    "dnf engine") echo moby-engine ;;
    *" engine") echo docker ;;
    "dnf iptables") echo iptables-nft ;;
    "dnf iproute") echo iproute ;;
    *" iproute") echo iproute2 ;;
    "dnf postgresql" | "zypper postgresql") echo postgresql-server ;;
    *) echo "$2" ;;
    esac
}

# The packages with all of these things, each once, on one line.
packages() {
    manager=$1
    shift
    named=
    for thing in "$@"; do
        for name in $(package "$manager" "$thing"); do
            case " $named " in *" $name "*) ;; *) named="$named $name" ;; esac
        done
    done
    echo "${named# }"
}

# at_least WANTED FOUND: compare the first two numbers of two versions.
at_least() {
    rest=${2#*.}
    minor=${rest%%[!0-9]*}
    [ "${2%%.*}" -gt "${1%%.*}" ] ||
        { [ "${2%%.*}" -eq "${1%%.*}" ] && [ "${minor:-0}" -ge "${1#*.}" ]; }
}

# The version of a program that is installed, or else of the package that apt would install.
python_version() {
    if have python3; then
        python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
    else
        candidate python3
    fi
}

haproxy_version() {
    if have haproxy; then
        haproxy -v 2>/dev/null | sed -n '1s/^[^0-9]*version \([0-9][0-9.]*\).*/\1/p'
    else
        candidate haproxy
    fi
}

candidate() {
    have apt-cache || return 0
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \(.*:\)\{0,1\}\([0-9].*\)/\2/p'
}

# Each obstacle that installing packages does not remove, as a sentence on a line of its own.
obstacles() {
    newer="use a newer release of your distribution, such as Debian 12 or Ubuntu 24.04"
    found=$(python_version)
    if [ -n "$found" ] && ! at_least "$oldest_python" "$found"; then
        echo "Keystone needs Python $oldest_python or newer, and python3 is $found here; $newer," \
            "or put a newer python3 first on PATH"
    fi
    found=$(haproxy_version)
    if [ -n "$found" ] && ! at_least "$oldest_haproxy" "$found"; then
        echo "Keystone needs HAProxy $oldest_haproxy or newer, and it is $found here; $newer," \
            "or install a newer haproxy yourself"
    fi
    if [ "$(id -u)" = 0 ] && ! engine_answers && ! may_run_engine; then
        echo "no Docker Engine answers, and none can run here, because this is a container without" \
            "the rights that it needs (CAP_SYS_ADMIN and CAP_NET_ADMIN); run Keystone on the machine" \
            "itself or in a virtual machine, or start this container with --privileged"
    fi
}

# Whether the kernel lets root mount file systems and make networks here.
may_run_engine() {
    rights=$(sed -n 's/^CapEff:[^0-9a-f]*//p' /proc/self/status 2>/dev/null)
    [ -z "$rights" ] || [ $((0x$rights >> 21 & 0x$rights >> 12 & 1)) = 1 ]
}

# Without Python, it is enough that there is a socket.
engine_answers() {
    if ! have python3; then
        [ -S /var/run/docker.sock ]
        return
    fi
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

# Tell all obstacles at once, and end if there are any.
stop_at() {
    [ -n "$1" ] || return 0
    printf '%s\n' "$1" | while read -r obstacle; do say "$obstacle" >&2; done
    say "nothing was changed" >&2
    exit 1
}

# Without root or apt: name the commands that a person runs.
name_commands() {
    say "this machine lacks: $1" >&2
    case "$manager" in
    apt-get) command="apt-get install --no-remove $1" ;;
    dnf) command="dnf install $1" ;;
    apk) command="apk add $1" ;;
    pacman) command="pacman -S --needed $1" ;;
    zypper) command="zypper install $1" ;;
    *)
        say "install that with your package manager, then try again" >&2
        exit 1
        ;;
    esac
    say "run this, then try again: sudo $command" >&2
    case " $1 " in
    *" docker"* | *" moby-engine "*)
        [ "$(id -u)" = 0 ] || say "and, to use the engine: $use_engine" >&2
        ;;
    esac
    exit 1
}

install_packages() {
    [ -n "$1" ] || return 0
    if [ "$manager" != apt-get ] || [ "$(id -u)" != 0 ]; then
        name_commands "$1"
    fi
    say "installing with apt, as this machine lacks it: $1"
    make_no_cluster "$1"
    # shellcheck disable=SC2086 — a list of words
    apt-get install -y -q --no-install-recommends --no-remove $1
    leave_services_off "$1"
}

# What apt would have to remove to install these packages, and each package that it does not know.
apt_obstacles() {
    # shellcheck disable=SC2086 — a list of words
    if tried=$(LC_ALL=C apt-get install -s -q --no-install-recommends $1 2>&1); then
        removed=$(printf '%s\n' "$tried" | sed -n 's/^Remv \([^ ]*\).*/\1/p' | tr '\n' ' ')
        [ -z "$removed" ] || echo "apt would have to remove ${removed% } to install $1;" \
            "nothing of yours is removed: install what is missing in a way that fits them" \
            "(beside containerd.io, the engine is docker-ce, from where that came)"
    else
        echo "apt cannot install $1:" \
            "$(printf '%s\n' "$tried" | sed -n 's/^E: //p' | tr '\n' ' ')"
    fi
}

# The tests start a private PostgreSQL; keep the package from making and starting one for the machine.
make_no_cluster() {
    case " $1 " in *" postgresql "*) ;; *) return 0 ;; esac
    trap 'rm -f "$no_cluster"' EXIT
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
        say "no Docker Engine answers this user; run this, and try again: $use_engine" >&2
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

use_engine="sudo systemctl enable --now docker && sudo usermod -aG docker $(id -un), then log in again"
manager=$(package_manager)
# shellcheck disable=SC2046 — a list of words
missing=$(packages "$manager" $(missing_things))
if [ -n "$missing" ] && [ "$manager" = apt-get ] && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q || say "apt-get update failed; going on with the package lists that are here"
    stop_at "$(obstacles && apt_obstacles "$missing")"
else
    stop_at "$(obstacles)"
fi
install_packages "$missing"
make_users
start_engine
