//! Bases in registries: what is asked for, what moves, and what a lock says.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use ocibuild_core::blob::{BlobError, Sink, Source, Target, read_whole};
use ocibuild_core::build::BuildError;
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::digest::Digest;
use ocibuild_core::event::{Event, Transfer};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::layout::Layout;
use ocibuild_core::lock::Lock;
use ocibuild_core::oci::{Descriptor, Manifest, MediaType, Platform, annotation, from_json, to_json};
use ocibuild_core::registry::Registry;
use ocibuild_core::{Builder, Built, Error, ImageSpec, LayerSpec, PullError, Reference, Spec};

use crate::whole::Whole;
use crate::{layer, noise, options};

#[test]
fn a_mount_is_tried_and_whatever_is_answered_the_blob_comes_there() {
    for status in [201, 202, 400, 401, 403, 404, 405, 500, 503] {
        let whole = Whole::start(status);
        let (from, to) = (whole.repository("team/base"), whole.repository("team/app"));
        let (descriptor, content) = layer(&noise(300_000));
        from.push(&descriptor, &content).unwrap();
        let before = whole.count();
        let transfer = to.push(&descriptor, &*from.content(&descriptor)).unwrap();
        let lines = whole.lines_since(before);
        let digest = descriptor.digest.to_string().replace(':', "%3A");
        let mount = format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=team%2Fbase");
        assert_eq!(lines[0], mount, "{status}");
        let tries = if status >= 500 { 2 } else { 1 };
        assert_eq!(lines.iter().filter(|line| **line == mount).count(), tries, "{status}: {lines:?}");
        let posts = lines.iter().filter(|line| line.starts_with("POST")).count();
        match status {
            201 => assert_eq!((transfer, lines.len()), (Transfer::Mounted, 1)),
            // The place that it offers instead is the one that is used.
            202 => {
                assert_eq!((transfer, posts), (Transfer::Sent, 1));
                let put = format!("PUT /v2/team/app/blobs/uploads/mounted?x=y&digest={digest}");
                assert!(lines.contains(&put), "{lines:?}");
            }
            _ => assert_eq!((transfer, posts), (Transfer::Sent, tries + 1), "{status}: {lines:?}"),
        }
        assert_eq!(read_whole(&to, &descriptor, 1 << 20).unwrap(), noise(300_000), "{status}");
    }
}

#[test]
fn only_another_repository_of_the_same_registry_is_mounted_from() {
    let (one, other) = (Whole::start(201), Whole::start(201));
    let from = one.repository("team/base");
    let (descriptor, content) = layer(&noise(300_000));
    from.push(&descriptor, &content).unwrap();
    let to = other.repository("team/app");
    assert_eq!(to.push(&descriptor, &*from.content(&descriptor)).unwrap(), Transfer::Sent);
    let (absent, _) = layer(b"absent");
    let error = from.push(&absent, &*from.content(&absent)).unwrap_err();
    assert!(matches!(error, BlobError::Read { .. }), "{error:?}");
    for whole in [&one, &other] {
        assert!(whole.recorder.lines().iter().all(|line| !line.contains("mount=")));
    }
    assert_eq!(read_whole(&to, &descriptor, 1 << 20).unwrap(), noise(300_000));
}

/// A registry with a base for two platforms, and a cache.
struct Setting {
    whole: Whole,
    directory: tempfile::TempDir,
    base: Reference,
    warnings: Mutex<Vec<String>>,
}

fn built_base(directory: &Path, text: &str) -> Built {
    let image = ImageSpec::scratch(Platform::linux_amd64())
        .platform(Platform::linux_arm64())
        .layer(
            LayerSpec::named("files")
                .content("/etc/passwd", "root:x:0:0::/:\nweb:x:7:8::/:\n")
                .symlink("/bin", "usr/bin"),
        )
        .layer(LayerSpec::named("text").content("/usr/share/text", text).directory("/usr/bin"));
    Builder::new(directory, directory.join("base-cache")).build(&image).unwrap()
}

impl Setting {
    fn new() -> Self {
        let (whole, directory) = (Whole::start(201), tempfile::tempdir().unwrap());
        let base = format!("{}/team/base:1", whole.recorder.host).parse().unwrap();
        let setting = Self { whole, directory, base, warnings: Mutex::default() };
        setting.publish("one");
        setting
    }

    /// Gives the base's tag to an image with this text.
    fn publish(&self, text: &str) -> Digest {
        let built = built_base(self.directory.path(), text);
        built.push(&Registry::new(options()), &self.base).unwrap();
        built.images[0].root.digest
    }

