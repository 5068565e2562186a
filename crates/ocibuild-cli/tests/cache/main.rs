//! The cache when things go wrong: killed runs, crowds, full disks, clocks that are off, flipped bits.
//! Whatever happens, images are what they would have been without it. `docs/robustness.md` has the
//! figures.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by it as tests do")]

#[path = "../cli/bench.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod bench;
mod clock;
mod crash;
mod crowd;
mod damage;
mod full;
mod project;
mod same;
