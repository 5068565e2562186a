//! Images that were pushed, as caches: what they say of their layers, and who is answered by it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use ocibuild_core::blob::{BlobError, Content, Memory, Sink as _, Source, Target as _, read_whole};
use ocibuild_core::build::{BuildError, Built, OpenBase, Tier};
use ocibuild_core::cache::{CacheError, LocalRecords, Record, RecordStore};
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::digest::Digest;
use ocibuild_core::event::{Event, LayerOutcome};
use ocibuild_core::files::{FileTree, MemoryTree};
use ocibuild_core::key::Key;
use ocibuild_core::oci::{Descriptor, Manifest, MediaType, Platform, annotation, from_json, to_json};
use ocibuild_core::shared::ImageRecords;
use ocibuild_core::spec::{ImageSpec, LayerSpec, Split};
use support::{Setup, build_image, root, try_build, try_foresee};

fn tree() -> MemoryTree {
    MemoryTree::new()
        .file("package.lock", "lock 1")
        .file("modules/a.js", "a")
        .program("modules/native", ELF)
        .file("app.js", "app 1")
}

/// As much of a program for amd64 as is looked at.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A fresh checkout, on which nothing was installed.
fn fresh() -> MemoryTree {
    MemoryTree::new().file("package.lock", "lock 1").file("app.js", "app 2")
}

fn dependencies() -> LayerSpec {
    LayerSpec::named("dependencies").copy("modules", "/app/modules").manifests(["package.lock"])
}

fn image() -> ImageSpec {
    let app = LayerSpec::named("app").copy("app.js", "/app/app.js");
    ImageSpec::scratch(Platform::linux_amd64()).layer(dependencies()).layer(app)
}

/// A place that has an image under the name `main`.
fn pushed(built: &Built) -> Arc<Memory> {
    let place = Memory::new();
    let root = &built.images[0].root;
    copy(std::slice::from_ref(root), &built.source(), &place, &CopyOptions::default()).unwrap();
    place.tag(root, "main").unwrap();
    Arc::new(place)
}

fn tier(place: &Arc<Memory>, platforms: &[&str]) -> Tier {
    let platforms = platforms.iter().map(|platform| platform.parse().unwrap());
    let records = Arc::new(ImageRecords::of(Arc::clone(place), "main", platforms));
    Tier {
        place: "memory".to_owned(),
        records: Arc::clone(&records) as _,
        blobs: records,
        outcome: LayerOutcome::Shared,
    }
}

thread_local! {
    static CACHES: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) };
}

fn build(tree: &dyn FileTree, image: &ImageSpec, tiers: Vec<Tier>) -> Built {
    let cache = tempfile::tempdir().unwrap();
    let built = build_image(tree, image, &Setup { tiers, ..Setup::new(cache.path()) });
    // What was made lies there for as long as the test runs.
    CACHES.with_borrow_mut(|caches| caches.push(cache));
    built
}

fn outcomes(built: &Built) -> Vec<LayerOutcome> {
    built.layers.iter().map(|layer| layer.outcome).collect()
}

fn manifest(source: &dyn Source, root: &Descriptor) -> Manifest {
    from_json(&read_whole(source, root, 1 << 20).unwrap()).unwrap()
}

use LayerOutcome::{Built as Made, Reused, Shared};

#[test]
fn a_layer_that_an_image_has_is_neither_built_nor_brought() {
    let place = pushed(&build(&tree(), &image(), Vec::new()));
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup { tiers: vec![tier(&place, &["linux/amd64"])], ..Setup::new(cache.path()) };
    let built = build_image(&fresh(), &image(), &setup);
    assert_eq!(outcomes(&built), [Shared, Made]);
    let layer = &built.layers[0].record.layers[0].descriptor;
    assert!(!built.store().exists(layer).unwrap(), "nothing was brought to the cache");
    assert!(built.source().exists(layer).unwrap(), "but the image has it");
    // It is what a build of everything comes to.
    let whole = tree().file("app.js", "app 2");
    assert_eq!(root(&built), root(&build(&whole, &image(), Vec::new())));
    // Without blobs there is no record, either: the image is asked again.
    assert!(try_build(&fresh(), &image(), &Setup::new(cache.path())).is_err());
}