    fn cache(&self) -> std::path::PathBuf {
        self.directory.path().join("cache")
    }

    fn builder(&self) -> Builder<'_> {
        Builder::new(self.directory.path(), self.cache()).registry(Registry::new(options())).observer(self)
    }

    fn spec(&self) -> Spec {
        let layer = LayerSpec::named("app").content("/bin/app", "x").owner(7, 8);
        let image = ImageSpec::scratch(Platform::linux_amd64()).platform(Platform::linux_arm64());
        image.base(self.base.clone()).layer(layer).into_spec().unwrap()
    }

    fn lock(&self) -> Lock {
        let builder = self.builder();
        let mut lock = Lock::new();
        for (reference, platforms) in builder.plan(&self.spec()).unwrap().remote_bases() {
            let root = builder.resolve_base(&reference).unwrap();
            lock.insert(reference.clone(), builder.pin(&reference, &root, platforms).unwrap());
        }
        lock
    }

    fn forget_blobs(&self) {
        fs::remove_dir_all(self.cache().join("blobs")).unwrap();
    }

    fn push(&self, built: &Built, name: &str) -> ocibuild_core::copy::CopyReport {
        let target = format!("{}/{name}", self.whole.recorder.host).parse().unwrap();
        built.push(&Registry::new(options()), &target).unwrap()
    }
}

impl ocibuild_core::Observer for Setting {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            self.warnings.lock().unwrap().push(format!("{}; {:?}", warning.message, warning.hint));
        }
    }
}

#[track_caller]
fn valid(source: &dyn Source, root: &Descriptor) {
    let violations = validate(source, root, &ValidateOptions::default()).unwrap();
    assert!(violations.is_empty(), "{violations:?}");
}

fn blob_reads(lines: &[String]) -> Vec<&String> {
    lines.iter().filter(|line| line.starts_with("GET") && line.contains("/blobs/")).collect()
}

/// Layers of the base's platforms and configs, as far as they are blobs.
fn layers_of(setting: &Setting, path: &str, root: &Descriptor) -> Vec<Descriptor> {
    let repository = setting.whole.repository(path);
    let index: ocibuild_core::oci::Index =
        from_json(&read_whole(&repository, root, 1 << 20).unwrap()).unwrap();
    let manifests = index.manifests.iter().map(|one| {
        let manifest: Manifest = from_json(&read_whole(&repository, one, 1 << 20).unwrap()).unwrap();
        manifest.layers
    });
    manifests.flatten().collect()
}

fn pull_error(result: Result<Built, Error>) -> PullError {
    let Err(Error::Build(BuildError::Base { source, .. })) = result else { panic!("it is built") };
    let ocibuild_core::base::BaseError::Blob(BlobError::Place { source, .. }) = *source else {
        panic!("{source:?}")
    };
    *source.downcast().unwrap()
}

#[test]
fn a_base_stays_where_it_is() {
    let setting = Setting::new();
    let before = setting.whole.count();
    let built = setting.builder().build_spec(&setting.spec()).unwrap();
    let root = &built.images[0].root;
    valid(&built.source(), root);
    let warnings = setting.warnings.lock().unwrap().clone();
    assert_eq!(warnings.len(), 1, "once for both platforms: {warnings:?}");
    assert!(warnings[0].contains("ocibuild lock") && warnings[0].contains("sha256:"), "{warnings:?}");

    let pushed = setting.whole.count();
    let report = setting.push(&built, "team/app:1");
    // The same two layers for both platforms.
    assert_eq!(report.mounted.blobs, 2);
    let lines = setting.whole.lines_since(pushed);
    assert_eq!(blob_reads(&lines), Vec::<&String>::new());
    let base_layers =
        layers_of(&setting, "team/base", &setting.builder().resolve_base(&setting.base).unwrap());
    for layer in &base_layers {
        let digest = layer.digest.to_string().replace(':', "%3A");
        let sent = lines.iter().filter(|line| line.starts_with("PUT") && line.contains(&digest));
        assert_eq!(sent.count(), 0, "{lines:?}");
        assert!(!setting.cache().join("blobs/sha256").join(layer.digest.hex()).exists(), "not on disk");
    }
    valid(&setting.whole.repository("team/app"), root);

    // Elsewhere each goes once, from registry to registry.
    let elsewhere = Whole::start(201);
    let target = format!("{}/team/app:1", elsewhere.recorder.host).parse().unwrap();
    built.push(&Registry::new(options()), &target).unwrap();
    for layer in &base_layers {
        let digest = layer.digest.to_string().replace(':', "%3A");
        let lines = elsewhere.recorder.lines();
        assert_eq!(lines.iter().filter(|line| line.starts_with("PUT") && line.contains(&digest)).count(), 1);
        assert!(!setting.cache().join("blobs/sha256").join(layer.digest.hex()).exists(), "not on disk");
    }
    valid(&elsewhere.repository("team/app"), root);
    assert!(before < pushed);
}

