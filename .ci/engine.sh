#!/usr/bin/env bash
# A container engine for a machine that has none, and a base image where none can be pulled. For CI, and for a person:
#   .ci/engine.sh up FOLDER      start an engine of our own below FOLDER (or take one that answers), and see to a base image
#   . FOLDER/env                 DOCKER_HOST and SFTPLAY_BASE, for `inv image.build` and the others
#   .ci/engine.sh down FOLDER    stop it, remove all that it kept, and put the network back as `up` found it
# `up` ends with 69, and the reason in FOLDER/why, where this machine can't have an engine. It wants root and Debian for that.
set -euo pipefail

STAND_IN=sftplay-stand-in:bookworm
NEEDED_GB=12 # the stand-in base, the cpu image and its build cache, twice over

say() { echo "· engine: $*" >&2; }

give_up() {
    echo "$*" >"$folder/why"
    say "none: $*"
    exit 69
}

# The docker command with its own address, and never a context of the person's.
docker_cli() { env DOCKER_HOST="$host" docker "$@"; }

answers() { timeout 20 env DOCKER_HOST="$1" docker version --format '{{.Server.Version}}' 2>/dev/null; }

find_engine() {
    local candidate version
    for candidate in "${DOCKER_HOST:-}" unix:///var/run/docker.sock; do
        if [ -n "$candidate" ] && version=$(answers "$candidate"); then
            host=$candidate
            say "$version answers at $host"
            return 0
        fi
    done
    return 1
}

has_cgroups() { [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/devices ]; }

install_packages() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v ip >/dev/null || missing+=(iproute2)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    command -v docker-registry >/dev/null || missing+=(docker-registry) # push and pull are tested with it, on loopback
    has_cgroups || command -v cgroupfs-mount >/dev/null || missing+=(cgroupfs-mount)
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    # No service is to start: the engine that follows has its own folder.
    printf '#!/bin/sh\nexit 101\n' >"$folder/policy"
    chmod +x "$folder/policy"
    [ -e /usr/sbin/policy-rc.d ] || { cp "$folder/policy" /usr/sbin/policy-rc.d && touch "$folder/policy-made"; }
    export DEBIAN_FRONTEND=noninteractive
    local code=0
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >"$folder/apt.log" 2>&1 || code=$?
    [ ! -e "$folder/policy-made" ] || rm -f /usr/sbin/policy-rc.d
    [ "$code" = 0 ] || give_up "${missing[*]} can't be installed: $(tail -1 "$folder/apt.log")"
}

# What an engine changes in this machine's network, and leaves when it stops.
IP_VERSIONS=(iptables ip6tables)
SWITCHES=(net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables net/bridge/bridge-nf-call-ip6tables)
OF_DOCKER='DOCKER|docker0|docker_gwbridge|br-[0-9a-f]{12}'

bridges() { ip -o link show type bridge 2>/dev/null | cut -d' ' -f2 | tr -d : | grep -Ex "$OF_DOCKER" || true; }

rules() { "$1-save" 2>/dev/null | grep -v '^#' | sed 's/ \[[0-9]*:[0-9]*\]$//' || true; }

# As `*table`, then its lines: one line each, with the table's name in front.
flat_rules() { awk '/^\*/ { table = substr($0, 2); next } /^[:-]/ { print table, $0 }'; }

save_network() {
    local version switch
    mkdir -p "$folder/network"
    bridges >"$folder/network/bridges"
    for version in "${IP_VERSIONS[@]}"; do rules "$version" | flat_rules >"$folder/network/$version"; done
    for switch in "${SWITCHES[@]}"; do
        [ ! -r "/proc/sys/$switch" ] || echo "$switch $(cat "/proc/sys/$switch")"
    done >"$folder/network/switches"
}

# Only what is Docker's and was not there before: rules that others made meanwhile stay.
restore_network() {
    local version table rule chain policy name switch value
    [ -d "$folder/network" ] || return 0
    for version in "${IP_VERSIONS[@]}"; do
        command -v "$version" >/dev/null || continue
        rules "$version" | flat_rules | { grep -vxFf "$folder/network/$version" || true; } >"$folder/network/new"
        { grep -E -- ' -A ' "$folder/network/new" | grep -E "$OF_DOCKER" || true; } | while read -r table rule; do
            xargs "$version" -w -t "$table" <<<"-D ${rule#-A }"
        done
        { grep -E ' :DOCKER' "$folder/network/new" || true; } | while read -r table chain _; do
            "$version" -w -t "$table" -F "${chain#:}"
        done
        { grep -E ' :DOCKER' "$folder/network/new" || true; } | while read -r table chain _; do
            "$version" -w -t "$table" -X "${chain#:}"
        done
        { grep -E '^filter :FORWARD ' "$folder/network/$version" || echo "filter :FORWARD ACCEPT"; } | while read -r _ _ policy; do
            "$version" -w -P FORWARD "$policy"
        done
    done
    bridges | { grep -vxFf "$folder/network/bridges" || true; } | while read -r name; do ip link delete "$name"; done
    while read -r switch value; do
        [ "$(cat "/proc/sys/$switch")" = "$value" ] || echo "$value" >"/proc/sys/$switch"
    done <"$folder/network/switches"
}

