//! Images of registries, moved to other bases: what is asked for, what moves, and what comes out.

use std::sync::{Arc, Mutex};

use ocibuild_core::base::BaseError;
use ocibuild_core::blob::{BlobError, BytesContent, Sink as _, Source as _, Target as _, read_whole};
use ocibuild_core::build::OpenBase;
use ocibuild_core::event::Event;
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::oci::{Descriptor, Index, Manifest, MediaType, Platform, annotation, from_json, to_json};
use ocibuild_core::rebase::{Named, Rebase, RebaseError};
use ocibuild_core::registry::Registry;
use ocibuild_core::{Builder, Built, ImageSpec, LayerSpec, PullError, Reference};

use crate::options;
use crate::whole::Whole;

/// A registry with two bases and an image on the first of them, each for two platforms.
struct Setting {
    whole: Whole,
    directory: tempfile::TempDir,
    warnings: Mutex<Vec<String>>,
}

impl ocibuild_core::Observer for Setting {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            self.warnings.lock().unwrap().push(warning.message.clone());
        }
    }
}

fn for_both(layer: LayerSpec) -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64()).platform(Platform::linux_arm64()).layer(layer)
}

impl Setting {
    fn new() -> Self {
        let (whole, directory) = (Whole::start(201), tempfile::tempdir().unwrap());
        let setting = Self { whole, directory, warnings: Mutex::default() };
        for text in ["1", "2"] {
            let layer = LayerSpec::named("base").symlink("/bin", "usr/bin").content("/usr/bin/sh", text);
            let built = setting.builder("there").build(&for_both(layer).env("BASE", text)).unwrap();
            setting.push(&built, &format!("team/base:{text}"));
        }
        setting.push(&setting.build("team/base:1"), "team/app:1");
        setting
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.whole.recorder.host).parse().unwrap()
    }

    fn builder(&self, cache: &str) -> Builder<'_> {
        let cache = self.directory.path().join(cache);
        Builder::new(self.directory.path(), cache).registry(Registry::new(options())).observer(self)
    }

    /// Builds the image on a base.
    fn build(&self, base: &str) -> Built {
        let image = for_both(LayerSpec::named("app").content("/bin/app", "app")).env("OWN", "1");
        self.builder("there").build(&image.base(self.reference(base))).unwrap()
    }

    fn push(&self, built: &Built, name: &str) -> ocibuild_core::copy::CopyReport {
        built.push(&Registry::new(options()), &self.reference(name)).unwrap()
    }

    fn named(&self, name: &str) -> Named {
        let reference = self.reference(name);
        let repository = Registry::new(options()).repository(reference.repository());
        let root = repository.resolve(reference.tag().unwrap()).unwrap();
        let place = OpenBase { source: Arc::new(repository), root };
        Named { place, name: name.to_owned(), reference: Some(reference) }
    }

    fn job(&self) -> Rebase {
        Rebase {
            image: self.named("team/app:1"),
            onto: self.named("team/base:2"),
            from: None,
            tags: Vec::new(),
            ref_names: Vec::new(),
        }
    }

    /// The layers of all platforms.
    fn layers(&self, name: &str) -> Vec<Descriptor> {
        let place = self.named(name).place;
        let read = |descriptor: &Descriptor| read_whole(place.source.as_ref(), descriptor, 1 << 20).unwrap();
        let index: Index = from_json(&read(&place.root)).unwrap();
        let manifest = |one: &Descriptor| from_json::<Manifest>(&read(one)).unwrap();
        index.manifests.iter().flat_map(|one| manifest(one).layers).collect()
    }
}

fn count(lines: &[String], method: &str, layer: &Descriptor) -> usize {
    let names = |line: &str| line.contains(&layer.digest.hex()) && !line.contains("mount=");
    lines.iter().filter(|line| line.starts_with(method) && names(line)).count()
}