#[test]
fn with_the_records_alone_no_layer_of_the_base_is_read() {
    let setting = Setting::new();
    let lock = setting.lock();
    let first = setting.builder().lock(lock.clone()).build_spec(&setting.spec()).unwrap();
    setting.push(&first, "team/app:1");
    setting.forget_blobs();
    let before = setting.whole.count();
    let built = setting.builder().lock(lock.clone()).build_spec(&setting.spec()).unwrap();
    let report = setting.push(&built, "team/other:1");
    assert_eq!(built.images[0].root, first.images[0].root);
    assert_eq!(report.mounted.blobs, 2);
    let lines = setting.whole.lines_since(before);
    let configs: Vec<&String> = blob_reads(&lines);
    assert_eq!(configs.len(), 2, "the configs of two platforms, nothing else: {configs:?}");
    for layer in layers_of(&setting, "team/app", &built.images[0].root) {
        assert!(lines.iter().all(|line| !line.starts_with("GET") || !line.contains(&layer.digest.hex())));
    }

    // And now the registry isn't needed at all.
    let before = setting.whole.count();
    let again = setting.builder().lock(lock).build_spec(&setting.spec()).unwrap();
    assert_eq!(again.images[0].root, first.images[0].root);
    assert_eq!(setting.whole.count(), before);
    assert!(setting.warnings.lock().unwrap().is_empty(), "what is locked needs no warning");
}

#[test]
fn a_digest_is_a_pin_and_needs_no_registry_once_it_was_pulled() {
    let setting = Setting::new();
    let root = setting.builder().resolve_base(&setting.base).unwrap();
    let mut spec = setting.spec();
    let name = format!("{}@{}", setting.base, root.digest);
    let template = ocibuild_core::spec::Template::literal(name);
    spec.images[0].base = ocibuild_core::spec::Base::Remote { reference: template.into() }.into();
    let offline = || setting.builder().offline(true).build_spec(&spec);
    assert!(matches!(pull_error(offline()), PullError::Offline { digest } if digest == root.digest));
    let built = setting.builder().locked(true).build_spec(&spec).unwrap();
    setting.publish("moved");
    setting.whole.remove("team/base");
    assert_eq!(offline().unwrap().images[0].root, built.images[0].root);
    assert!(setting.warnings.lock().unwrap().is_empty());
}

#[test]
fn a_lock_holds_where_a_tag_moves() {
    let setting = Setting::new();
    let spec = setting.spec();
    assert!(matches!(pull_error(setting.builder().locked(true).build_spec(&spec)), PullError::NotLocked));
    assert!(matches!(pull_error(setting.builder().offline(true).build_spec(&spec)), PullError::Unknown));
    let lock = setting.lock();
    let locked = |yes| setting.builder().lock(lock.clone()).locked(yes).build_spec(&spec);
    let built = locked(true).unwrap();
    let old = lock.get(&setting.base).unwrap().root.digest;
    let new = setting.publish("two");
    assert_eq!(locked(false).unwrap().images[0].root, built.images[0].root);
    match pull_error(locked(true)) {
        PullError::Moved { locked, now } => assert_eq!((locked, now), (old, new)),
        other => panic!("{other:?}"),
    }
    // What is in the cache is enough without the registry, whatever the tag means by now.
    let offline = setting.builder().lock(lock.clone()).locked(true).offline(true).build_spec(&spec).unwrap();
    assert_eq!(offline.images[0].root, built.images[0].root);
}

#[test]
fn a_base_that_vanished_is_named() {
    let setting = Setting::new();
    let lock = setting.lock();
    setting.forget_blobs();
    setting.whole.remove("team/base");
    let old = lock.get(&setting.base).unwrap().root.digest;
    let error = pull_error(setting.builder().lock(lock).build_spec(&setting.spec()));
    assert!(matches!(error, PullError::Gone { digest: Some(digest) } if digest == old), "{error:?}");
    let error = pull_error(setting.builder().build_spec(&setting.spec()));
    assert!(matches!(error, PullError::Gone { digest: None }), "{error:?}");
}