#[test]
fn what_layers_say_is_the_same_on_hit_and_miss() {
    let cache = tempfile::tempdir().unwrap();
    let setup = || Setup::new(cache.path());
    let miss = build_image(&tree(), &image(), &setup());
    let hit = build_image(&tree(), &image(), &setup());
    let without = build_image(&tree(), &image(), &Setup { use_records: false, ..setup() });
    let shared = build(&tree(), &image(), vec![tier(&pushed(&miss), &["linux/amd64"])]);
    assert_eq!([outcomes(&miss), outcomes(&hit)], [[Made, Made], [Reused, Reused]]);
    assert_eq!(outcomes(&shared), [Shared, Shared]);
    assert_eq!([root(&hit), root(&without), root(&shared)], [(); 3].map(|()| root(&miss)));
    let layers = manifest(&miss.source(), &miss.images[0].root).layers;
    let keys = |layer: &Descriptor| layer.annotations[annotation::KEY].split(' ').count();
    assert_eq!(layers.iter().map(keys).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(layers[0].annotations[annotation::MACHINES], "amd64");
    assert_eq!(layers[1].annotations.len(), 2);
    assert_eq!(
        layers[0].annotations[annotation::DIFF_ID],
        miss.layers[0].record.layers[0].diff_id.to_string()
    );
}

#[test]
fn a_platform_s_layers_answer_for_that_platform_alone() {
    let both = ["linux/amd64", "linux/arm64"];
    let layer = |image: ImageSpec| {
        let layer = LayerSpec::named("modules").copy("modules", "/app").manifests(["package.lock"]);
        image.layer(layer.allow_foreign())
    };
    let on = |platform: &str| layer(ImageSpec::scratch(platform.parse().unwrap()));
    let two = layer(ImageSpec::scratch(Platform::linux_amd64()).platform(Platform::linux_arm64()));
    let place = pushed(&build(&tree(), &two, Vec::new()));
    for platform in both {
        let asked = build(&fresh(), &on(platform), vec![tier(&place, &[platform])]);
        assert_eq!(outcomes(&asked), [Shared], "{platform}");
    }
    let asked = build(&fresh(), &two, vec![tier(&place, &both)]);
    assert_eq!(outcomes(&asked), [Shared]);
    // One image alone has no other platform's.
    let place = pushed(&build(&tree(), &on("linux/amd64"), Vec::new()));
    let arm = build(&tree(), &on("linux/arm64"), vec![tier(&place, &["linux/arm64"])]);
    assert_eq!(outcomes(&arm), [Made]);
}

#[test]
fn a_layer_with_programs_for_one_machine_does_not_answer_for_another() {
    let two = |layer: LayerSpec| {
        ImageSpec::scratch(Platform::linux_amd64()).platform(Platform::linux_arm64()).layer(layer)
    };
    let one = ImageSpec::scratch(Platform::linux_amd64()).layer(dependencies());
    let place = pushed(&build(&tree(), &one, Vec::new()));
    let cache = tempfile::tempdir().unwrap();
    let tiers = vec![tier(&place, &["linux/amd64", "linux/arm64"])];
    let error = try_build(&tree(), &two(dependencies()), &Setup { tiers, ..Setup::new(cache.path()) });
    assert!(matches!(error.err().unwrap(), BuildError::Layer { .. }), "its files are looked at, and refused");
}

#[test]
fn of_a_base_foreign_annotations_are_kept_and_ours_are_not() {
    let below = build(&tree(), &image(), Vec::new());
    let place = pushed(&below);
    let mut base = manifest(&*place, &below.images[0].root);
    base.layers[0].annotations.insert("org.example.foreign".to_owned(), "kept".to_owned());
    let root = place.insert(MediaType::MANIFEST, to_json(&base));
    let cache = tempfile::tempdir().unwrap();
    let over = ImageSpec::scratch(Platform::linux_amd64()).base_layout("base");
    let over = over.layer(LayerSpec::named("more").content("/more", ""));
    let setup = Setup {
        base: Some(OpenBase { source: Arc::clone(&place) as Arc<dyn Source>, root }),
        ..Setup::new(cache.path())
    };
    let built = build_image(&tree(), &over, &setup);
    let layers = manifest(&built.source(), &built.images[0].root).layers;
    let names = |layer: &Descriptor| layer.annotations.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&layers[0]), ["org.example.foreign"]);
    assert!(names(&layers[1]).is_empty());
    assert!(names(&layers[2]).contains(&annotation::KEY.to_owned()));
}

