use std::io::Write as _;

use super::*;
use crate::blob::Memory;
use crate::oci::{History, RootFs, to_json};

/// Parts of an image, each of which a test can spoil.
struct Parts {
    tar: Vec<u8>,
    gzip: bool,
    layer_type: MediaType,
    diff_id: Option<DiffId>,
    config: String,
    manifest: String,
    index: Option<String>,
}

fn entry(path: &str, kind: tar::EntryType, content: &[u8], link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_link_name_literal(link).unwrap();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(path: &str) -> Vec<u8> {
    entry(path, tar::EntryType::Regular, b"x", "")
}

fn parts() -> Parts {
    let mut tar = entry("a/", tar::EntryType::Directory, b"", "");
    tar.extend(file("a/b"));
    tar.extend([0; 1024]);
    let config = r#"{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01Z",
        "config":{"Env":["PATH=/bin","A="],"ExposedPorts":{"80/tcp":{},"53/udp":{}},"Volumes":{"/v":{}},
        "User":"1","Entrypoint":["/a"],"WorkingDir":"/","Labels":{"a":"b"},"StopSignal":"SIGTERM",
        "StopTimeout":30,"Shell":["/sh","-c"],"OnBuild":["RUN make"],
        "Healthcheck":{"Test":["CMD","/b"],"Interval":1000000,"StartInterval":0,"Retries":2}},
        "rootfs":{"type":"layers","diff_ids":["DIFF_ID"]},
        "history":[{"created_by":"x"},{"created":"2024-01-01T00:00:00Z","empty_layer":true}]}"#;
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":CONFIG,"layers":[LAYER],"annotations":{"org.opencontainers.image.created":"1970-01-01T00:00:01Z"}}"#;
    Parts {
        tar,
        gzip: true,
        layer_type: MediaType::LAYER_GZIP,
        diff_id: None,
        config: config.to_owned(),
        manifest: manifest.to_owned(),
        index: None,
    }
}

impl Parts {
    fn violations(&self) -> Vec<Violation> {
        let memory = Memory::new();
        let root = self.build(&memory);
        validate(&memory, &root, &ValidateOptions::default().advice(true)).unwrap()
    }

    fn build(&self, memory: &Memory) -> Descriptor {
        let mut blob = self.tar.clone();
        if self.gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&self.tar).unwrap();
            blob = encoder.finish().unwrap();
        }
        let json = |descriptor: &Descriptor| String::from_utf8(to_json(descriptor)).unwrap();
        let diff_id = self.diff_id.unwrap_or(DiffId(Digest::of(&self.tar)));
        let layer = memory.insert(self.layer_type.clone(), blob);
        let config = self.config.replace("DIFF_ID", &diff_id.to_string());
        let config = memory.insert(MediaType::CONFIG, config.into());
        let manifest = self.manifest.replace("CONFIG", &json(&config)).replace("LAYER", &json(&layer));
        let manifest = memory.insert(MediaType::MANIFEST, manifest.into());
        match &self.index {
            None => manifest,
            Some(index) => {
                memory.insert(MediaType::INDEX, index.replace("MANIFEST", &json(&manifest)).into())
            }
        }
    }
}

#[track_caller]
fn refused(what: &str, spoil: impl FnOnce(&mut Parts)) {
    let mut parts = parts();
    spoil(&mut parts);
    let violations = parts.violations();
    let told: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(told.iter().any(|text| text.contains(what)), "{what}: {told:#?}");
}

#[test]
fn a_sound_image_is_valid() {
    assert_eq!(parts().violations(), []);
    let index =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[MANIFEST]}"#;
    assert_eq!(Parts { index: Some(index.to_owned()), ..parts() }.violations(), []);
    let plain = Parts { gzip: false, layer_type: MediaType::LAYER, ..parts() };
    assert_eq!(plain.violations(), []);
}

#[test]
fn our_own_types_write_what_is_valid() {
    let memory = Memory::new();
    let tar = vec![0; 1024];
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(vec![DiffId(Digest::of(&tar))]);
    config.history = vec![History::of_layer("1970-01-01T00:00:01Z", "ocibuild")];
    let layer = memory.insert(MediaType::LAYER, tar);
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    let manifest = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, vec![layer])));
    let platform = Platform::linux_amd64();
    let index = Index::new(vec![manifest.with_platform(platform)]);
    let index = memory.insert(MediaType::INDEX, to_json(&index));
    assert_eq!(validate(&memory, &index, &ValidateOptions::default()).unwrap(), []);
}

