//! Everything that is written is understood by `oci-spec`, field by field.

#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::path::Path;

use oci_spec::image as other;
use ocibuild_core::blob::{Source as _, Target as _, read_whole};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Index, MAX_MANIFEST_SIZE, Manifest, from_json};
use ocibuild_core::{Builder, Descriptor, ImageSpec, LayerSpec, Platform};

fn build(directory: &Path, platforms: &[Platform]) -> (Layout, Descriptor) {
    let mut image = ImageSpec::scratch(platforms[0].clone())
        .layer(LayerSpec::named("app").content("/etc/motd", "hello\n").symlink("/motd", "etc/motd"))
        .tag("registry.example.com/team/app:1")
        .entrypoint(["/app", "serve"])
        .cmd(["--port", "80"])
        .env("A", "1=2")
        .user("65532:65532")
        .workdir("/srv")
        .expose(8080)
        .volume("/data")
        .label("com.example.a", "\u{1}\"control and quotes\"\u{7f}")
        .annotation("com.example.b", "b")
        .author("somebody")
        .stop_signal("SIGINT");
    for platform in &platforms[1..] {
        image = image.platform(platform.clone());
    }
    let built = Builder::new(directory, directory.join("cache")).build(&image).unwrap();
    let layout = Layout::open_or_create(directory.join("out")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
    let root = layout.resolve("1").unwrap();
    (layout, root)
}

fn bytes(layout: &Layout, descriptor: &Descriptor) -> Vec<u8> {
    assert!(layout.exists(descriptor).unwrap());
    read_whole(layout, descriptor, MAX_MANIFEST_SIZE).unwrap()
}

#[test]
fn an_image_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let (layout, root) = build(directory.path(), &[Platform::linux_amd64()]);
    let written = bytes(&layout, &root);
    let manifest = other::ImageManifest::from_reader(&written[..]).unwrap();
    assert_eq!(manifest.schema_version(), 2);
    assert_eq!(manifest.media_type(), &Some(other::MediaType::ImageManifest));
    assert_eq!(manifest.layers()[0].media_type(), &other::MediaType::ImageLayerGzip);
    assert_eq!(manifest.annotations().as_ref().unwrap()["com.example.b"], "b");

    let ours: Manifest = from_json(&written).unwrap();
    let config = other::ImageConfiguration::from_reader(&bytes(&layout, &ours.config)[..]).unwrap();
    assert_eq!((config.os(), config.architecture()), (&other::Os::Linux, &other::Arch::Amd64));
    assert_eq!(config.created().as_deref(), Some("1970-01-01T00:00:01Z"));
    assert_eq!(config.author().as_deref(), Some("somebody"));
    assert_eq!(config.rootfs().diff_ids().len(), 1);
    assert_eq!(config.history().as_ref().unwrap().len(), 1);
    let run = config.config().clone().unwrap();
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(run.entrypoint(), &words(&["/app", "serve"]));
    assert_eq!(run.cmd(), &words(&["--port", "80"]));
    assert_eq!(run.env(), &words(&["A=1=2"]));
    assert_eq!(run.user().as_deref(), Some("65532:65532"));
    assert_eq!(run.working_dir().as_deref(), Some("/srv"));
    assert_eq!(run.exposed_ports(), &words(&["8080/tcp"]));
    assert_eq!(run.volumes(), &words(&["/data"]));
    assert_eq!(run.stop_signal().as_deref(), Some("SIGINT"));
    assert_eq!(run.labels().as_ref().unwrap()["com.example.a"], "\u{1}\"control and quotes\"\u{7f}");
}

#[test]
fn an_index_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let arm: Platform = "linux/arm/v7".parse().unwrap();
    let (layout, root) = build(directory.path(), &[Platform::linux_amd64(), arm]);
    let written = bytes(&layout, &root);
    let index = other::ImageIndex::from_reader(&written[..]).unwrap();
    assert_eq!(index.media_type(), &Some(other::MediaType::ImageIndex));
    let platforms: Vec<_> = index.manifests().iter().map(|one| one.platform().clone().unwrap()).collect();
    assert_eq!(platforms[0].architecture(), &other::Arch::Amd64);
    assert_eq!(
        (platforms[1].architecture(), platforms[1].variant().as_deref()),
        (&other::Arch::ARM, Some("v7"))
    );

    let ours: Index = from_json(&written).unwrap();
    let manifests = ours.manifests.iter().map(|one| from_json::<Manifest>(&bytes(&layout, one)).unwrap());
    let layers: Vec<_> = manifests.map(|manifest| manifest.layers).collect();
    assert_eq!(layers[0], layers[1], "a layer that is the same for two platforms is one");
}