#[test]
fn a_damaged_document_is_fetched_again() {
    let setting = Setting::new();
    let lock = setting.lock();
    let root = lock.get(&setting.base).unwrap().root.clone();
    let path = setting.cache().join("blobs/sha256").join(root.digest.hex());
    let length = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![b' '; usize::try_from(length).unwrap()]).unwrap();
    setting.builder().lock(lock).build_spec(&setting.spec()).unwrap();
    assert_eq!(Digest::of(&fs::read(path).unwrap()), root.digest);
}

#[test]
fn layers_are_kept_for_disk_where_that_is_wanted() {
    let setting = Setting::new();
    let lock = setting.lock();
    let build = |offline| {
        let builder = setting.builder().lock(lock.clone()).offline(offline).keep_base_layers(true);
        builder.build_spec(&setting.spec()).unwrap()
    };
    let write = |built: &Built, name: &str| {
        let layout = Layout::open_or_create(setting.directory.path().join(name)).unwrap();
        let report = built.write_layout(&built.images, &layout, &CopyOptions::new());
        report.map(|_| valid(&layout, &built.images[0].root))
    };
    write(&build(false), "first").unwrap();
    let before = setting.whole.count();
    write(&build(true), "second").unwrap();
    assert_eq!(setting.whole.count(), before);
    // Without the bytes it says what is missing.
    setting.forget_blobs();
    assert!(matches!(
        pull_error(setting.builder().lock(lock.clone()).offline(true).build_spec(&setting.spec())),
        PullError::Offline { .. }
    ));
    setting.builder().lock(lock.clone()).build_spec(&setting.spec()).unwrap();
    match write(&build(true), "third").unwrap_err() {
        BlobError::Place { source, .. } => {
            assert!(matches!(source.downcast_ref(), Some(PullError::Offline { .. })), "{source:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn dockers_own_manifest_is_a_base_and_its_foreign_layers_stay_where_they_are() {
    let setting = Setting::new();
    let repository = setting.whole.repository("team/base");
    let root = setting.builder().resolve_base(&setting.base).unwrap();
    let layers = layers_of(&setting, "team/base", &root);
    let index: ocibuild_core::oci::Index =
        from_json(&read_whole(&repository, &root, 1 << 20).unwrap()).unwrap();
    let manifest: Manifest =
        from_json(&read_whole(&repository, &index.manifests[0], 1 << 20).unwrap()).unwrap();
    let [one, two] = [&layers[0], &layers[1]];
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::DOCKER_MANIFEST,
        "config": { "mediaType": MediaType::DOCKER_CONFIG, "digest": manifest.config.digest, "size": manifest.config.size },
        "layers": [
            { "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": one.digest,
              "size": one.size, "urls": ["http://127.0.0.1:1/never"] },
            { "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": two.digest, "size": two.size },
        ],
    });
    let bytes = to_json(&document);
    let docker = Descriptor::of(MediaType::DOCKER_MANIFEST, &bytes);
    repository.push(&docker, &ocibuild_core::blob::BytesContent::new(bytes)).unwrap();
    repository.tag(&docker, "docker").unwrap();
    let base: Reference = format!("{}/team/base:docker", setting.whole.recorder.host).parse().unwrap();
    let layer = LayerSpec::named("app").content("/app", "x");
    let image = ImageSpec::scratch(Platform::linux_amd64()).base(base).layer(layer);
    let built = setting.builder().build(&image).unwrap();
    let report = setting.push(&built, "team/app:docker");
    assert_eq!((report.foreign.blobs, report.mounted.blobs), (1, 1));
    let target = setting.whole.repository("team/app");
    let own: Manifest = from_json(&read_whole(&target, &built.images[0].root, 1 << 20).unwrap()).unwrap();
    assert_eq!((own.layers[0].digest, own.layers[1].digest), (one.digest, two.digest));
    assert!(own.layers[0].media_type.as_str().contains("nondistributable"));
    assert_eq!(own.layers[1].media_type, MediaType::LAYER_GZIP);
    assert!(!target.exists(&own.layers[0]).unwrap());
    assert_eq!(own.annotations[annotation::BASE_DIGEST], docker.digest.to_string());
    let name = format!("{}/team/base:docker", setting.whole.recorder.host);
    assert_eq!(own.annotations[annotation::BASE_NAME], name);
}
