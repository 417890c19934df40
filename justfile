# What one does here. The logic lives in Rust: `cargo xtask --help`.

# Lists the recipes
default:
    @just --list

# What a commit must pass: format, lints, layers, dependencies, documentation
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo xtask tidy
    cargo test --package cairn --test dependencies
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

# All tests
test *ARGS:
    cargo test --workspace {{ARGS}}

# Simulate whole clusters: `just sim --seeds 5000`, `just sim --seed 42 --trace`
sim *ARGS:
    cargo xtask sim {{ARGS}}

# Real processes, real signals; the figures that they print
e2e *ARGS:
    cargo test --package cairn --test e2e -- --nocapture {{ARGS}}

# Three nodes in containers: one cut off, one killed, nothing lost
compose-test:
    ci/compose-test.sh

# Three nodes on hosts of a real kernel under a nemesis, as root: `just chaos 600 --seed 7`
chaos SECONDS="60" *ARGS:
    ci/chaos/run {{SECONDS}} {{ARGS}}

# Three members that become five and three again, one lost, one spoilt, under a checked workload, as root
members *ARGS:
    ci/chaos/run --members {{ARGS}}

# The figures that Cairn is held to, on this machine: `just figures one many`
figures *ARGS:
    ci/figures/run {{ARGS}}

# What etcdctl and public etcd clients see of Cairn, beside a real etcd
etcd:
    ci/etcd/compare
    ci/etcd/compare --tls
    ci/etcd/snapshots
    ci/etcd/clients/run
    ci/etcd/clients/run --protocol paxos python
    ci/etcd/clients/run --protocol zab python

# Cairn and etcd measured in turn, into docs/benchmarks.md: `just bench-etcd loads watches`
bench-etcd *ARGS:
    cargo build --release
    ci/etcd/bench {{ARGS}}

# The consensus cores beside raft-rs, openraft and OmniPaxos: `just bench-consensus --batches 64`
bench-consensus *ARGS:
    cargo bench --quiet --manifest-path ci/consensus-bench/Cargo.toml --target-dir target/consensus-bench -- {{ARGS}}

# Fuzz the decoders of bytes from outside: `just fuzz 600`, `just fuzz 60 journal-segments`
fuzz SECONDS="68" *ARGS:
    ci/fuzz/run {{SECONDS}} {{ARGS}}

# A cluster to play with
up *ARGS:
    cargo run --release -- up {{ARGS}}

# Exactly what continuous integration runs
ci:
    .ci/run
