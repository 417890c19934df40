#!/usr/bin/env bash
# Three nodes in containers: what is acknowledged through one is there through another, while one is cut
# off the network, another is killed, and after all is mended. `just compose-test`.
#
# Everything it makes is named after its project, and removed at its end, whatever happened: containers,
# network, volumes, image. The checks are `curl` and `cmp`, so that nothing of ours judges itself.
#
# CAIRN_STATIC_TARGET_DIR  where the static program is built (target/static)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly limit_s=300
readonly stored='{"status":"success","message":"Data stored successfully"}'
readonly fetched='{"status":"success","message":"Data fetched successfully","value":"'

# Bounded in time, the build aside: what hangs is ended, and still cleaned up.
if [ "${1:-}" != "--built" ]; then
    ci/image
    exec timeout --kill-after=60 "$limit_s" "$0" --built
fi

export COMPOSE_PROJECT_NAME="cairn-test-$$"
export CAIRN_IMAGE="cairn-test:$$"
base=$((20001 + $$ % 900 * 10))
export CAIRN_PORT_1=$base CAIRN_PORT_2=$((base + 1)) CAIRN_PORT_3=$((base + 2))
scratch=$(mktemp -d)
begun=$SECONDS
acknowledged=0

if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
elif docker-compose version >/dev/null 2>&1; then
    compose() { docker-compose "$@"; }
else
    echo "neither \`docker compose\` nor \`docker-compose\` is here" >&2
    exit 1
fi

say() { printf '%4d s  %s\n' $((SECONDS - begun)) "$*"; }

fail() {
    say "FAILED: $*"
    exit 1
}

finish() {
    local code=$?
    trap - EXIT
    if [ "$code" -ne 0 ]; then
        say "the nodes said last:"
        compose ps || true
        compose logs --tail=40 || true
    fi
    say "removing containers, network, volumes and image"
    compose down --volumes --remove-orphans --timeout 2 >"$scratch/down" 2>&1 || cat "$scratch/down"
    docker image rm --force "$CAIRN_IMAGE" >/dev/null 2>&1 || true
    rm -rf "$scratch"
    left
    [ "$code" -eq 0 ] && say "passed: $acknowledged acknowledged writes, none lost"
    exit "$code"
}

# Nothing that this run made may be there at its end.
left() {
    local name=$COMPOSE_PROJECT_NAME leftovers
    leftovers=$(
        docker ps --all --quiet --filter "label=com.docker.compose.project=$name"
        docker network ls --quiet --filter "label=com.docker.compose.project=$name"
        docker volume ls --quiet --filter "label=com.docker.compose.project=$name"
        docker image ls --quiet "$CAIRN_IMAGE"
    )
    [ -z "$leftovers" ] && return
    say "left behind: $leftovers"
    code=1
}
trap finish EXIT
trap 'exit 130' INT
trap 'say "not done within $limit_s s"; exit 124' TERM

container() { compose ps --quiet "node$1"; }

# eventually SECONDS WHAT COMMAND...
eventually() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt "$until" ] || fail "$what: not in time"
        sleep 0.2
    done
    say "$what"
}

healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]; }
unhealthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = unhealthy ]; }

# ask NODE REQUEST: the answer's body goes to stdout. One request, no retry.
ask() { curl -sS -m 15 "http://127.0.0.1:$((base + $1 - 1))/" -d "$2" 2>"$scratch/curl"; }

value_of() { printf 'value %s: \\"quoted\\", \\u00e9\\u4e16\\u754c, \\t.' "$1"; }
shown_of() { printf 'value %s: \\"quoted\\", é世界, \\t.' "$1"; }

# store NODE KEY: remembers the key if it was acknowledged; else says what came.
store() {
    local answer
    answer=$(ask "$1" "{\"type\":\"store\",\"key\":\"$2\",\"value\":\"$(value_of "$2")\"}") || return 1
    [ "$answer" = "$stored" ] || { echo "$answer" >"$scratch/answer"; return 1; }
    echo "$2" >>"$scratch/acknowledged"
    acknowledged=$((acknowledged + 1))
}

# fetch NODE KEY: byte for byte what was stored.
fetch() {
    printf '%s%s"}' "$fetched" "$(shown_of "$2")" >"$scratch/expected"
    ask "$1" "{\"type\":\"fetch\",\"key\":\"$2\"}" >"$scratch/got" || return 1
    cmp -s "$scratch/expected" "$scratch/got"
}

# store_many NODE PREFIX: each of them must be acknowledged.
store_many() {
    for number in $(seq 50); do
        store "$1" "$2/$number" || fail "node $1 did not store $2/$number: $(cat "$scratch/answer" "$scratch/curl")"
    done
    say "50 keys stored through node $1 ($2/)"
}

# check_all NODE: everything acknowledged so far.
check_all() {
    while read -r key; do
        fetch "$1" "$key" || fail "node $1 gives for $key $(cat "$scratch/got"), expected $(cat "$scratch/expected")"
    done <"$scratch/acknowledged"
    say "$acknowledged acknowledged keys fetched through node $1, byte for byte"
}

# A large value in both directions, any bytes: the other API.
check_large() {
    head -c 1000000 /dev/urandom >"$scratch/large"
    curl -sSf -m 15 -X PUT "http://127.0.0.1:$base/v1/kv/large" --data-binary "@$scratch/large" >/dev/null
    curl -sSf -m 15 "http://127.0.0.1:$((base + 2))/v1/kv/large" -o "$scratch/back"
    cmp "$scratch/large" "$scratch/back" || fail "a large value came back changed"
    say "1000000 random bytes stored through node 1, fetched through node 3"
}

cut() {
    docker network disconnect "${COMPOSE_PROJECT_NAME}_cluster" "$(container "$1")"
    say "node $1 is cut off the network"
}

# By its name again: the others look it up anew.
mend() {
    docker network connect --alias "node$1" "${COMPOSE_PROJECT_NAME}_cluster" "$(container "$1")"
    say "node $1 is on the network again"
}

kill_node() {
    docker kill --signal KILL "$(container "$1")" >/dev/null
    say "node $1 is killed"
}

# No quorum: nothing may be acknowledged, and the answer says so in time.
check_refused() {
    if store "$1" "refused/$1"; then
        fail "node $1 acknowledged a write without a majority"
    fi
    say "node $1 without a majority refuses a write: $(cat "$scratch/answer" "$scratch/curl")"
}

: >"$scratch/answer"
say "building the image"
compose build --force-rm >"$scratch/build" 2>&1 || { cat "$scratch/build"; fail "the image can't be built"; }
say "image of $(docker image inspect --format '{{.Size}}' "$CAIRN_IMAGE") bytes"
compose up --detach --no-build >"$scratch/up" 2>&1 || { cat "$scratch/up"; fail "the containers don't start"; }
for node in 1 2 3; do
    eventually 60 "node $node is healthy" healthy "$node"
done

store_many 1 calm
check_all 3
check_large

cut 3
store_many 1 "without 3"
check_all 2
eventually 30 "node 3 is unhealthy, for it sees no leader" unhealthy 3

kill_node 2
check_refused 1

mend 3
eventually 60 "a majority stores again" store 1 healed
check_all 3
check_all 1

compose start node2 >/dev/null 2>&1 || compose up --detach --no-build node2
eventually 60 "node 2 is healthy again" healthy 2
check_all 2
store_many 3 mended
for node in 1 2 3; do check_all "$node"; done

compose restart --timeout 15 >/dev/null 2>&1
for node in 1 2 3; do
    eventually 60 "node $node is healthy after a restart" healthy "$node"
done
check_all 1
