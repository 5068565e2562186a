//! The registry that Debian packages.
