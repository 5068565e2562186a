//! The builtin base `static@1`, as the library takes it.

use std::sync::OnceLock;

use ocibuild_core::oci::{Compression, Config};
use ocibuild_core::plan::BuiltinBase;
use ocibuild_core::spec::LayerSpec;
use ocibuild_static::{File, Kind};

/// The name it goes by in specs.
const NAME: &str = "static";

/// Makes a builtin base when it is first asked for.
pub(crate) struct Builtins {
    compression: Option<Compression>,
    made: OnceLock<Option<BuiltinBase>>,
}

impl Builtins {
    /// Plans the base, compressed like this.
    pub(crate) fn new(compression: Option<Compression>) -> Self {
        Self { compression, made: OnceLock::new() }
    }

    /// Returns the base of this name and version, if there is one.
    pub(crate) fn get(&self, name: &str, version: u32) -> Option<BuiltinBase> {
        let is_known = name == NAME && ocibuild_static::VERSIONS == [version];
        if !is_known {
            return None;
        }
        self.made.get_or_init(|| base(version, self.compression)).clone()
    }
}

fn base(version: u32, compression: Option<Compression>) -> Option<BuiltinBase> {
    let empty = LayerSpec::named(format!("{NAME}@{version}"));
    let layer = ocibuild_static::files(version)?.into_iter().fold(empty, add);
    let layer = match compression {
        Some(compression) => layer.compression(compression),
        None => layer,
    };
    let mut config = Config::default();
    config.env = Some(vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".to_owned(),
    ]);
    let layer = layer.into_layer().expect("every file of the base has a mode that a layer can have");
    Some(BuiltinBase::new(layer, config))
}

fn add(layer: LayerSpec, file: File) -> LayerSpec {
    let File { path, mode, uid, gid, kind, .. } = file;
    let layer = match kind {
        Kind::Directory => layer.directory(path).mode(mode),
        Kind::Regular(bytes) => layer.bytes(path, bytes.into_owned()).mode(mode),
        Kind::Symlink(target) => layer.symlink(path, target),
    };
    layer.owner(uid, gid)
}