/// Hears what a run warns of.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl ocibuild_core::Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            self.0.lock().unwrap().push(warning.message.clone());
        }
    }
}

fn warned(tiers: Vec<Tier>) -> (Vec<LayerOutcome>, Vec<String>) {
    let (cache, warnings) = (tempfile::tempdir().unwrap(), Warnings::default());
    let setup = Setup { tiers, observer: &warnings, ..Setup::new(cache.path()) };
    let two = image().layer(LayerSpec::named("more").copy("app.js", "/x").manifests(["package.lock"]));
    let built = build_image(&tree(), &two, &setup);
    (outcomes(&built), warnings.0.into_inner().unwrap())
}

#[test]
fn an_image_that_cannot_be_read_is_a_warning_and_a_miss() {
    let (made, told) = warned(vec![tier(&Arc::new(Memory::new()), &["linux/amd64"])]);
    assert_eq!(made, [Made; 3]);
    assert_eq!(told, ["`memory: main` isn't there; it answers for no layer"]);
    // One that says nothing of keys has none.
    let place = Memory::new();
    let built = build(&tree(), &image(), Vec::new());
    let mut plain = manifest(&built.source(), &built.images[0].root);
    plain.layers.iter_mut().for_each(|layer| layer.annotations.clear());
    let config = read_whole(&built.source(), &plain.config, 1 << 20).unwrap();
    place.insert(MediaType::CONFIG, config);
    let root = place.insert(MediaType::MANIFEST, to_json(&plain));
    place.tag(&root, "main").unwrap();
    assert_eq!(warned(vec![tier(&Arc::new(place), &["linux/amd64"])]), (vec![Made; 3], Vec::new()));
}

#[test]
fn a_base_that_is_too_large_for_others_to_be_told_is_a_warning() {
    // Names that don't compress well: their list takes more than a record has room for.
    let name = |number: u32| Digest::of(&number.to_le_bytes()).hex();
    let told_of = |files: u32| {
        let named = |tree: MemoryTree, number| tree.file(format!("base/{}", name(number)), "");
        let below =
            ImageSpec::scratch(Platform::linux_amd64()).layer(LayerSpec::named("all").copy("base", "/"));
        let below = build(&(0..files).fold(MemoryTree::new(), named), &below, Vec::new());
        let (source, root) = (pushed(&below) as Arc<dyn Source>, below.images[0].root.clone());
        let (cache, warnings) = (tempfile::tempdir().unwrap(), Warnings::default());
        let over = ImageSpec::scratch(Platform::linux_amd64()).base_layout("base");
        let over = over.layer(LayerSpec::named("more").content("/more", ""));
        let setup = Setup {
            base: Some(OpenBase { source, root }),
            tiers: vec![tier(&pushed(&build(&tree(), &image(), Vec::new())), &["linux/amd64"])],
            observer: &warnings,
            ..Setup::new(cache.path())
        };
        build_image(&tree(), &over, &setup);
        warnings.0.into_inner().unwrap()
    };
    assert_eq!(told_of(10), [""; 0]);
    let told = "what the base holds is not told to other caches: of 40000 paths, it is too large";
    assert_eq!(told_of(40_000), [told]);
}

#[test]
fn a_layer_that_is_gone_is_a_miss_and_the_next_image_is_asked() {
    let built = build(&tree(), &image(), Vec::new());
    let whole = pushed(&built);
    let thin = Memory::new();
    let root = built.images[0].root.clone();
    let own = manifest(&built.source(), &root);
    for (descriptor, limit) in [(&own.config, 1 << 20), (&root, 1 << 20)] {
        let bytes = read_whole(&built.source(), descriptor, limit).unwrap();
        thin.insert(descriptor.media_type.clone(), bytes);
    }
    thin.tag(&root, "main").unwrap();
    let thin = Arc::new(thin);
    let alone = build(&tree(), &image(), vec![tier(&thin, &["linux/amd64"])]);
    assert_eq!(outcomes(&alone), [Made, Made]);
    let next = build(&fresh(), &image(), vec![tier(&thin, &["linux/amd64"]), tier(&whole, &["linux/amd64"])]);
    assert_eq!(outcomes(&next), [Shared, Made]);
}

