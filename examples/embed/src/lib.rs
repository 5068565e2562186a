//! The example itself is `examples/embed.rs` of this package:
//! `cargo run -p ocibuild-embed-example --example embed -- PROGRAM CACHE REFERENCE`.
//!
//! It is no binary, so that `cargo run` in the workspace means the command-line tool.
