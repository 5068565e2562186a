//! Support for the tests: real parts where a user would use them, and small file trees.
//!
//! A *part* is anything a test needs from outside: a program, a registry, a daemon. Each is found
//! by a function that answers `Result<_, Missing>`, and a test asks for it with [`require!`]:
//!
//! ```no_run
//! # fn archive_loads() {
//! let docker = ocibuild_testkit::require!(ocibuild_testkit::docker());
//! docker.load("image.tar".as_ref());
//! # }
//! ```
//!
//! Without the part the test says so and returns, and is counted as skipped; under
//! `cargo xtask test`, which installs and starts every part, a missing one is a failure
//! ([`ALL`]).
//!
//! Helpers panic when a part refuses its work, with the command, its exit code and what it said:
//! this crate is for tests only, and knows nothing of the product it helps to test.

#![expect(clippy::missing_panics_doc, reason = "every helper panics where a test should fail")]

pub mod browser;
pub mod command;
pub mod containerd;
pub mod disorder;
pub mod docker;
pub mod killed;
pub mod memory;
pub mod mounted;
pub mod mounts;
pub mod oci_tools;
pub mod podman;
pub mod program;
pub mod registry;
pub mod skip;
pub mod stores;
pub mod tree;

pub use browser::Browser;
pub use command::{Output, run, run_any};
pub use containerd::Containerd;
pub use disorder::Disorderfs;
pub use docker::{Docker, docker};
pub use memory::in_memory;
pub use mounted::Mounted;
pub use oci_tools::{Bundle, Skopeo, Umoci};
pub use podman::Podman;
pub use program::hello_program;
pub use registry::{AuthRegistry, auth_registry, registry};
pub use skip::{ALL, Missing, SKIPS, skip, tool};
pub use stores::{Redis, S3, Store};
pub use tree::{Entry, Kind, TempTree, entries};