#[test]
fn only_the_images_that_are_named_answer() {
    let place = pushed(&build(&tree(), &image(), Vec::new()));
    // Another image of the same place, which says that the layer is something else.
    let lie = build(&tree().file("modules/a.js", "b"), &image(), Vec::new());
    place
        .push(&Descriptor::of(MediaType::LAYER, b"x"), &ocibuild_core::blob::BytesContent::new(*b"x"))
        .unwrap();
    copy(&[lie.images[0].root.clone()], &lie.source(), &*place, &CopyOptions::default()).unwrap();
    place.tag(&lie.images[0].root, "other").unwrap();
    let built = build(&fresh(), &image(), vec![tier(&place, &["linux/amd64"])]);
    assert_ne!(built.layers[0].record.layers, lie.layers[0].record.layers);
    assert_eq!(outcomes(&build(&tree(), &image(), Vec::new())), [Made, Made]);
}

/// A place that counts what is read of it.
struct Counted(Arc<Memory>, Mutex<Vec<Digest>>);

impl Source for Counted {
    fn place(&self) -> String {
        Source::place(&*self.0)
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        assert!(rayon::current_thread_index().is_none(), "a place may be a registry, and is waited for");
        self.0.exists(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        assert!(rayon::current_thread_index().is_none());
        self.1.lock().unwrap().push(descriptor.digest);
        self.0.fetch(descriptor)
    }
}

fn counting(counted: &Arc<Counted>, root: &Descriptor) -> Tier {
    let (counted, root) = (Arc::clone(counted), root.clone());
    let open = move || Ok(OpenBase { source: Arc::clone(&counted) as Arc<dyn Source>, root: root.clone() });
    let records = Arc::new(ImageRecords::new("main", [Platform::linux_amd64()], open));
    Tier { place: "memory".to_owned(), records: Arc::clone(&records) as _, blobs: records, outcome: Shared }
}

#[test]
fn a_place_is_never_asked_on_a_thread_that_layers_are_made_on() {
    let image = ImageSpec::scratch(Platform::linux_amd64())
        .layer(LayerSpec::named("modules").copy("modules", "/app"))
        .layer(LayerSpec::named("split").copy("modules", "/other").split(Split::Into(4)));
    let made = build(&tree(), &image, Vec::new());
    let counted = Arc::new(Counted(pushed(&made), Mutex::default()));
    let tier = || counting(&counted, &made.images[0].root);
    assert_eq!(outcomes(&build(&tree(), &image, vec![tier()])), [Shared, Shared]);
    // Nor for its parts, one by one.
    let changed = tree().file("modules/b.js", "b");
    assert_eq!(outcomes(&build(&changed, &image, vec![tier()])), [Made, Made]);
}

#[test]
fn an_image_is_read_once_and_only_if_it_is_asked() {
    let made = build(&tree(), &image(), Vec::new());
    let place = pushed(&made);
    let root = made.images[0].root.clone();
    let counted = Arc::new(Counted(Arc::clone(&place), Mutex::default()));
    let cache = tempfile::tempdir().unwrap();
    let locked = ImageSpec::scratch(Platform::linux_amd64()).layer(dependencies());
    let setup = || Setup { tiers: vec![counting(&counted, &root)], ..Setup::new(cache.path()) };
    assert_eq!(outcomes(&build_image(&fresh(), &locked, &setup())), [Shared]);
    let config = manifest(&*place, &root).config.digest;
    // Validation in the end reads the layer: behind what the build itself has asked for.
    assert_eq!(counted.1.lock().unwrap()[..2], [root.digest, config]);
    // A cache that answers all spares the rest.
    let local = tempfile::tempdir().unwrap();
    build_image(&tree(), &locked, &Setup::new(local.path()));
    counted.1.lock().unwrap().clear();
    let tiers = vec![counting(&counted, &root)];
    let hit = build_image(&fresh(), &locked, &Setup { tiers, ..Setup::new(local.path()) });
    assert_eq!((outcomes(&hit), counted.1.lock().unwrap().len()), (vec![Reused], 0));
}

#[test]
fn a_layer_that_another_may_disagree_with_is_looked_into() {
    let layers = |mode: u32| {
        let upper = LayerSpec::named("upper").directory("/app/modules").mode(mode);
        ImageSpec::scratch(Platform::linux_amd64()).layer(dependencies()).layer(upper)
    };
    let place = pushed(&build(&tree(), &layers(0o755), Vec::new()));
    let agreed = build(&fresh(), &layers(0o755), vec![tier(&place, &["linux/amd64"])]);
    assert_eq!(outcomes(&agreed), [Shared, Shared]);
    let refused = |tree: &MemoryTree, image: &ImageSpec| {
        let cache = tempfile::tempdir().unwrap();
        let setup = Setup { tiers: vec![tier(&place, &["linux/amd64"])], ..Setup::new(cache.path()) };
        let error = try_build(tree, image, &setup).err().unwrap();
        assert!(matches!(error, BuildError::Disagreement { .. }), "{error}");
    };
    refused(&fresh(), &layers(0o700));
    // Nor does one that is known by what it holds.
    let layers = |mode: u32| {
        let lower = LayerSpec::named("lower").copy("modules", "/app/modules");
        let upper = LayerSpec::named("upper").directory("/app/modules").mode(mode);
        ImageSpec::scratch(Platform::linux_amd64()).layer(lower).layer(upper)
    };
    refused(&tree(), &layers(0o700));
    let agreed = build(&tree(), &layers(0o755), vec![tier(&place, &["linux/amd64"])]);
    assert_eq!(outcomes(&agreed), [Shared, Shared]);
    assert_eq!(agreed.layers[0].record.entries, 4, "two directories and two files");
}

#[test]
fn a_layer_without_lockfiles_is_known_by_what_it_holds() {
    let image = || {
        let layer = LayerSpec::named("modules").copy("modules", "/app");
        ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
    };
    let made = build(&tree(), &image(), Vec::new());
    let place = pushed(&made);
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup { tiers: vec![tier(&place, &["linux/amd64"])], ..Setup::new(cache.path()) };
    let built = build_image(&tree(), &image(), &setup);
    assert_eq!((outcomes(&built), root(&built)), (vec![Shared], root(&made)));
    assert!(!cache.path().join("blobs").exists() && !cache.path().join("records").exists());
    let changed = build(&tree().file("modules/a.js", "b"), &image(), vec![tier(&place, &["linux/amd64"])]);
    assert_eq!(outcomes(&changed), [Made]);
    // A program that the image can't run is refused all the same.
    let image = ImageSpec::scratch(Platform::linux_arm64());
    let image = image.layer(LayerSpec::named("modules").copy("modules", "/app"));
    assert!(try_build(&tree(), &image, &setup).is_err());
}

#[test]
fn parts_of_a_split_layer_answer_alone() {
    let package = |tree: MemoryTree, number: u32, text: &str| {
        tree.file(format!("m/node_modules/p{number}/index.js"), format!("{text} {number}"))
    };
    let tree = || (0..40).fold(MemoryTree::new(), |tree, number| package(tree, number, "one"));
    let image = || {
        let layer = LayerSpec::named("modules").copy("m", "/app").split(Split::Into(8));
        ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
    };
    let place = pushed(&build(&tree(), &image(), Vec::new()));
    let asked = |tree: &MemoryTree| build(tree, &image(), vec![tier(&place, &["linux/amd64"])]);
    let same = asked(&tree());
    assert_eq!(outcomes(&same), [Shared]);
    let changed = package(tree(), 7, "two");
    let built = asked(&changed);
    let parts: Vec<LayerOutcome> = built.layers[0].blobs().map(|(_, outcome)| outcome).collect();
    assert_eq!(parts.iter().filter(|outcome| **outcome == Made).count(), 1, "{parts:?}");
    assert_eq!(parts.iter().filter(|outcome| **outcome == Shared).count(), 7);
    assert_eq!(outcomes(&built), [Made]);
    for (part, outcome) in built.layers[0].blobs() {
        assert_eq!(built.store().exists(&part.descriptor).unwrap(), outcome == Made);
        assert!(built.source().exists(&part.descriptor).unwrap());
    }
    assert_eq!(root(&built), root(&build(&changed, &image(), Vec::new())));
    // What says which part it is and what it holds is the same for all who answered.
    let layers = manifest(&built.source(), &built.images[0].root).layers;
    let said: Vec<&str> = layers.iter().map(|layer| layer.annotations[annotation::PART].as_str()).collect();
    assert_eq!(said, ["1/8", "2/8", "3/8", "4/8", "5/8", "6/8", "7/8", "8/8"]);
    // Parts from two places, and from the cache.
    let cache = tempfile::tempdir().unwrap();
    build_image(&package(tree(), 9, "two"), &image(), &Setup::new(cache.path()));
    let both = package(changed, 9, "two");
    let setup = Setup { tiers: vec![tier(&place, &["linux/amd64"])], ..Setup::new(cache.path()) };
    let mixed = build_image(&both, &image(), &setup);
    assert_eq!(root(&mixed), root(&build(&both, &image(), Vec::new())));
}

#[test]
fn a_place_that_lost_the_list_of_what_a_layer_holds_answers_for_it_all_the_same() {
    let image = |layer: LayerSpec, mode| {
        let upper = LayerSpec::named("upper").directory("/app/modules").mode(mode);
        ImageSpec::scratch(Platform::linux_amd64()).layer(layer).layer(upper)
    };
    let by_content = || LayerSpec::named("lower").copy("modules", "/app/modules");
    for (layer, tree) in [(dependencies(), fresh()), (by_content(), tree())] {
        for damaged in [None, Some("no inventory")] {
            let place = tempfile::tempdir().unwrap();
            let made = build_image(&self::tree(), &image(layer.clone(), 0o755), &Setup::new(place.path()));
            for layer in &made.layers {
                let inventory = layer.record.inventory.as_ref().unwrap();
                made.store().remove(&inventory.digest).unwrap();
                if let Some(text) = damaged {
                    std::fs::write(made.store().path(&inventory.digest), text).unwrap();
                }
            }
            let tier = || Tier {
                place: "store".to_owned(),
                records: Arc::new(LocalRecords::new(place.path())),
                blobs: Arc::new(made.store().clone()),
                outcome: LayerOutcome::Stored,
            };
            let reused = build(&tree, &image(layer.clone(), 0o755), vec![tier()]);
            assert_eq!(outcomes(&reused), [LayerOutcome::Stored; 2]);
            assert_eq!(root(&reused), root(&made));
            let cache = tempfile::tempdir().unwrap();
            let setup = Setup { tiers: vec![tier()], ..Setup::new(cache.path()) };
            let error = try_build(&tree, &image(layer.clone(), 0o700), &setup).err().unwrap();
            assert!(matches!(error, BuildError::Disagreement { .. }), "{error}");
        }
    }
}

/// Says of every layer that it has one entry more than it has.
struct OneMore(LocalRecords);

impl RecordStore for OneMore {
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        let mut record = self.0.get(key)?;
        record.iter_mut().for_each(|record| record.entries += 1);
        Ok(record)
    }

