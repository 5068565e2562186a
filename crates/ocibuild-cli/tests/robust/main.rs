//! Pushing and pulling when things go wrong: over `ocibuild-serve` with faults switched on, and over
//! Debian's docker-registry behind a proxy that misbehaves. `docs/robustness.md` has the table.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by it as tests do")]

#[path = "../cli/bench.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod bench;
mod cases;
mod counts;
#[path = "../../../ocibuild-core/tests/registry/debian.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod debian;
mod double;
mod front;
mod image;
mod origins;
mod proxied;
mod random;
mod repository;
mod resume;
mod shared;
