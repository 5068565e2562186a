//! Caches in object stores: `redis://…`, `s3://…`. A program built without the feature
//! `object-stores` knows of none, and says how to come by one that does.

use ocibuild_core::Cancel;
use ocibuild_core::cache::{CacheError, CacheStore, Stores};
use ocibuild_core::spec::{CachePlace, has_credentials};

use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;

#[cfg(feature = "object-stores")]
use known::open_all;
#[cfg(not(feature = "object-stores"))]
use unknown::open_all;

/// The stores of a run.
pub(crate) type Opened = Box<dyn Stores>;

/// Stores that are there for all attempts of a run.
pub(crate) struct Shared<'a>(pub(crate) &'a dyn Stores);

impl Stores for Shared<'_> {
    fn open(&self, address: &str) -> Result<CacheStore, CacheError> {
        self.0.open(address)
    }
}

/// Opens the stores that a run names: those of flags, and those of its spec. Nothing is asked yet.
///
/// # Errors
/// [`Failure`] if an address can't be meant, or what the environment says of stores.
pub(crate) fn open<'p>(
    flags: impl IntoIterator<Item = &'p CachePlace>,
    spec: impl IntoIterator<Item = &'p CachePlace>,
    options: &Options,
    reporter: &Reporter,
    cancel: &Cancel,
) -> Result<Option<Opened>, Failure> {
    let (flags, spec) = (addresses(flags), addresses(spec));
    // First of all, as anything else that is wrong with one would be told with it.
    if flags.iter().chain(&spec).any(|address| has_credentials(address)) {
        let message = "an address has no credentials: the environment has them";
        return Err(Failure::usage(message).with_hint(SHOWN));
    }
    open_all(&flags, &spec, options, reporter, cancel)
}

fn addresses<'p>(places: impl IntoIterator<Item = &'p CachePlace>) -> Vec<&'p str> {
    let address = |place: &'p CachePlace| match place {
        CachePlace::Store(address) => Some(address.as_str()),
        _ => None,
    };
    places.into_iter().filter_map(address).collect()
}

/// Why an address has no credentials.
const SHOWN: &str = "addresses are shown in logs, and stand in files that many read";

#[cfg(feature = "object-stores")]
mod known {
    use std::sync::Arc;

    use ocibuild_cache_opendal::{Access, AddressError, ObjectAddress, ObjectStores, VARIABLES};

    use super::{Cancel, Failure, Opened, Options, Reporter};
    use crate::{environment, registry};

    pub(super) fn open_all(
        flags: &[&str],
        spec: &[&str],
        options: &Options,
        reporter: &Reporter,
        cancel: &Cancel,
    ) -> Result<Option<Opened>, Failure> {
        if flags.is_empty() && spec.is_empty() {
            return Ok(None);
        }
        for address in flags.iter().chain(spec) {
            address.parse::<ObjectAddress>().map_err(refused)?;
        }
        let requests = registry::open_with(options, reporter, Arc::new(()), cancel)?;
        let mut access = Access::new(requests);
        access.variables = environment::texts(VARIABLES)?;
        access.machine = true;
        access.cancel = cancel.clone();
        Ok(Some(Box::new(ObjectStores::new(access))))
    }

    fn refused(error: AddressError) -> Failure {
        let hint = match &error {
            AddressError::Option { .. } => "leave it out",
            _ => "write it like `s3://bucket/prefix?region=eu-central-1` or `redis://host:6379/prefix`",
        };
        Failure::usage(error.to_string()).with_hint(hint)
    }
}

#[cfg(not(feature = "object-stores"))]
mod unknown {
    use super::{CacheError, CacheStore, Cancel, Failure, Opened, Options, Reporter, Stores};

    const HINT: &str = "install one that has them: `cargo install ocibuild-cli --features object-stores`";

    /// Refuses stores that flags name; those of a spec are told when they are asked.
    ///
    /// # Errors
    /// [`Failure::Usage`] if a flag names one.
    pub(super) fn open_all(
        flags: &[&str],
        spec: &[&str],
        _: &Options,
        _: &Reporter,
        _: &Cancel,
    ) -> Result<Option<Opened>, Failure> {
        if let Some(address) = flags.first() {
            let scheme = address.split("://").next().unwrap_or_default();
            let message =
                format!("this program is built without caches in object stores, such as `{scheme}://`");
            return Err(Failure::usage(message).with_hint(HINT));
        }
        Ok((!spec.is_empty()).then(|| Box::new(Unbuilt) as Opened))
    }

    /// What a program without stores has for them.
    struct Unbuilt;

    impl Stores for Unbuilt {
        fn open(&self, address: &str) -> Result<CacheStore, CacheError> {
            let scheme = address.split("://").next().unwrap_or_default();
            let source = format!("this program is built without caches in object stores; {HINT}");
            Err(CacheError::Place { place: format!("a cache in `{scheme}://`"), source: source.into() })
        }
    }
}