#[test]
fn each_fault_of_a_manifest_is_told() {
    let replace = |from: &'static str, to: &'static str| {
        move |parts: &mut Parts| parts.manifest = parts.manifest.replacen(from, to, 1)
    };
    refused("it must be 2", replace(":2", ":1"));
    refused(".schemaVersion: it is required", replace("\"schemaVersion\"", "\"x\""));
    refused("but its descriptor says", replace("manifest.v1", "index.v1"));
    refused(".manifests: a manifest must not", replace("{", "{\"manifests\":[],"));
    refused(".config: it is required", replace("\"config\"", "\"konfig\""));
    refused(".layers: it is required", replace("\"layers\"", "\"x\""));
    refused("stands twice", replace("{", "{\"schemaVersion\":2,"));
    refused("it is no JSON", replace("{", ""));
    refused(".layers[0].digest: `sha256:../../x`", |parts| {
        parts.manifest =
            parts.manifest.replace("LAYER", r#"{"mediaType":"a/b","digest":"sha256:../../x","size":1}"#);
    });
    refused("no layer of an image", |parts| parts.layer_type = MediaType::new("text/plain"));
    refused("isn't negative", |parts| {
        parts.manifest = parts.manifest.replace("LAYER", r#"{"mediaType":"a/b","digest":"a:b","size":-1}"#);
    });
    refused("another size than the descriptor", |parts| {
        parts.manifest =
            parts.manifest.replace("LAYER", r#"{"mediaType":"a/b","digest":"a:b","size":7,"data":"aGk="}"#);
    });
    refused("no RFC 3339 time", replace("1970-01-01T", "1970-01-01 "));
    refused("no such key", replace("image.created", "image.made"));
    refused("the key is empty", replace("org.opencontainers.image.created", ""));
    refused("should be a string", replace("\"1970-01-01T00:00:01Z\"", "1"));
    refused("artifactType: it is required", |parts| {
        parts.manifest = parts.manifest.replace(
            "CONFIG",
            r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"a:b","size":2}"#,
        );
    });
    refused("has 2 layers, but its config 1", replace("[LAYER]", "[LAYER,LAYER]"));
    refused("cannot be run", |parts| {
        parts.manifest = parts.manifest.replace("LAYER", &["LAYER"; 128].join(","));
    });
}

#[test]
fn each_fault_of_a_config_is_told() {
    let replace = |from: &'static str, to: &'static str| {
        move |parts: &mut Parts| parts.config = parts.config.replacen(from, to, 1)
    };
    refused(".architecture: it is required", replace("\"architecture\"", "\"x\""));
    refused(".os: `` is no name", replace("linux", ""));
    refused(".rootfs.type", replace(":\"layers\"", ":\"tarsplit\""));
    refused(".rootfs.diff_ids[0]: `nothing`", replace("DIFF_ID", "nothing"));
    refused(".created", replace("1970-01-01T", "1970-13-01T"));
    refused("history of its config tells of 2", replace(",\"empty_layer\":true", ""));
    refused(".config.Env[1]: `A`", replace("A=", "A"));
    refused(".config.ExposedPorts.80/http", replace("80/tcp", "80/http"));
    refused(".config.ExposedPorts.80/tcp: its value", replace("\"80/tcp\":{}", "\"80/tcp\":1"));
    refused(".config.Labels.a: it should be a string", replace("{\"a\":\"b\"}", "{\"a\":1}"));
    refused(".config.StopSignal", replace("SIGTERM", "kill it"));
    refused(".config.StopTimeout", replace(":30", ":\"30s\""));
    refused(".config.Shell[1]", replace("\"-c\"", "1"));
    refused(".config.OnBuild[0]", replace("RUN make", " "));
    refused(".config.OnBuild: it should be a list", replace("[\"RUN make\"]", "\"RUN make\""));
    refused(".config.Healthcheck.Test[0]", replace("\"CMD\"", "\"RUN\""));
    refused(".config.Healthcheck.Interval", replace("1000000", "999999"));
    refused(".config.Healthcheck.StartInterval", replace("Interval\":0", "Interval\":-1"));
    refused(".config.Healthcheck.Retries", replace("\"Retries\":2", "\"Retries\":-2"));
    refused(".config.Entrypoint: it should be a list", replace("[\"/a\"]", "\"/a\""));
    refused(".config.User", replace("\"User\":\"1\"", "\"User\":1"));
    refused(".config.User: the key stands twice", replace("\"User\"", "\"User\":\"1\",\"User\""));
}

#[test]
fn each_fault_of_an_index_is_told() {
    let index = |text: &'static str| move |parts: &mut Parts| parts.index = Some(text.to_owned());
    refused("an index must not", index(r#"{"schemaVersion":2,"manifests":[MANIFEST],"layers":[]}"#));
    refused(".manifests: it is required", index(r#"{"schemaVersion":2}"#));
    refused("should be an object", index(r#"{"schemaVersion":2,"manifests":[1]}"#));
    let arm = r#","platform":{"os":"linux","architecture":"arm64"}}"#;
    refused("the index has it for `linux/arm64`", |parts| {
        let memory = Memory::new();
        let manifest = String::from_utf8(to_json(&parts.build(&memory))).unwrap();
        let manifest = manifest.trim_end_matches('}').to_owned() + arm;
        parts.index = Some(format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#));
    });
    refused("platform.os: it is required", |parts| {
        let memory = Memory::new();
        let manifest = String::from_utf8(to_json(&parts.build(&memory))).unwrap();
        let manifest = manifest.trim_end_matches('}').to_owned() + r#","platform":{"architecture":"x"}}"#;
        parts.index = Some(format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#));
    });
}

#[test]
fn each_fault_of_a_layer_is_told() {
    use tar::EntryType as Type;
    let tar = |entries: &[Vec<u8>]| {
        let bytes = [&entries.concat()[..], &[0; 1024]].concat();
        move |parts: &mut Parts| parts.tar = bytes
    };
    refused("its tar bytes are", |parts| parts.diff_id = Some(DiffId(Digest::of(b"else"))));
    refused("its bytes are not compressed", |parts| parts.gzip = false);
    refused("its bytes are gzip", |parts| parts.layer_type = MediaType::LAYER);
    refused("stands twice in the layer", tar(&[file("a"), file("./a")]));
    refused("stands twice in the layer", tar(&[file("a"), entry("a/", Type::Directory, b"", "")]));
    refused("leads out of the root", tar(&[file("../a")]));
    refused("is absolute", tar(&[file("/a")]));
    refused("before its target", tar(&[entry("b", Type::Link, b"", "a"), file("a")]));
    refused("hard link leads out", tar(&[entry("b", Type::Link, b"", "../a")]));
    refused("names nothing", tar(&[entry("a/.wh.", Type::Regular, b"", "")]));
    refused("empty regular file", tar(&[file(".wh.a")]));
    refused("named like a whiteout", tar(&[file(".wh.a/b")]));
    refused("below what is no directory", tar(&[file("a"), file("a/b")]));
    refused("below a symbolic link", tar(&[entry("a", Type::Symlink, b"", "b"), file("a/b")]));
    refused("comes after what lies in it", tar(&[file("a/b"), entry("a", Type::Directory, b"", "")]));
    refused("have no place in a layer", tar(&[entry("a", Type::Continuous, b"", "")]));
    refused("its checksum is wrong", |parts| parts.tar[0] ^= 1);
    refused("it cannot be read", |parts| parts.tar.truncate(300));
}

#[test]
fn blobs_that_are_missing_or_damaged_are_violations() {
    let memory = Memory::new();
    let root = parts().build(&memory);
    let manifest: Manifest = from_json(&read_whole(&memory, &root, 9999).unwrap()).unwrap();
    for depth in [Depth::Manifests, Depth::Layers] {
        let other = Memory::new();
        for descriptor in [&root, &manifest.config] {
            let bytes = read_whole(&memory, descriptor, 9999).unwrap();
            other.insert(descriptor.media_type.clone(), bytes);
        }
        let options = ValidateOptions::default().depth(depth);
        let violations = validate(&other, &root, &options).unwrap();
        assert_eq!(violations.len(), 1);
        assert!(violations[0].message.contains("missing"));
        let empty = validate(&Memory::new(), &root, &options).unwrap();
        assert_eq!(empty[0].place, root.digest.to_string());
    }
}
