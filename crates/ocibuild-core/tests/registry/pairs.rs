//! Between every two kinds of places an image arrives as it is, with all that refers to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocibuild_core::archive::{Archive, ArchiveForm, ArchiveImage, ArchiveWriter};
use ocibuild_core::blob::{BlobError, Content, Memory, Sink, Source, Store, Target as _, Union, read_whole};
use ocibuild_core::copy::{CopyOptions, Listing, Referrers, children, copy_referred, referrers};
use ocibuild_core::digest::{DiffId, Digest};
use ocibuild_core::event::{Cancel, Transfer};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{
    Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, RootFs, from_json, to_json,
};
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{Registry, RemoteRepository};

use crate::debian::Debian;
use crate::{noise, options, repository};

/// An image, and what refers to it.
struct Sample {
    name: &'static str,
    root: Descriptor,
    referrers: Vec<Descriptor>,
}

fn layer(memory: &Memory, media_type: MediaType, seed: usize) -> (Descriptor, DiffId) {
    let bytes = noise(3000 + seed);
    let diff_id = DiffId(Digest::of(&bytes));
    (memory.insert(media_type, bytes), diff_id)
}

fn image(memory: &Memory, platform: &Platform, seed: usize) -> Descriptor {
    let layers = [layer(memory, MediaType::LAYER, 0), layer(memory, MediaType::LAYER, seed)];
    let mut config = ImageConfig::new(platform.os.clone(), platform.architecture.clone());
    config.rootfs = RootFs::new(layers.iter().map(|(_, diff_id)| *diff_id).collect());
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    let layers = layers.map(|(layer, _)| layer).to_vec();
    memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, layers)))
}

/// An artifact that refers to something.
fn artifact(memory: &Memory, subject: &Descriptor, seed: usize) -> Descriptor {
    let config = memory.insert(MediaType::new("application/vnd.oci.empty.v1+json"), b"{}".to_vec());
    let (blob, _) = layer(memory, MediaType::new("application/vnd.example.proof"), seed);
    let mut manifest = Manifest::new(config, vec![blob]);
    manifest.artifact_type = Some(MediaType::new("application/vnd.example.proof"));
    manifest.subject = Some(subject.clone());
    manifest.annotations.insert("org.example.seed".to_owned(), seed.to_string());
    memory.insert(MediaType::MANIFEST, to_json(&manifest))
}

fn samples(memory: &Memory) -> Vec<Sample> {
    let of = |platform: Platform, seed| image(memory, &platform, seed).with_platform(platform);
    let amd = of(Platform::linux_amd64(), 1);
    let entries = vec![
        amd.clone(),
        of(Platform::linux_arm64(), 2),
        image(memory, &Platform::new("unknown", "unknown"), 3)
            .with_platform(Platform::new("unknown", "unknown"))
            .with_annotation("vnd.docker.reference.type", "attestation-manifest"),
    ];
    let index = memory.insert(MediaType::INDEX, to_json(&Index::new(entries)));
    let signature = artifact(memory, &index, 4);
    let proofs = vec![signature.clone(), artifact(memory, &amd, 5), artifact(memory, &signature, 6)];

    let config = memory.insert(
        MediaType::DOCKER_CONFIG,
        br#"{"os":"linux","architecture":"amd64","container":"x","rootfs":{"type":"layers","diff_ids":[]}}"#
            .to_vec(),
    );
    let (docker_layer, _) = layer(memory, MediaType::DOCKER_LAYER, 7);
    let docker = format!(
        "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{}\",\n   \"config\": {},\n   \"layers\": [{}]\n}}",
        MediaType::DOCKER_MANIFEST,
        String::from_utf8(to_json(&config)).unwrap(),
        String::from_utf8(to_json(&docker_layer)).unwrap(),
    );
    let docker = memory.insert(MediaType::DOCKER_MANIFEST, docker.into_bytes());

    let config = memory.insert(MediaType::CONFIG, b"{ \"os\":\"linux\",\r\n\t\"architecture\" : \"amd64\", \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]} , \"a\": 1.50e1 }".to_vec());
    let odd = format!(
        " {{\"unknown\": {{ \"b\":1, \"a\": 1.0 }},\t\"schemaVersion\":2, \"layers\": [],\r\n \"mediaType\":\"{}\",\"config\" : {} }} \n",
        MediaType::MANIFEST,
        String::from_utf8(to_json(&config)).unwrap(),
    );
    let odd = memory.insert(MediaType::MANIFEST, odd.into_bytes());
    let proof = vec![artifact(memory, &docker, 8)];
    vec![
        Sample { name: "index", root: index, referrers: proofs },
        Sample { name: "docker", root: docker, referrers: proof },
        Sample { name: "odd", root: odd, referrers: Vec::new() },
    ]
}

/// Places that keep no lists, with what the test knows.
struct Known<S> {
    place: S,
    known: BTreeMap<Digest, Vec<Descriptor>>,
}

impl<S: Source> Source for Known<S> {
    fn place(&self) -> String {
        self.place.place()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.place.exists(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.place.fetch(descriptor)
    }
}

impl<S: Source> Referrers for Known<S> {
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, BlobError> {
        Ok(self.known.get(&subject.digest).cloned().unwrap_or_default())
    }
}

impl<S: Sink> Sink for Known<S> {
    fn place(&self) -> String {
        self.place.place()
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        self.place.missing(descriptors)
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        self.place.push(descriptor, content)
    }
}

impl<S: Sink> Listing for Known<S> {
    fn list(&self, _: &Descriptor) -> Result<(), BlobError> {
        Ok(())
    }
}

fn known<S>(place: S, memory: &Memory, samples: &[Sample]) -> Known<S> {
    let mut known: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    for referrer in samples.iter().flat_map(|sample| &sample.referrers) {
        let manifest: Manifest = from_json(&read_whole(memory, referrer, 1 << 20).unwrap()).unwrap();
        known.entry(manifest.subject.unwrap().digest).or_default().push(referrer.clone());
    }
    Known { place, known }
}

/// A kind of place, and how a fresh one is reached.
#[derive(Debug, Clone)]
enum Kind {
    Layout,
    Archive,
    Store,
    Registry(Repository),
}

/// A place of images by its kind and address.
struct At {
    kind: Kind,
    path: PathBuf,
}

impl At {
    fn remote(repository: &Repository) -> RemoteRepository {
        Registry::new(options()).repository(repository)
    }

