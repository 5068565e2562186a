//! What the builder sees to before and around the work: its own files, faults of one layer among
//! several, a base's platform.
#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{Memory, Target as _, read_whole};
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::digest::{DiffId, Digest};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::layer::outline;
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{ImageConfig, Manifest, MediaType, RootFs, to_json};
use ocibuild_core::{Builder, Event, ImageSpec, LayerSpec, Platform, Spec};

fn scratch() -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64())
}

#[test]
fn a_cache_inside_the_root_is_never_an_input_from_its_first_use_on() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "content").unwrap();
    let image = scratch()
        .layer(LayerSpec::named("first").content("/first", "text"))
        .layer(LayerSpec::named("all").copy(".", "/all"));
    let build = || {
        let builder = Builder::new(root.path(), root.path().join("made/cache")).threads(1);
        builder.build(&image).unwrap()
    };
    let (cold, warm) = (build(), build());
    assert_eq!(cold.images[0].root, warm.images[0].root);
    let all =
        outline(&cold.layers[1].record, cold.store(), &ocibuild_core::Cancel::new()).unwrap().directories;
    let paths: Vec<_> = all.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(paths, ["all", "all/made"]);
}

#[test]
fn what_a_killed_run_left_of_an_output_is_never_an_input() {
    let root = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "content").unwrap();
    let image = scratch().layer(LayerSpec::named("all").copy(".", "/all"));
    let build = || Builder::new(root.path(), cache.path()).build(&image).unwrap().images[0].root.clone();
    let clean = build();
    fs::write(root.path().join(".ocibuild-part-x1"), "half an archive").unwrap();
    assert_eq!(build(), clean);
}

#[test]
fn a_fault_of_one_layer_stops_the_others_and_is_the_one_told() {
    let root = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let noise: Vec<u8> =
        (0..4_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for file in 0..8 {
        fs::write(root.path().join(format!("large-{file}")), &noise).unwrap();
    }
    let image = scratch()
        .layer(LayerSpec::named("large").copy("large-*", "/large/"))
        .layer(LayerSpec::named("small").copy("missing", "/small"));
    let done = Mutex::new(0);
    let progress = |event: &Event| {
        if let Event::LayerProgress { bytes, .. } = event {
            *done.lock().unwrap() += bytes;
        }
    };
    let start = Instant::now();
    let builder = Builder::new(root.path(), cache.path()).threads(2).observer(&progress);
    let Err(fault) = builder.build(&image) else { panic!("it was built") };
    let source = std::error::Error::source(&fault).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{fault}: {source}").contains("`missing` doesn't exist"), "{fault}: {source}");
    assert!(*done.lock().unwrap() < 100_000_000, "the other layer was built to its end");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_bases_platform_is_the_default_also_where_its_directory_has_a_variable() {
    let root = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let base =
        ImageSpec::scratch(Platform::linux_arm64()).layer(LayerSpec::named("base").content("/base", "x"));
    let built = Builder::new(root.path(), cache.path()).build(&base).unwrap();
    let layout = Layout::open_or_create(root.path().join("bases/one")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
    drop(layout);
    for directory in ["bases/one", "bases/{var.name}"] {
        let spec = format!(
            "version = 1\n[vars]\nname = \"one\"\n[layers.own]\ncopy = [{{ content = \"y\", to = \"/own\" }}]\n\
             [images.own]\nbase = {{ layout = \"{directory}\" }}\nlayers = [\"own\"]\n"
        );
        let spec = Spec::parse(&spec, &Default::default()).unwrap();
        let built = Builder::new(root.path(), cache.path()).build_spec(&spec).unwrap();
        assert_eq!(built.images[0].root.platform, Some(Platform::linux_arm64()), "{directory}");
    }
    assert!(Path::new(&root.path().join("bases/one/index.json")).exists());
}

/// Puts an image as docker has always pushed it into a layout.
fn docker_image(directory: &Path) {
    let tar = vec![0; 1024];
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(vec![DiffId(Digest::of(&tar))]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar).unwrap();
    let memory = Memory::new();
    let layer = memory.insert(MediaType::DOCKER_LAYER, gzip.finish().unwrap());
    let config = memory.insert(MediaType::DOCKER_CONFIG, to_json(&config));
    let mut manifest = Manifest::new(config, vec![layer]);
    manifest.media_type = Some(MediaType::DOCKER_MANIFEST);
    let root = memory.insert(MediaType::DOCKER_MANIFEST, to_json(&manifest));
    let layout = Layout::open_or_create(directory).unwrap();
    copy(std::slice::from_ref(&root), &memory, &layout, &CopyOptions::new()).unwrap();
    layout.tag(&root, "base").unwrap();
}

#[test]
fn zstd_over_a_base_of_dockers_schema_makes_an_image_of_ocis() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    docker_image(&root.path().join("base"));
    let spec = "version = 1\n[layers.a]\ncompression = \"zstd\"\ncopy = [{ content = \"a\", to = \"/a\" }]\n\
        [layers.b]\ncompression = \"none\"\ncopy = [{ content = \"b\", to = \"/b\" }]\n\
        [images.own]\nbase = { layout = \"base\" }\nlayers = [\"a\", \"b\"]\n";
    let spec = Spec::parse(spec, &Default::default()).unwrap();
    let built = Builder::new(root.path(), cache.path()).build_spec(&spec).unwrap();
    let image = &built.images[0].root;
    assert_eq!(image.media_type, MediaType::MANIFEST);
    let manifest = read_whole(&built.source() as _, image, 1 << 20).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest.media_type, Some(MediaType::MANIFEST));
    assert_eq!(manifest.config.media_type, MediaType::CONFIG);
    let types: Vec<MediaType> = manifest.layers.into_iter().map(|layer| layer.media_type).collect();
    assert_eq!(types, [MediaType::LAYER_GZIP, MediaType::LAYER_ZSTD, MediaType::LAYER]);
    let violations = validate(&built.source(), image, &ValidateOptions::default().advice(true)).unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn who_has_no_stores_shows_no_credentials_either() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = scratch().layer(LayerSpec::named("a").content("/a", "text"));
    let said = Mutex::new(String::new());
    let observer = |event: &Event| said.lock().unwrap().push_str(&format!("{event:?}"));
    let place = ocibuild_core::spec::check::cache_place("Redis://me:hidden@host").unwrap();
    let builder = Builder::new(root.path(), cache.path()).observer(&observer);
    builder.cache_from([place]).build(&image).unwrap();
    let said = said.into_inner().unwrap();
    assert!(said.contains("an address has no credentials") && !said.contains("hidden"), "{said}");
}