#[test]
fn layers_stay_where_they_are_and_the_image_says_its_base() {
    let setting = Setting::new();
    let built = setting.build("team/base:2");
    let before = setting.whole.count();
    let moved = setting.builder("cache").rebase(&setting.job()).unwrap();
    assert_eq!(moved.images[0].root, built.images[0].root);
    let violations = validate(&moved.source(), &moved.images[0].root, &ValidateOptions::default()).unwrap();
    assert!(violations.is_empty(), "{violations:?}");

    let pushing = setting.whole.count();
    assert!(before < pushing);
    let report = setting.push(&moved, "team/moved:1");
    // The base's layer and the image's own, which are the same for both platforms.
    assert_eq!((report.mounted.blobs, report.sent.blobs), (2, 5));
    let lines = setting.whole.lines_since(pushing);
    for layer in setting.layers("team/moved:1") {
        assert_eq!((count(&lines, "GET", &layer), count(&lines, "PUT", &layer)), (0, 0), "{lines:?}");
    }
    let elsewhere = Whole::start(201);
    let target = format!("{}/team/moved:1", elsewhere.recorder.host).parse().unwrap();
    moved.push(&Registry::new(options()), &target).unwrap();
    let lines = elsewhere.recorder.lines();
    for layer in setting.layers("team/moved:1") {
        assert_eq!(count(&lines, "PUT", &layer), 1, "{lines:?}");
    }
}

#[test]
fn with_the_records_no_layer_of_a_base_is_read() {
    let setting = Setting::new();
    setting.builder("cache").rebase(&setting.job()).unwrap();
    let before = setting.whole.count();
    setting.builder("cache").rebase(&setting.job()).unwrap();
    let lines = setting.whole.lines_since(before);
    for layer in setting.layers("team/base:1").iter().chain(&setting.layers("team/base:2")) {
        assert_eq!(count(&lines, "GET", layer), 0, "{lines:?}");
    }
}

#[test]
fn a_base_that_moved_on_is_found_by_its_digest_and_one_that_went_is_told() {
    let setting = Setting::new();
    let layer = LayerSpec::named("base").content("/other", "x");
    let other = setting.builder("there").build(&for_both(layer)).unwrap();
    setting.push(&other, "team/base:1");
    setting.builder("cache").rebase(&setting.job()).unwrap();

    let job = setting.job();
    setting.whole.remove("team/base");
    let fault = setting.builder("fresh").rebase(&job).err().unwrap();
    let RebaseError::Base { source, .. } = fault else { panic!("{fault:?}") };
    let BaseError::Blob(BlobError::Place { source, .. }) = *source else { panic!("{source:?}") };
    assert!(matches!(source.downcast_ref(), Some(PullError::Gone { digest: Some(_) })), "{source:?}");
}

#[test]
fn attestations_stay_behind_with_a_warning() {
    let setting = Setting::new();
    let job = setting.job();
    let repository = setting.whole.repository("team/app");
    let mut index: Index =
        from_json(&read_whole(&repository, &job.image.place.root, 1 << 20).unwrap()).unwrap();
    let mut attestation = index.manifests[0].clone();
    attestation.annotations.insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned());
    attestation.platform = Some(Platform::new("unknown", "unknown"));
    index.manifests.push(attestation);
    index.annotations.insert("org.example.kept".to_owned(), "1".to_owned());
    let bytes = to_json(&index);
    let root = Descriptor::of(MediaType::INDEX, &bytes);
    repository.push(&root, &BytesContent::new(bytes)).unwrap();
    assert!(repository.exists(&root).unwrap());

    let mut job = job;
    job.image.place.root = root;
    setting.warnings.lock().unwrap().clear();
    let moved = setting.builder("cache").rebase(&job).unwrap();
    let index: Index =
        from_json(&read_whole(&moved.source(), &moved.images[0].root, 1 << 20).unwrap()).unwrap();
    assert_eq!((index.manifests.len(), index.annotations["org.example.kept"].as_str()), (2, "1"));
    let warnings = setting.warnings.lock().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("stay behind"), "{warnings:?}");
    let manifest: Manifest =
        from_json(&read_whole(&moved.source(), &index.manifests[0], 1 << 20).unwrap()).unwrap();
    assert_eq!(manifest.annotations[annotation::BASE_NAME], setting.reference("team/base:2").to_string());
}