    fn open(&self, memory: &Memory, samples: &[Sample]) -> Box<dyn Referrers> {
        match &self.kind {
            Kind::Layout => Box::new(Layout::open(&self.path).unwrap()),
            Kind::Archive => {
                Box::new(Archive::open(&self.path, ArchiveForm::Oci, Path::new("/nonexistent")).unwrap())
            }
            Kind::Store => Box::new(known(Store::new(&self.path), memory, samples)),
            Kind::Registry(repository) => Box::new(Self::remote(repository)),
        }
    }

    /// Copies all images here, and names them.
    fn fill(&self, source: &dyn Referrers, memory: &Memory, samples: &[Sample]) {
        let copy = |sink: &dyn Listing| {
            let roots: Vec<Descriptor> = samples.iter().map(|sample| sample.root.clone()).collect();
            copy_referred(&roots, source, sink, &CopyOptions::new()).unwrap();
        };
        match &self.kind {
            Kind::Layout => {
                let layout = Layout::open_or_create(&self.path).unwrap();
                copy(&layout);
                samples.iter().for_each(|sample| layout.tag(&sample.root, sample.name).unwrap());
            }
            Kind::Archive => {
                let writer = ArchiveWriter::to_file(&self.path).unwrap();
                copy(&writer);
                let images: Vec<_> = samples
                    .iter()
                    .map(|sample| ArchiveImage::new(sample.root.clone(), sample.name))
                    .collect();
                writer.finish(&images).unwrap();
            }
            Kind::Store => copy(&known(Store::new(&self.path), memory, samples)),
            Kind::Registry(repository) => {
                let remote = Self::remote(repository);
                copy(&remote);
                samples.iter().for_each(|sample| remote.tag(&sample.root, sample.name).unwrap());
            }
        }
    }

    fn resolve(&self, name: &str) -> Option<Descriptor> {
        match &self.kind {
            Kind::Layout => Some(Layout::open(&self.path).unwrap().resolve(name).unwrap()),
            Kind::Archive => {
                let archive = Archive::open(&self.path, ArchiveForm::Any, Path::new("/nonexistent")).unwrap();
                Some(archive.resolve(name).unwrap())
            }
            Kind::Store => None,
            Kind::Registry(repository) => Some(Self::remote(repository).resolve(name).unwrap()),
        }
    }

    /// Demands that everything is here, byte for byte, and found as what it is.
    fn check(&self, memory: &Memory, samples: &[Sample], said: &str) {
        let source = self.open(memory, samples);
        for sample in samples {
            let found = self.resolve(sample.name).unwrap_or_else(|| sample.root.clone());
            assert_eq!(found.digest, sample.root.digest, "{said}: {}", sample.name);
            let mut todo: Vec<Descriptor> = sample.referrers.clone();
            todo.push(sample.root.clone());
            while let Some(one) = todo.pop() {
                let bytes = read_whole(memory, &one, 1 << 20).unwrap();
                assert!(read_whole(&*source, &one, 1 << 20).unwrap() == bytes, "{said}: {}", one.digest);
                todo.extend(children(&one.media_type, &bytes).unwrap());
            }
            let found = referrers(std::slice::from_ref(&sample.root), &*source, &Cancel::new()).unwrap();
            let digests = |all: &[Descriptor]| {
                let mut digests: Vec<Digest> = all.iter().map(|one| one.digest).collect();
                digests.sort();
                digests
            };
            assert_eq!(digests(&found), digests(&sample.referrers), "{said}: {}", sample.name);
        }
    }
}

#[test]
fn images_and_their_referrers_go_between_all_pairs_of_places() {
    let host = |name: &str| match name {
        "a" => crate::real::open(),
        _ => Debian::start(|_| String::new()),
    };
    let (Some(one), Some(other)) = (host("a"), host("b")) else { return };
    let memory = Memory::new();
    let samples = samples(&memory);
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    let mut fresh = |kind: &str| {
        number += 1;
        let path = directory.path().join(number.to_string());
        let repository =
            |debian: &Debian| repository(&debian.host, &format!("pairs{}/{number}", std::process::id()));
        let kind = match kind {
            "layout" => Kind::Layout,
            "archive" => Kind::Archive,
            "store" => Kind::Store,
            "a" => Kind::Registry(repository(&one)),
            _ => Kind::Registry(repository(&other)),
        };
        At { kind, path }
    };
    let kinds = ["layout", "archive", "store", "a", "b"];
    for from in kinds {
        let first = fresh(from);
        let whole = known(Union::new(vec![&memory]), &memory, &samples);
        first.fill(&whole, &memory, &samples);
        first.check(&memory, &samples, from);
        for to in kinds {
            let second = fresh(to);
            let source = first.open(&memory, &samples);
            second.fill(&*source, &memory, &samples);
            second.check(&memory, &samples, &format!("{from} to {to}"));
            // Once more changes nothing, and is no failure.
            if from == "store" && to != "archive" {
                second.fill(&*source, &memory, &samples);
                second.check(&memory, &samples, &format!("{from} to {to} again"));
            }
        }
    }
}
