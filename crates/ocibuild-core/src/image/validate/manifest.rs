//! Manifests, indexes, and the descriptors and annotations in them.

use serde_json::Value;

use crate::digest::Digest;
use crate::image::validate::member::{Object, document};
use crate::image::validate::{Report, Violation, is_oci, syntax};
use crate::oci::{MediaType, annotation, is_time};

const MANIFEST: &str = "manifest.md#image-manifest-property-descriptions";
const INDEX: &str = "image-index.md#image-index-property-descriptions";
const DESCRIPTOR: &str = "descriptor.md#properties";
const ANNOTATIONS: &str = "annotations.md#rules";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Judges an image manifest that a descriptor of this media type names, by its bytes alone.
#[must_use]
pub fn check_manifest(bytes: &[u8], media_type: &MediaType) -> Vec<Violation> {
    let mut report = Report::default();
    if let Some(members) = document(bytes, MANIFEST, &mut report) {
        let manifest = Object { members: &members, path: "", section: MANIFEST };
        common(manifest, media_type, &mut report);
        for name in ["manifests", "fsLayers"] {
            if manifest.get(name).is_some() {
                manifest.fault(name, "a manifest must not have it", &mut report);
            }
        }
        config_and_layers(manifest, &mut report);
    }
    report.violations
}

/// Judges an image index that a descriptor of this media type names, by its bytes alone.
#[must_use]
pub fn check_index(bytes: &[u8], media_type: &MediaType) -> Vec<Violation> {
    let mut report = Report::default();
    if let Some(members) = document(bytes, INDEX, &mut report) {
        let index = Object { members: &members, path: "", section: INDEX };
        common(index, media_type, &mut report);
        for name in ["config", "layers", "fsLayers"] {
            if index.get(name).is_some() {
                index.fault(name, "an index must not have it", &mut report);
            }
        }
        index.require("manifests", &mut report);
        descriptors(index, "manifests", &mut report);
    }
    report.violations
}

/// Checks what manifests and indexes have in common.
fn common(object: Object<'_>, media_type: &MediaType, report: &mut Report) {
    object.require("schemaVersion", report);
    if object.get("schemaVersion").is_some_and(|version| version.as_u64() != Some(2)) {
        object.fault("schemaVersion", "it must be 2", report);
    }
    if !is_oci(media_type) {
        report.add("media-types.md", "", format!("`{media_type}` is no media type of the specification"));
    }
    if let Some(own) = object.text("mediaType", report).filter(|own| *own != media_type.as_str()) {
        object.fault("mediaType", &format!("it is `{own}`, but its descriptor says `{media_type}`"), report);
    }
    object.check_text("artifactType", syntax::is_media_type, "media type", report);
    if let Some(subject) = object.get("subject") {
        descriptor(subject, &object.at("subject"), report);
    }
    annotations(object, "annotations", report);
}

fn config_and_layers(manifest: Object<'_>, report: &mut Report) {
    manifest.require("config", report);
    manifest.require("layers", report);
    if let Some(config) = manifest.get("config") {
        descriptor(config, &manifest.at("config"), report);
    }
    descriptors(manifest, "layers", report);
    let media_type = |value: &Value| value.get("mediaType").and_then(Value::as_str).map(MediaType::new);
    let Some(config) = manifest.get("config").and_then(media_type) else { return };
    if config.as_str() == EMPTY && manifest.get("artifactType").is_none() {
        manifest.fault("artifactType", "it is required where the config is the empty value", report);
    }
    if !config.is_config() {
        return;
    }
    if config != MediaType::CONFIG {
        manifest.fault(
            "config.mediaType",
            &format!("`{config}` is no media type of the specification"),
            report,
        );
    }
    let layers = manifest.get("layers").and_then(Value::as_array);
    for (index, layer) in layers.into_iter().flatten().filter_map(media_type).enumerate() {
        if !layer.is_layer() || !layer.as_str().starts_with("application/vnd.oci.") {
            let path = format!("layers[{index}].mediaType");
            manifest.fault(&path, &format!("`{layer}` is no layer of an image"), report);
        }
    }
}

fn descriptors(object: Object<'_>, name: &str, report: &mut Report) {
    for (index, item) in object.list(name, report).into_iter().flatten().enumerate() {
        descriptor(item, &format!("{}[{index}]", object.at(name)), report);
    }
}

fn descriptor(value: &Value, path: &str, report: &mut Report) {
    let Some(members) = value.as_object() else {
        report.add(DESCRIPTOR, path, "it should be an object");
        return;
    };
    let object = Object { members, path, section: DESCRIPTOR };
    for name in ["mediaType", "digest", "size"] {
        object.require(name, report);
    }
    object.check_text("mediaType", syntax::is_media_type, "media type", report);
    object.check_text("artifactType", syntax::is_media_type, "media type", report);
    object.check_text("digest", syntax::is_digest, "digest", report);
    object.check_list("urls", syntax::is_uri, "URI", report);
    let is_size = |size: &Value| size.as_u64().is_some_and(|size| i64::try_from(size).is_ok());
    if object.get("size").is_some_and(|size| !is_size(size)) {
        object.fault("size", "it should be an int64 that isn't negative", report);
    }
    annotations(object, "annotations", report);
    data(object, report);
    platform(object, report);
}

fn data(object: Object<'_>, report: &mut Report) {
    let Some(data) = object.text("data", report) else { return };
    let Some(bytes) = syntax::base64(data) else {
        return object.fault("data", "it is no base64", report);
    };
    if object.get("size").and_then(Value::as_u64).is_some_and(|size| size != bytes.len() as u64) {
        object.fault("data", "it has another size than the descriptor", report);
    }
    let digest = object.get("digest").and_then(Value::as_str).filter(|text| text.starts_with("sha256:"));
    if digest.is_some_and(|digest| digest != Digest::of(&bytes).to_string()) {
        object.fault("data", "it has another digest than the descriptor", report);
    }
}

fn platform(object: Object<'_>, report: &mut Report) {
    let Some(members) = object.object("platform", report) else { return };
    let platform = Object { members, path: &object.at("platform"), section: INDEX };
    for name in ["os", "architecture"] {
        platform.require(name, report);
        platform.check_text(name, |text| !text.is_empty(), "name", report);
    }
    platform.text("variant", report);
    platform.text("os.version", report);
    platform.check_list("os.features", |_| true, "feature", report);
}

/// Checks a map of annotations, or of labels, which have the same rules.
pub(super) fn annotations(object: Object<'_>, name: &str, report: &mut Report) {
    let Some(members) = object.object(name, report) else { return };
    let map = Object { members, path: &object.at(name), section: ANNOTATIONS };
    for key in members.keys() {
        if key.is_empty() {
            map.fault("", "the key is empty", report);
        }
        if !members[key].is_string() {
            map.fault(key, "it should be a string", report);
        }
        if key.strip_prefix(annotation::PREFIX).is_some_and(|key| !annotation::PREDEFINED.contains(&key)) {
            map.fault(key, "the specification reserves the prefix, and has no such key", report);
        }
    }
    let map = Object { section: "annotations.md#pre-defined-annotation-keys", ..map };
    map.check_text(annotation::CREATED, is_time, "RFC 3339 time", report);
    map.check_text(annotation::BASE_DIGEST, syntax::is_digest, "digest", report);
}
