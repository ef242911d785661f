#!/bin/bash
# A deployment without Keystone: git fetch, docker build, docker run, wait until it is healthy, and
# change the file that says where the traffic goes. Prints "LIVE n ms".
#
#   plain-deploy.sh REPOSITORY_URL APP CONTAINER_PORT [BRANCH]
#
# STATE is the working folder, HEALTH the path of the health check, DOCKER a docker command with
# BuildKit.
# Containers and images carry the label ks.app=APP.
set -euo pipefail

url=$1 app=$2 port=$3 branch=${4:-main}
state=${STATE:?a folder} health=${HEALTH:-/health} docker=${DOCKER:-docker}
mirror=$state/$app.git tree=$state/$app

began=${EPOCHREALTIME/./}
[ -d "$mirror" ] || git init -q --bare "$mirror"
mkdir -p "$tree"
git -C "$mirror" fetch -q --depth=1 "$url" "+refs/heads/$branch:refs/heads/$branch"
commit=$(git -C "$mirror" rev-parse "refs/heads/$branch")
git --git-dir="$mirror" --work-tree="$tree" checkout -q -f "$commit" -- .

image=ks/$app:${commit:0:12}
DOCKER_BUILDKIT=1 $docker build -q --label "ks.app=$app" -t "$image" "$tree" >/dev/null

old=$($docker ps -q --filter "label=ks.app=$app")
new=$($docker run -d --init --label "ks.app=$app" --restart unless-stopped \
    --security-opt no-new-privileges --pids-limit 512 \
    -e "PORT=$port" -p "127.0.0.1::$port" "$image")
address=$($docker port "$new" "$port/tcp")

for try in {1..1000}; do
    curl -fsS -o /dev/null -m 1 "http://$address$health" 2>/dev/null && break
    [ "$try" != 1000 ] || { echo "not healthy: $new" >&2; exit 1; }
    sleep 0.01
done

printf %s "$address" >"$state/$app.upstream.new"
mv -f "$state/$app.upstream.new" "$state/$app.upstream"
took=$((${EPOCHREALTIME/./} - began))
echo "LIVE $((took / 1000)).$((took % 1000 / 100)) ms"

[ -z "$old" ] || $docker rm -f $old >/dev/null