last_words() { { grep -E 'failed to start daemon|level=(fatal|error)' "$folder/log" || cat "$folder/log"; } | tail -1 | cut -c1-300; }

start_engine() {
    [ "$(id -u)" = 0 ] || give_up "no engine answers, and only root can start one"
    command -v apt-get >/dev/null || command -v dockerd >/dev/null || give_up "no engine answers, and this is not Debian"
    local free
    free=$(df --output=avail -B1G "$folder" | tail -1)
    [ "$free" -ge "$NEEDED_GB" ] || give_up "$free GB are free in $folder, an engine with an image wants $NEEDED_GB"
    install_packages
    has_cgroups || cgroupfs-mount >/dev/null 2>&1 || true # where it fails, dockerd says what it lacks
    host=unix://$folder/docker.sock
    say "starting one in $folder"
    save_network
    setsid dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "$host" \
        ${SFTPLAY_DOCKERD_OPTIONS:-} </dev/null >"$folder/log" 2>&1 &
    local dockerd=$!
    for _ in $(seq 120); do
        answers "$host" >/dev/null && return 0
        kill -0 "$dockerd" 2>/dev/null || { restore_network && give_up "dockerd ended: $(last_words)"; }
        sleep 0.5
    done
    stop_engine
    restore_network
    give_up "dockerd does not answer after a minute: $(last_words)"
}

# The Dockerfile's own base where a registry can be reached, else a stand-in with the same Debian in it.
see_to_base() {
    local pinned
    pinned=$(sed -n 's/^ARG BASE=//p' images/Dockerfile)
    if docker_cli image inspect "$pinned" >/dev/null 2>&1 || timeout 60 env DOCKER_HOST="$host" docker pull -q "$pinned" >/dev/null 2>&1; then
        say "the pinned base is here"
        return 0
    fi
    docker_cli image inspect "$STAND_IN" >/dev/null 2>&1 || make_stand_in
    base=$STAND_IN
    say "$base stands in for the pinned base, which can't be pulled here"
}

make_stand_in() {
    [ "$(id -u)" = 0 ] || give_up "the pinned base can't be pulled, and only root can make one that stands in"
    command -v debootstrap >/dev/null || install_packages
    local root=$folder/root authority
    say "making $STAND_IN with debootstrap"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$folder/debootstrap.log" 2>&1 ||
        give_up "debootstrap failed: $(tail -1 "$folder/debootstrap.log")"
    # What this machine's package tools are told, a build in the container has to be told too.
    [ ! -d /usr/local/share/ca-certificates ] || cp -rL /usr/local/share/ca-certificates "$root/usr/local/share/"
    authority=${SSL_CERT_FILE:-${PIP_CERT:-}}
    local -a changes=()
    if [ -n "$authority" ] && [ -f "$authority" ]; then
        cp -L "$authority" "$root/etc/ssl/certs/ca-certificates.crt"
        changes+=(--change "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt")
    fi
    [ ! -f /etc/pip.conf ] || cp -L /etc/pip.conf "$root/etc/pip.conf"
    if [ -d "${PIP_FIND_LINKS:-}" ]; then
        mkdir -p "$root$PIP_FIND_LINKS"
        cp -rL "$PIP_FIND_LINKS/." "$root$PIP_FIND_LINKS/"
        changes+=(--change "ENV PIP_FIND_LINKS=$PIP_FIND_LINKS UV_FIND_LINKS=$PIP_FIND_LINKS")
    fi
    tar -C "$root" -c . | docker_cli import "${changes[@]}" - "$STAND_IN" >/dev/null
    rm -rf --one-file-system "$root"
}

up() {
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    host=""
    base=""
    find_engine || start_engine
    see_to_base
    {
        echo "export DOCKER_HOST='$host'"
        [ -z "$base" ] || echo "export SFTPLAY_BASE='$base'"
    } >"$folder/env"
}

stop_engine() {
    local pid
    pid=$(cat "$folder/pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.5
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# Only what `up` started: an engine that was there before stays as it is, with the stand-in base in it.
down() {
    [ -d "$folder" ] || return 0
    folder=$(cd "$folder" && pwd)
    stop_engine
    restore_network
    # What a killed engine left mounted would be emptied by the removal below, not only unmounted.
    awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r -d '\n' umount -l 2>/dev/null || true
    rm -rf --one-file-system "$folder"
}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${2:-}
case "${1:-} ${folder:+given}" in
"up given") up ;;
"down given") down ;;
*)
    sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
