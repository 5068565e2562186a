//! Mirrors: other registries that have a registry's images, and are asked for them first.
//!
//! What is read by digest is verified wherever it comes from; what a tag means is what the first
//! that knows it says. Nothing is ever pushed to a mirror.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Bytes;

use crate::blob::PlaceFault;
use crate::oci::Descriptor;
use crate::reference::{Reference, ReferenceError, Repository};
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::http::transport::Answer;
use crate::registry::remote::Remote;

/// Another place that has a registry's images.
#[derive(Debug, Clone)]
pub struct Mirror {
    registry: String,
    place: String,
    /// It was out of order, and isn't asked any more.
    is_out: Arc<AtomicBool>,
}

impl Mirror {
    /// Makes `place` a mirror of `registry`: a registry, and below it a path, if need be, that all
    /// repositories are under. Registries are named as in references.
    ///
    /// # Errors
    /// [`ReferenceError`] if one of the two can't be such a name.
    pub fn new(registry: &str, place: &str) -> Result<Self, ReferenceError> {
        let place = place.trim_end_matches('/').to_owned();
        let host = place.split('/').next().unwrap_or_default();
        for (name, host) in [(registry, registry), (&place, host)] {
            let read: Reference = format!("{name}/a").parse()?;
            if read.repository().registry() != host {
                let reason = "it should be a registry, such as `mirror.example.com` or `localhost:5000`";
                return Err(ReferenceError { text: name.to_owned(), reason });
            }
        }
        Ok(Self { registry: registry.to_owned(), place, is_out: Arc::default() })
    }

    /// Tells whether a repository is one of the mirror's.
    pub(super) fn holds(&self, repository: &Repository) -> bool {
        let name = format!("{}/{}", repository.registry(), repository.path());
        name.strip_prefix(&self.place).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Where it has a repository; `None` if it is no mirror of its registry.
    pub(super) fn of(&self, repository: &Repository) -> Option<Repository> {
        if !self.registry.eq_ignore_ascii_case(repository.registry()) {
            return None;
        }
        let reference: Reference = format!("{}/{}", self.place, repository.path()).parse().ok()?;
        Some(reference.repository().clone())
    }
}

/// Where a repository is read: mirrors, and then itself.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) mirrors: Vec<(Mirror, Remote)>,
    pub(super) own: Remote,
}

impl Route {
    /// Asks for a blob or manifest, and tells which place has it.
    pub(super) async fn exists(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let ask = async |remote: Remote| Ok(remote.exists(descriptor, Access::Pull).await?.then_some(()));
        Ok(self.first(ask).await?.is_some())
    }

    /// GET of a manifest by digest, verified; `None` if it is nowhere.
    pub(super) async fn manifest(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, RegistryError> {
        self.first(async |remote: Remote| remote.manifest(descriptor, Access::Pull).await).await
    }

    /// Starts to read a blob, as [`Remote::open`] does.
    pub(super) async fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Option<(Answer, u64)>, RegistryError> {
        self.first(async |remote: Remote| remote.open(blob, offset).await).await
    }

    /// Looks a tag or digest up; `None` if nothing has that name.
    pub(super) async fn resolve(&self, name: &str) -> Result<Option<Descriptor>, RegistryError> {
        self.first(async |remote: Remote| remote.resolve(name).await).await
    }

    /// What a mirror doesn't have, or doesn't give, the next may.
    async fn first<T, F>(&self, ask: impl Fn(Remote) -> F) -> Result<Option<T>, RegistryError>
    where
        F: Future<Output = Result<Option<T>, RegistryError>>,
    {
        for (mirror, remote) in &self.mirrors {
            if mirror.is_out.load(Ordering::Relaxed) {
                continue;
            }
            match ask(remote.clone()).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(RegistryError::Cancelled(cancelled)) => return Err(cancelled.into()),
                // Each try of a place that is down takes its time.
                Err(error) if error.fault() == PlaceFault::Unavailable => {
                    mirror.is_out.store(true, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        ask(self.own.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_its_place_at_a_mirror() {
        let at = |registry: &str, place: &str, repository: &str| {
            let reference: Reference = repository.parse().unwrap();
            Mirror::new(registry, place).unwrap().of(reference.repository()).map(|place| place.to_string())
        };
        assert_eq!(at("docker.io", "m.io", "debian").as_deref(), Some("m.io/library/debian"));
        assert_eq!(at("docker.io", "m.io:5/hub/", "a/b:1").as_deref(), Some("m.io:5/hub/a/b"));
        assert_eq!(at("r.io", "m.io", "s.io/a"), None);
        let holds = |place: &str, repository: &str| {
            let reference: Reference = repository.parse().unwrap();
            Mirror::new("docker.io", place).unwrap().holds(reference.repository())
        };
        assert!(holds("m.io", "m.io/a") && holds("m.io/hub", "m.io/hub/a/b:1"));
        assert!(
            !holds("m.io/hub", "m.io/a") && !holds("m.io/hub", "m.io/hubs/a") && !holds("m.io", "m.io:5/a")
        );
        for (registry, place) in [
            ("r.io/a", "m.io"),
            ("r.io", "mirror"),
            ("", "m.io"),
            ("r.io", "http://m.io"),
            ("r.io", "m.io/A"),
        ] {
            assert!(Mirror::new(registry, place).is_err(), "{registry} {place}");
        }
    }
}
