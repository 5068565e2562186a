//! What has to hold for any input, one module a target of the fuzzer.
//!
//! The modules know nothing of the fuzzer: each has a `check` that takes bytes and panics where a
//! promise is broken. `docs/fuzzing.md` says how the targets are run.

pub mod decode;
pub mod deflate;
pub mod ignore;
pub mod listing;
pub mod pattern;
pub mod reference;
pub mod spec;
pub mod tar;

use std::alloc::System;
use std::io::{self, Read};

use cap::Cap;

/// More than this no target may ever have in use: running into it ends the process, which is a
/// finding. The decoder of zstd, which isn't Rust, is watched by the fuzzer's own limit.
const MEMORY: usize = 128 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY);

/// Gives a few bytes at a time, as sockets do.
struct Trickle<R>(R);

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}