    fn put(&self, _: &Record) -> Result<(), CacheError> {
        Ok(())
    }

    fn remove(&self, _: &Key) -> Result<(), CacheError> {
        Ok(())
    }
}

#[test]
fn what_is_foreseen_is_what_a_build_does() {
    let image = || {
        let layer = LayerSpec::named("modules").copy("modules", "/app");
        ImageSpec::scratch(Platform::linux_amd64()).layer(layer)
    };
    let place = tempfile::tempdir().unwrap();
    let made = build_image(&tree(), &image(), &Setup::new(place.path()));
    let tier = |records: Arc<dyn RecordStore>| Tier {
        place: "store".to_owned(),
        records,
        blobs: Arc::new(made.store().clone()),
        outcome: LayerOutcome::Stored,
    };
    let local = || LocalRecords::new(place.path());
    let cases: [(Arc<dyn RecordStore>, LayerOutcome); 2] =
        [(Arc::new(local()), LayerOutcome::Stored), (Arc::new(OneMore(local())), Made)];
    for (records, expected) in cases {
        let cache = tempfile::tempdir().unwrap();
        let setup = Setup { tiers: vec![tier(records)], ..Setup::new(cache.path()) };
        let seen = try_foresee(&tree(), &image(), &setup).unwrap();
        assert_eq!(seen.layers[0].blobs[0].outcome, expected);
        assert_eq!(outcomes(&build_image(&tree(), &image(), &setup)), [expected]);
    }
}
