#!/usr/bin/env bash
# Runs every test. Sets itself up on a fresh Debian machine that has a Rust toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null; then
    echo "tests/run.sh: cargo is missing; install a Rust toolchain (1.85 or newer) from https://rustup.rs" >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    echo "tests/run.sh: no C compiler; installing one to link with"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" apt-get install -qy --no-install-recommends gcc libc6-dev
fi

# Examples are built, too: one test runs the sync as a user would.
cargo test --locked
