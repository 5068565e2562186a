//! Registries, reached as flags, variables and the machine's configuration say.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocibuild_core::Cancel;
use ocibuild_core::cache::RegistryNotes;
use ocibuild_core::plan::Plan;
use ocibuild_core::reference::DEFAULT_REGISTRY;
use ocibuild_core::registry::{
    Certificates, ClientCertificate, Credentials, HostCertificates, Memory, Registry, RegistryOptions,
};

use crate::environment;
use crate::failure::Failure;
use crate::keychain::Keychain;
use crate::options::Options;
use crate::progress::Reporter;

/// The registries of a run. One client serves all of them: it is made when it is first asked for, so
/// that who needs no registry needs nothing for one.
pub(crate) struct Registries<'a> {
    options: &'a Options,
    reporter: &'a Reporter,
    named: Vec<String>,
    cancel: Cancel,
    client: OnceCell<Registry>,
}

impl<'a> Registries<'a> {
    /// Those that the run is about are `named`, as for [`open`].
    pub(crate) fn new(
        options: &'a Options,
        reporter: &'a Reporter,
        named: Vec<String>,
        cancel: Cancel,
    ) -> Self {
        Self { options, reporter, named, cancel, client: OnceCell::new() }
    }

    /// The client for all of them.
    ///
    /// # Errors
    /// As for [`open`].
    pub(crate) fn client(&self) -> Result<&Registry, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = open(self.options, self.reporter, &self.named, &self.cancel)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The client, if there was need of one.
    pub(crate) fn used(&self) -> Option<&Registry> {
        self.client.get()
    }

    /// Stops all that is asked of them.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

/// Makes a client for registries. `named` are those that the run is about: the ones it pushes to, or
/// that an argument names.
///
/// # Errors
/// [`Failure`] if a variable that counts here can't be meant, or a file that is named can't be read.
fn open(
    options: &Options,
    reporter: &Reporter,
    named: &[impl AsRef<str>],
    cancel: &Cancel,
) -> Result<Registry, Failure> {
    let named: Vec<&str> = named.iter().map(AsRef::as_ref).collect();
    open_with(options, reporter, Arc::new(Keychain::open(&named, cancel)?), cancel)
}

/// Makes a client for a plan's images. Credentials in variables are for those that are pushed, and for
/// the registry of a cache that is written, never for a base alone.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_for(
    plan: &Plan,
    (push, cache): (bool, Option<&str>),
    options: &Options,
    reporter: &Reporter,
    cancel: &Cancel,
) -> Result<Registry, Failure> {
    let tags = plan.images.iter().filter(|_| push).flat_map(|image| &image.tags);
    let named: Vec<&str> = tags.map(|tag| tag.repository().registry()).chain(cache).collect();
    open(options, reporter, &named, cancel)
}

/// Makes a client with credentials of one's own.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_with(
    options: &Options,
    reporter: &Reporter,
    credentials: Arc<dyn Credentials>,
    cancel: &Cancel,
) -> Result<Registry, Failure> {
    // Fails only if there is a provider already, which is then as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = RegistryOptions::default();
    settings.credentials = credentials;
    settings.cancel = cancel.clone();
    settings.observer = Arc::new(reporter.clone());
    settings.insecure = options.insecure.clone();
    settings.ca = options.ca.iter().map(|path| authority(path)).collect::<Result<_, _>>()?;
    settings.certificates = Arc::new(CertificateFiles(environment::certificate_directories()));
    settings.proxies = environment::proxies()?;
    settings.mirrors = options.mirror.clone();
    if let Some(cache) = options.cache_directory().ok().filter(|_| !options.cache_read_only) {
        settings.memory = Arc::new(Notes(RegistryNotes::new(cache)));
    }
    Ok(Registry::new(settings))
}

/// What was found out about registries, in the cache.
struct Notes(RegistryNotes);

impl Memory for Notes {
    fn load(&self, registry: &str) -> Option<Vec<u8>> {
        self.0.get(registry)
    }

    fn save(&self, registry: &str, bytes: &[u8]) {
        // What can't be kept is found out again.
        let _ = self.0.put(registry, bytes);
    }
}

fn authority(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::Authority { path: path.to_owned(), source })
}

/// Directories with a directory for each host, as docker and podman have them
/// ([certs.d](https://docs.docker.com/engine/security/certificates/)).
struct CertificateFiles(Vec<PathBuf>);

impl Certificates for CertificateFiles {
    fn lookup(&self, host: &str) -> io::Result<HostCertificates> {
        for directory in &self.0 {
            for name in names(host) {
                if let Some(found) = read(&directory.join(name))? {
                    return Ok(found);
                }
            }
        }
        Ok(HostCertificates::default())
    }
}

/// What a host's directory may be called.
fn names(host: &str) -> Vec<String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let mut names = vec![host.to_owned()];
    names.extend((!has_port).then(|| format!("{host}:443")));
    names.extend((host == "registry-1.docker.io").then(|| DEFAULT_REGISTRY.to_owned()));
    names
}

/// Reads a host's directory: CA certificates are `*.crt`, ours is a `*.cert` with the `*.key` of the
/// same name; of several the first counts. `None` if there is no such directory.
fn read(directory: &Path) -> io::Result<Option<HostCertificates>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // What isn't ours to see isn't for us.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(named(directory, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| named(directory, error))?.path());
    }
    paths.sort();
    let has = |path: &&PathBuf, extension: &str| path.extension().is_some_and(|other| other == extension);
    let content = |path: &Path| fs::read(path).map_err(|error| named(path, error));
    let mut found = HostCertificates::default();
    for path in paths.iter().filter(|path| has(path, "crt")) {
        found.ca.push(content(path)?);
    }
    if let Some(path) = paths.iter().find(|path| has(path, "cert")) {
        found.client = Some(ClientCertificate::new(content(path)?, content(&path.with_extension("key"))?));
    }
    Ok(Some(found))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_directory_has_its_certificates() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("first/r.io:5000/b.crt", "B");
        write("first/r.io:5000/a.crt", "A");
        write("first/r.io:5000/client.cert", "C");
        write("first/r.io:5000/client.key", "K");
        write("first/r.io:5000/README", "no");
        write("second/r.io:5000/z.crt", "Z");
        write("second/s.io:443/z.crt", "Z");
        write("second/t.io/client.cert", "C");
        let files = CertificateFiles(vec![first, second, root.path().join("none")]);
        let found = files.lookup("r.io:5000").unwrap();
        assert_eq!(found.ca, [b"A".to_vec(), b"B".to_vec()]);
        assert_eq!(found.client, Some(ClientCertificate::new("C", "K")));
        assert_eq!(files.lookup("s.io").unwrap().ca, [b"Z".to_vec()]);
        assert!(files.lookup("r.io").unwrap().is_empty() && files.lookup("s.io:444").unwrap().is_empty());
        let error = files.lookup("t.io").unwrap_err().to_string();
        assert!(error.contains("t.io/client.key`"), "{error}");
    }
}
