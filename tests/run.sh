#!/usr/bin/env bash
# Runs every test. Sets itself up on a fresh Debian machine that has a Rust toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
install() {
    as_root apt-get update -q
    as_root apt-get install -qy --no-install-recommends "$@"
}

# The crate itself needs 1.85; its feature `redis`, which the tests use, 1.88.
if ! command -v cargo >/dev/null; then
    echo "tests/run.sh: cargo is missing; install a Rust toolchain (1.88 or newer) from https://rustup.rs" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    echo "tests/run.sh: no C compiler; installing one to link with"
    install gcc libc6-dev
fi
if [ -z "${REDIS_SERVER:-}" ] && ! command -v redis-server >/dev/null && ! command -v valkey-server >/dev/null; then
    echo "tests/run.sh: no redis-server; installing one, which the tests start themselves"
    # The package would start a server of its own. Where nobody has said yet what may be started, nothing is for so long.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    install redis-server
fi

# Examples are built, too: some tests run them as a user would.
cargo test --locked
# Without this feature one test sees that it is asked for, with it others that it works.
cargo test --locked --features redis-tls --test redis_tls
