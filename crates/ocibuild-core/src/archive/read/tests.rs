use std::fs;
use std::io::Write as _;

use super::*;
use crate::archive::{ArchiveImage, ArchiveWriter};
use crate::blob::fixture::{image, index, layer};
use crate::blob::{Memory, read_whole};
use crate::copy::{CopyOptions, Listing as _, copy, copy_referred, referrers};
use crate::event::Cancel;
use crate::oci::{MediaType, to_json};

/// What an entry of a tar is made of.
enum Part<'a> {
    File(&'a str, Vec<u8>),
    Link(&'a str, &'a str),
}

fn tar(parts: &[Part<'_>]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for part in parts {
        let mut header = ::tar::Header::new_ustar();
        header.set_mode(0o644);
        match part {
            Part::File(name, bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, name, &bytes[..]).unwrap();
            }
            Part::Link(name, target) => {
                header.set_entry_type(::tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, name, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn open(bytes: &[u8], form: ArchiveForm) -> Result<Archive, BlobError> {
    let spool = tempfile::tempdir().unwrap();
    let archive = Archive::from_stream("the stream", bytes, form, spool.path());
    assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0, "what is spooled has no name");
    archive
}

#[track_caller]
fn fault(result: Result<impl Sized, BlobError>) -> ArchiveError {
    match result.err().expect("it should be refused") {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// An archive as ours are.
fn ours(memory: &Memory, images: &[ArchiveImage], listed: &[Descriptor]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = ArchiveWriter::to_stream("it", &mut bytes);
    let roots: Vec<Descriptor> =
        images.iter().map(|image| image.descriptor.clone()).chain(listed.iter().cloned()).collect();
    copy(&roots, memory, &writer, &CopyOptions::new()).unwrap();
    listed.iter().for_each(|one| writer.list(one).unwrap());
    writer.finish(images).unwrap();
    bytes
}

fn copied(archive: &Archive, root: &Descriptor) {
    copy(std::slice::from_ref(root), archive, &Memory::new(), &CopyOptions::new()).unwrap();
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn what_is_written_is_read_back_compressed_or_not() {
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), index(&memory));
    let named = ArchiveImage::new(two.clone(), "two").reference("r.io/two:2".parse().unwrap());
    let bytes = ours(&memory, &[ArchiveImage::new(one.clone(), "one"), named], &[]);
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("plain", bytes.clone()),
        ("gzip", compressed(&bytes)),
        ("zstd", zstd::encode_all(&bytes[..], 1).unwrap()),
    ] {
        let file = directory.path().join(name);
        fs::write(&file, bytes).unwrap();
        for form in [ArchiveForm::Any, ArchiveForm::Oci] {
            let archive = Archive::open(&file, form, directory.path()).unwrap();
            assert_eq!(archive.names(), ["one", "2"]);
            assert_eq!(archive.resolve("one").unwrap(), one);
            assert_eq!(archive.resolve("2").unwrap(), two);
            assert_eq!(archive.resolve("r.io/two:2").unwrap(), two);
            assert!(matches!(archive.resolve("3"), Err(BlobError::UnknownName { .. })));
            let BlobError::Place { source, .. } = archive.sole().unwrap_err() else { panic!() };
            assert!(source.to_string().contains("(`one`, `2`)"), "{source}");
            copied(&archive, &one);
            copied(&archive, &two);
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn an_archive_of_ours_is_the_same_read_as_docker_does() {
    let memory = Memory::new();
    let one = image(&memory, "one");
    let named = ArchiveImage::new(one.clone(), "one").reference("app:1".parse().unwrap());
    let bytes = ours(&memory, &[named], &[]);
    let archive = open(&bytes, ArchiveForm::Docker).unwrap();
    assert_eq!(archive.names(), ["docker.io/library/app:1"]);
    for name in ["app:1", "docker.io/library/app:1", "@0"] {
        assert_eq!(archive.resolve(name).unwrap(), one, "{name}");
    }
    for name in ["app", "@1", "@x"] {
        assert!(matches!(archive.resolve(name), Err(BlobError::UnknownName { .. })), "{name}");
    }
    copied(&archive, &archive.sole().unwrap());
}

/// An image as `docker save` had it: a shared layer is a link to the first that has it.
fn saved(config: &str, layers: &[&str]) -> Vec<u8> {
    let tags = ["r.io/a:1"];
    let images = serde_json::json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
    to_json(&images)
}

fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let text = format!(
        "{{ \"os\": \"linux\",\n \"architecture\":\"amd64\", \"odd\": 1.50, \"rootfs\": {{\"type\":\"layers\", \"diff_ids\": {}}} }}",
        serde_json::json!(diff_ids)
    );
    text.into_bytes()
}

fn tar_of(name: &str) -> Vec<u8> {
    tar(&[Part::File(name, name.as_bytes().to_vec())])
}

#[test]
fn what_docker_saved_becomes_an_image_of_the_same_bytes() {
    let (one, two) = (tar_of("one"), tar_of("two"));
    let config = config_of(&[&one, &two, &one]);
    let parts = [
        Part::File("a/layer.tar", one.clone()),
        Part::File("b/layer.tar", compressed(&two)),
        Part::Link("c/layer.tar", "../a/layer.tar"),
        Part::File("x.json", config.clone()),
        Part::File("./manifest.json", saved("x.json", &["a/layer.tar", "b/layer.tar", "c/layer.tar"])),
    ];
    let archive = open(&tar(&parts), ArchiveForm::Any).unwrap();
    let root = archive.sole().unwrap();
    assert_eq!(archive.resolve("r.io/a:1").unwrap(), root);
    let manifest: crate::oci::Manifest =
        crate::oci::from_json(&read_whole(&archive, &root, 1 << 20).unwrap()).unwrap();
    assert_eq!(read_whole(&archive, &manifest.config, 1 << 20).unwrap(), config);
    let types: Vec<&MediaType> = manifest.layers.iter().map(|layer| &layer.media_type).collect();
    assert_eq!(types, [&MediaType::LAYER, &MediaType::LAYER_GZIP, &MediaType::LAYER]);
    assert_eq!(manifest.layers[2], Descriptor::of(MediaType::LAYER, &one));
    assert!(archive.referrers(&root).unwrap().is_empty());
    let violations = crate::image::validate(&archive, &root, &Default::default()).unwrap();
    assert!(violations.is_empty(), "{violations:?}");
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_found() {
    let (one, two) = (tar_of("one"), tar_of("two"));
    let with = |layer: Vec<u8>| {
        let manifest = saved("x.json", &["layer.tar"]);
        let config = config_of(&[&two]);
        let parts = [
            Part::File("layer.tar", layer),
            Part::File("x.json", config),
            Part::File("manifest.json", manifest),
        ];
        open(&tar(&parts), ArchiveForm::Docker).unwrap()
    };
    // Compressed, its own digest has to be known, so it is read at once.
    assert!(matches!(fault(with(compressed(&one)).sole()), ArchiveError::DiffId { .. }));
    let archive = with(one);
    let root = archive.sole().unwrap();
    let copied = copy(&[root], &archive, &Memory::new(), &CopyOptions::new());
    assert!(matches!(copied, Err(BlobError::Corrupt { .. })));
}

#[test]
fn archives_of_something_else_are_refused_with_words() {
    let one = tar_of("one");
    let config = config_of(&[&one]);
    let docker = |name: &str, layers: &[&str]| {
        let parts = [
            Part::File("x.json", config.clone()),
            Part::File("y.json", b"{}".to_vec()),
            Part::Link("out", "../../../etc/passwd"),
            Part::Link("self", "self"),
            Part::File("manifest.json", saved(name, layers)),
        ];
        fault(open(&tar(&parts), ArchiveForm::Any).unwrap().sole()).to_string()
    };
    assert_eq!(docker("none", &[]), "`none`, which `manifest.json` names, is not in it");
    assert_eq!(docker("x.json", &["none"]), "`none`, which `manifest.json` names, is not in it");
    assert_eq!(docker("x.json", &["out"]), "`out`, which `manifest.json` names, is not in it");
    assert_eq!(
        docker("x.json", &["../etc/passwd"]),
        "`../etc/passwd`, which `manifest.json` names, is not in it"
    );
    assert_eq!(docker("x.json", &["self"]), "`self` in it is a link that leads nowhere");
    assert_eq!(docker("y.json", &[]), "the config `y.json` in it can't be used");
    assert!(docker("x.json", &[]).starts_with("an image has 0 layers in it"));

    let none = || tar(&[Part::File("a", b"b".to_vec())]);
    assert!(matches!(fault(open(&none(), ArchiveForm::Any)), ArchiveError::NoImages));
    assert!(matches!(fault(open(&none(), ArchiveForm::Oci)), ArchiveError::NotOci { is_docker: false }));
    assert!(matches!(fault(open(&none(), ArchiveForm::Docker)), ArchiveError::NotDocker { is_oci: false }));
    assert!(matches!(fault(open(b"", ArchiveForm::Any)), ArchiveError::NoImages));
    assert!(matches!(fault(open(&[b'x'; 2000], ArchiveForm::Any)), ArchiveError::Tar(_)));
    assert!(matches!(fault(open(b"BZh91AY&SY", ArchiveForm::Any)), ArchiveError::Codec(_)));
    let twice =
        tar(&[Part::File("manifest.json", b"[]".to_vec()), Part::File("./manifest.json", b"[]".to_vec())]);
    assert!(matches!(fault(open(&twice, ArchiveForm::Any)), ArchiveError::Twice(_)));
    let large = tar(&[Part::File("manifest.json", vec![b' '; (4 << 20) + 1])]);
    assert!(matches!(fault(open(&large, ArchiveForm::Any)), ArchiveError::TooLarge { .. }));
    let form = tar(&[Part::File("manifest.json", b"{}".to_vec())]);
    assert!(matches!(fault(open(&form, ArchiveForm::Any)), ArchiveError::Damaged { .. }));
    let version = [
        Part::File("oci-layout", br#"{"imageLayoutVersion":"9"}"#.to_vec()),
        Part::File("index.json", b"{}".to_vec()),
    ];
    assert!(matches!(fault(open(&tar(&version), ArchiveForm::Any)), ArchiveError::Layout(_)));
}

#[test]
fn an_archive_cut_short_is_never_taken_for_whole() {
    let memory = Memory::new();
    let one = image(&memory, "one");
    let bytes = ours(&memory, &[ArchiveImage::new(one, "one")], &[]);
    // What stands at the end says what there is; before that nothing can be read.
    let end = bytes.len() - 1024 - 512;
    for length in (0..end).step_by(97) {
        assert!(open(&bytes[..length], ArchiveForm::Oci).is_err(), "{length}");
    }
}

#[test]
fn damage_anywhere_is_an_error_and_nothing_worse() {
    let memory = Memory::new();
    let one = image(&memory, "one");
    let bytes = ours(&memory, &[ArchiveImage::new(one.clone(), "one")], &[]);
    for at in (0..bytes.len()).step_by(29) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x15;
        let Ok(archive) = open(&damaged, ArchiveForm::Any) else { continue };
        let Ok(root) = archive.sole() else { continue };
        let target = Memory::new();
        if copy(std::slice::from_ref(&root), &archive, &target, &CopyOptions::new()).is_ok() {
            // Only what no digest covers was touched.
            assert_eq!(root.digest, one.digest, "byte {at}");
        }
    }
}

#[test]
fn what_refers_to_an_image_comes_along_and_is_found_again() {
    let memory = Memory::new();
    let subject = index(&memory);
    let artifact = |of: &Descriptor, text: &str| {
        let (blob, _) = layer(&memory, "proof", text.as_bytes());
        let config = memory.insert(MediaType::new("application/vnd.example"), b"{}".to_vec());
        let mut manifest = crate::oci::Manifest::new(config, vec![blob]);
        manifest.subject = Some(of.clone());
        memory.insert(MediaType::MANIFEST, to_json(&manifest))
    };
    let proof = artifact(&subject, "proof");
    let of_proof = artifact(&proof, "of the proof");
    let named = ArchiveImage::new(subject.clone(), "one");
    let bytes = ours(&memory, &[named], &[proof.clone(), of_proof.clone()]);
    let archive = open(&bytes, ArchiveForm::Any).unwrap();
    assert_eq!(archive.sole().unwrap(), subject, "what refers to it doesn't count");
    let digests = |found: Vec<Descriptor>| found.iter().map(|one| one.digest).collect::<Vec<_>>();
    let all = referrers(std::slice::from_ref(&subject), &archive, &Cancel::new()).unwrap();
    assert_eq!(digests(all), [proof.digest, of_proof.digest]);

    let directory = tempfile::tempdir().unwrap();
    let layout = crate::layout::Layout::open_or_create(directory.path().join("layout")).unwrap();
    copy_referred(std::slice::from_ref(&subject), &archive, &layout, &CopyOptions::new()).unwrap();
    crate::blob::Target::tag(&layout, &subject, "one").unwrap();
    assert_eq!(layout.sole().unwrap(), subject);
    let found = layout.referrers(&subject).unwrap();
    assert_eq!(found[0].artifact_type, Some(MediaType::new("application/vnd.example")));
    assert_eq!(digests(found), [proof.digest]);
    assert_eq!(digests(layout.referrers(&proof).unwrap()), [of_proof.digest]);
}
