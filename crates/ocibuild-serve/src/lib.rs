//! An OCI layout as a registry: the whole of the
//! [distribution specification 1.1](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md)
//! over the blobs and names of a directory that other programs read as what it is.
//!
//! ```no_run
//! use ocibuild_serve::{ServeOptions, Server};
//!
//! let server = Server::start("api.oci", ServeOptions::default())?;
//! println!("docker pull {}/{}:1", server.address(), server.plain_repository());
//! # Ok::<(), ocibuild_serve::ServeError>(())
//! ```
//!
//! It is for loopback addresses and trusted networks: there is no TLS, and no login but for tests.
//! Nothing of a request is trusted, though: names are held against the specification's grammar before
//! they come near a path, what comes is hashed on its way to the disk, and only what is whole and
//! synced gets a name. Nothing that is deleted is removed from the disk, as others may name it.
//!
//! With [`faults`] and a [`Recorder`] it is a registry's double for tests.

pub mod faults;

mod access;
mod body;
mod error;
mod handler;
mod names;
mod options;
mod record;
mod reply;
mod route;
mod server;
mod socket;
mod storage;
mod uploads;

pub use access::{Access, Tokens};
pub use error::ServeError;
pub use faults::{Fault, Faults, Script, When};
pub use options::ServeOptions;
pub use record::{Exchange, Listener, Recorder};
pub use server::{Running, Server};
