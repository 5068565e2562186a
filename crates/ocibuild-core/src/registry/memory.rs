//! What was found out about registries, kept from one run to the next.

/// Keeps what was found out about registries: whether they mount, how large a request they take.
///
/// It is never relied on: what is kept and wrong costs a request. Both methods may block for as long
/// as a small file takes, are called from any thread, and have nobody to tell of a failure: what
/// can't be read is nothing, and what can't be kept is found out again.
pub trait Memory: Send + Sync {
    /// Returns what was kept of a registry, which is named as in references.
    fn load(&self, registry: &str) -> Option<Vec<u8>>;

    /// Keeps it, in place of what was kept before.
    fn save(&self, registry: &str, bytes: &[u8]);
}

/// Keeps nothing.
impl Memory for () {
    fn load(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn save(&self, _: &str, _: &[u8]) {}
}
