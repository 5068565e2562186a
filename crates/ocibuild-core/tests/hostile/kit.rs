//! Images in a layout, as wrong as anybody likes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use ocibuild_core::digest::Digest;

use crate::tar::Tar;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A blob's descriptor.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn json(&self) -> String {
        let Self { media_type, digest, size } = self;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }
}

/// An image in the making, and where.
pub(crate) struct Kit {
    /// The layout.
    layout: PathBuf,
    /// A directory that nobody may touch, with a file `sentinel`.
    pub(crate) outside: PathBuf,
    layers: Vec<Blob>,
    diff_ids: Vec<String>,
}

impl Kit {
    pub(crate) fn new(layout: &Path, outside: &Path) -> Self {
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let (layers, diff_ids) = Default::default();
        Self { layout: layout.to_owned(), outside: outside.to_owned(), layers, diff_ids }
    }

    /// Stores what a closure writes.
    pub(crate) fn stream(
        &self,
        media_type: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Blob {
        let part = self.layout.join("part");
        let mut file = BufWriter::new(File::create(&part).unwrap());
        write(&mut file).unwrap();
        file.into_inner().unwrap();
        let mut hasher = ocibuild_core::digest::HashingWriter::new(io::sink());
        let size = io::copy(&mut File::open(&part).unwrap(), &mut hasher).unwrap();
        let digest = hasher.finish().1.to_string();
        fs::rename(part, self.path(&digest)).unwrap();
        Blob { media_type: media_type.to_owned(), digest, size }
    }

    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Blob {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.path(&digest), bytes).unwrap();
        Blob { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }

    /// Where a blob lies.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        self.layout.join("blobs").join(digest.replace(':', "/"))
    }

    /// Adds a layer that isn't compressed.
    pub(crate) fn layer(self, tar: Tar) -> Self {
        self.raw_layer(tar.end())
    }

    pub(crate) fn raw_layer(mut self, bytes: Vec<u8>) -> Self {
        let blob = self.blob(TAR, &bytes);
        self.diff_ids.push(blob.digest.clone());
        self.layers.push(blob);
        self
    }

    /// Adds a layer with any blob.
    pub(crate) fn with_layer(mut self, blob: Blob, diff_id: impl Into<String>) -> Self {
        self.layers.push(blob);
        self.diff_ids.push(diff_id.into());
        self
    }

    pub(crate) fn config(&self) -> String {
        let ids: Vec<String> = self.diff_ids.iter().map(|id| format!("\"{id}\"")).collect();
        let ids = ids.join(",");
        format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#)
    }

    pub(crate) fn manifest(&self, config: &Blob) -> String {
        let layers: Vec<String> = self.layers.iter().map(Blob::json).collect();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            config.json(),
            layers.join(",")
        )
    }

    /// Completes the image.
    pub(crate) fn done(self) {
        self.done_with(|_| {}, |_| {});
    }

    /// Completes the image after changes to its config's and manifest's text.
    pub(crate) fn done_with(self, config: impl FnOnce(&mut String), manifest: impl FnOnce(&mut String)) {
        let mut text = self.config();
        config(&mut text);
        let blob = self.blob(CONFIG, text.as_bytes());
        let mut text = self.manifest(&blob);
        manifest(&mut text);
        self.root(&self.blob(MANIFEST, text.as_bytes()));
    }

    /// The manifest of an image that nothing is wrong with.
    pub(crate) fn sound(&self) -> Blob {
        let config = self.blob(CONFIG, self.config().as_bytes());
        self.blob(MANIFEST, self.manifest(&config).as_bytes())
    }

    /// An index of manifests' descriptors.
    pub(crate) fn index(&self, entries: &[String]) -> Blob {
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
        self.blob(INDEX, text.as_bytes())
    }

    /// Makes something the layout's image.
    pub(crate) fn root(&self, root: &Blob) {
        let named = r#","annotations":{"org.opencontainers.image.ref.name":"t"}}"#;
        let root = root.json().replace('}', named);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{root}]}}"#);
        fs::write(self.layout.join("index.json"), index).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.layout.join(name)
    }

    /// A layer's blob and diff_id out of a stream of tar bytes.
    pub(crate) fn gzip(&self, write: impl Fn(&mut dyn Write) -> io::Result<()>) -> (Blob, String) {
        let blob = self.stream(GZIP, |file| {
            let mut encoder = GzEncoder::new(file, Compression::best());
            write(&mut encoder)?;
            encoder.finish().map(drop)
        });
        (blob, digest_of(write))
    }

    pub(crate) fn zstd(&self, write: impl Fn(&mut dyn Write) -> io::Result<()>) -> (Blob, String) {
        let blob = self.stream(ZSTD, |file| {
            let mut encoder = zstd::Encoder::new(file, 3)?;
            write(&mut encoder)?;
            encoder.finish().map(drop)
        });
        (blob, digest_of(write))
    }
}

pub(crate) fn digest_of(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
    let mut hasher = ocibuild_core::digest::HashingWriter::new(io::sink());
    write(&mut hasher).unwrap();
    hasher.finish().1.to_string()
}
