//! Every endpoint of the specification's table, with its statuses and headers
//! ([endpoints](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints)).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use ocibuild_core::copy::{Listing as _, Referrers as _};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Descriptor, Index, MediaType, to_json};
use ocibuild_serve::{ServeError, ServeOptions, Server};
use serde_json::{Value, json};
use support::{Bench, Reply, digest, noise};

const NAME: &str = "team/api";
const ABSENT: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[track_caller]
fn is(reply: &Reply, status: u16, codes: &[&str]) {
    assert_eq!(reply.status, status, "{reply:?} {}", String::from_utf8_lossy(&reply.body));
    if !codes.is_empty() {
        assert_eq!(reply.codes(), codes, "{}", String::from_utf8_lossy(&reply.body));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
}

#[test]
fn end_1_says_that_it_is_a_registry() {
    let bench = Bench::new();
    for path in ["/v2/", "/v2"] {
        is(&bench.ask("GET", path), 200, &[]);
        is(&bench.ask("HEAD", path), 200, &[]);
    }
    is(&bench.ask("GET", "/v1/"), 404, &["UNSUPPORTED"]);
    is(&bench.ask("POST", "/v2/"), 405, &["UNSUPPORTED"]);
    is(&bench.ask("GET", "/v2/A/tags/list"), 400, &["NAME_INVALID"]);
    is(&bench.ask("GET", "/v2/../../etc/blobs/passwd"), 400, &["NAME_INVALID"]);
    for path in
        ["/v2/%2e%2e/%2e%2e/manifests/1", "/v2//a/tags/list", "/v2/a%00b/tags/list", "/v2/a%0ab/tags/list"]
    {
        is(&bench.ask("GET", path), 400, &["NAME_INVALID"]);
        is(&bench.ask("PUT", path), 400, &["NAME_INVALID"]);
    }
}

#[test]
fn end_2_gives_blobs_of_their_repository() {
    let bench = Bench::new();
    let blob = bench.push_blob(NAME, b"hello");
    let path = format!("/v2/{NAME}/blobs/{}", blob.digest);
    for method in ["GET", "HEAD"] {
        let reply = bench.ask(method, &path);
        is(&reply, 200, &[]);
        assert_eq!(reply.header("content-length"), Some("5"));
        assert_eq!(reply.header("docker-content-digest"), Some(&*blob.digest.to_string()));
        assert_eq!(reply.header("accept-ranges"), Some("bytes"));
        assert_eq!(reply.body, if method == "GET" { &b"hello"[..] } else { b"" });
        is(&bench.ask(method, &format!("/v2/other/blobs/{}", blob.digest)), 404, &[]);
        is(&bench.ask(method, &format!("/v2/{NAME}/blobs/{ABSENT}")), 404, &[]);
        is(&bench.ask(method, &format!("/v2/{NAME}/blobs/sha256:12")), 400, &[]);
    }
    is(&bench.ask("GET", &format!("/v2/{NAME}/blobs/{ABSENT}")), 404, &["BLOB_UNKNOWN"]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/blobs/nothing")), 400, &["DIGEST_INVALID"]);
    let sha512 = format!("/v2/{NAME}/blobs/sha512:{}", "0".repeat(128));
    is(&bench.ask("GET", &sha512), 404, &["BLOB_UNKNOWN"]);
    let etag = bench.ask("HEAD", &path).header("etag").unwrap().to_owned();
    let reply = bench.send("GET", &path, &[("If-None-Match", &etag)], b"");
    assert_eq!((reply.status, reply.body.len()), (304, 0));
}

#[test]
fn end_2_gives_parts_of_blobs() {
    let bench = Bench::new();
    let blob = bench.push_blob(NAME, b"0123456789");
    let path = format!("/v2/{NAME}/blobs/{}", blob.digest);
    let cases = [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=8-99999999999999999999999", 206, "89", "bytes 8-9/10"),
        ("bytes=-3", 206, "789", "bytes 7-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=-0", 416, "", "bytes */10"),
        ("bytes=4-2", 200, "0123456789", ""),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("lines=0-1", 200, "0123456789", ""),
    ];
    for (range, status, body, told) in cases {
        let reply = bench.send("GET", &path, &[("Range", range)], b"");
        assert_eq!(reply.status, status, "{range}");
        assert_eq!(reply.header("content-range").unwrap_or_default(), told, "{range}");
        if status != 416 {
            assert_eq!(String::from_utf8_lossy(&reply.body), body, "{range}");
        }
    }
    let other = [("Range", "bytes=2-4"), ("If-Range", "\"other\"")];
    assert_eq!(bench.send("GET", &path, &other, b"").status, 200);
}

#[test]
fn end_3_gives_manifests_by_tag_and_by_digest() {
    let bench = Bench::new();
    let (bytes, manifest) = bench.push_image(NAME, "v1");
    for reference in ["v1".to_owned(), manifest.digest.to_string()] {
        let path = format!("/v2/{NAME}/manifests/{reference}");
        let reply = bench.ask("GET", &path);
        is(&reply, 200, &[]);
        assert_eq!(reply.body, bytes);
        let head = bench.ask("HEAD", &path);
        for reply in [reply, head] {
            assert_eq!(reply.header("content-type"), Some(MediaType::MANIFEST.as_str()));
            assert_eq!(reply.header("content-length"), Some(&*bytes.len().to_string()));
            assert_eq!(reply.header("docker-content-digest"), Some(&*manifest.digest.to_string()));
        }
        is(&bench.ask("GET", &format!("/v2/other/manifests/{reference}")), 404, &["MANIFEST_UNKNOWN"]);
    }
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/v2")), 404, &["MANIFEST_UNKNOWN"]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/{ABSENT}")), 404, &["MANIFEST_UNKNOWN"]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/-bad")), 400, &["TAG_INVALID"]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/sha256:1")), 400, &["DIGEST_INVALID"]);
    // A layer isn't a manifest, though its bytes are there.
    let layer = bench.push_blob(NAME, b"layer");
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/{}", layer.digest)), 404, &["MANIFEST_UNKNOWN"]);
}

#[test]
fn end_4a_begins_an_upload() {
    let mut options = ServeOptions::default();
    options.chunk_min_length = Some(1024);
    let bench = Bench::with(options);
    let reply = bench.ask("POST", &format!("/v2/{NAME}/blobs/uploads/"));
    is(&reply, 202, &[]);
    assert!(reply.header("location").unwrap().starts_with(&format!("/v2/{NAME}/blobs/uploads/")));
    assert_eq!(reply.header("range"), Some("0-0"));
    assert_eq!(reply.header("oci-chunk-min-length"), Some("1024"));
    assert_eq!(reply.header("content-length"), Some("0"));
    is(&bench.ask("POST", "/v2/Team/blobs/uploads/"), 400, &["NAME_INVALID"]);
}

#[test]
fn end_4b_takes_a_blob_at_once() {
    let bench = Bench::new();
    let uploads = format!("/v2/{NAME}/blobs/uploads/");
    let right = digest(b"hello");
    let reply = bench.send("POST", &format!("{uploads}?digest={right}"), &[], b"hello");
    is(&reply, 201, &[]);
    assert_eq!(reply.header("location"), Some(&*format!("/v2/{NAME}/blobs/{right}")));
    assert_eq!(reply.header("docker-content-digest"), Some(&*right.to_string()));
    assert_eq!(bench.ask("GET", reply.header("location").unwrap()).body, b"hello");
    let wrong = bench.send("POST", &format!("{uploads}?digest={ABSENT}"), &[], b"hello");
    is(&wrong, 400, &["DIGEST_INVALID"]);
    is(&bench.send("POST", &format!("{uploads}?digest=md5:12"), &[], b""), 400, &["DIGEST_INVALID"]);
    let sha512 = format!("{uploads}?digest=sha512:{}", "0".repeat(128));
    is(&bench.send("POST", &sha512, &[], b""), 400, &["UNSUPPORTED"]);
    let empty = format!("{uploads}?digest={}", digest(b""));
    is(&bench.ask("POST", &empty), 201, &[]);
    let left = bench.layout().join(".ocibuild-serve/uploads").read_dir().unwrap().count();
    assert_eq!(left, 0, "nothing is left of what is over");
}

#[test]
fn end_5_and_6_take_a_blob_in_chunks() {
    let bench = Bench::new();
    let upload = bench.begin(NAME);
    let first = bench.send("PATCH", &upload, &[("Content-Range", "0-4")], b"01234");
    is(&first, 202, &[]);
    assert_eq!((first.header("range"), first.header("location")), (Some("0-4"), Some(&*upload)));
    for range in ["0-4", "4-8", "6-10", "x", "9-5", "-"] {
        let reply = bench.send("PATCH", &upload, &[("Content-Range", range)], b"56789");
        is(&reply, 416, &[]);
        assert_eq!((reply.header("range"), reply.header("location")), (Some("0-4"), Some(&*upload)));
    }
    let short = bench.send("PATCH", &upload, &[("Content-Range", "5-5")], b"56");
    is(&short, 400, &["SIZE_INVALID"]);
    // Without a range it is what comes next; in HTTP's own chunks, too.
    let chunked = [("Transfer-Encoding", "chunked")];
    is(&bench.send("PATCH", &upload, &chunked, b"2\r\n56\r\n0\r\n\r\n"), 202, &[]);
    let whole = digest(b"0123456789");
    let last = [("Content-Range", "7-9")];
    let reply = bench.send("PUT", &format!("{upload}?digest={whole}"), &last, b"789");
    is(&reply, 201, &[]);
    assert_eq!(reply.header("docker-content-digest"), Some(&*whole.to_string()));
    assert_eq!(bench.ask("GET", reply.header("location").unwrap()).body, b"0123456789");
    is(&bench.send("PATCH", &upload, &[], b"x"), 404, &["BLOB_UPLOAD_UNKNOWN"]);
}

#[test]
fn end_6_takes_what_is_whole_and_right() {
    let bench = Bench::new();
    let right = digest(b"hello");
    let upload = bench.begin(NAME);
    is(&bench.send("PUT", &upload, &[], b""), 400, &["DIGEST_INVALID"]);
    let encoded = format!("{upload}?digest={}", right.to_string().replace(':', "%3A"));
    is(&bench.send("PUT", &encoded, &[], b"hello"), 201, &[]);
    let upload = bench.begin(NAME);
    is(&bench.send("PUT", &format!("{upload}?digest={right}"), &[], b"hullo"), 400, &["DIGEST_INVALID"]);
    is(&bench.ask("GET", &upload), 404, &["BLOB_UPLOAD_UNKNOWN"]);
    let upload = bench.begin(NAME);
    let out_of_order = [("Content-Range", "1-5")];
    let reply = bench.send("PUT", &format!("{upload}?digest={right}"), &out_of_order, b"hello");
    is(&reply, 416, &["BLOB_UPLOAD_INVALID"]);
    is(&bench.send("PUT", &format!("{upload}?digest={right}"), &[], b"hello"), 201, &[]);
    let elsewhere = bench.begin(NAME).replace(NAME, "other");
    is(
        &bench.send("PUT", &format!("{elsewhere}?digest={right}"), &[], b"hello"),
        404,
        &["BLOB_UPLOAD_UNKNOWN"],
    );
    is(
        &bench.ask("PUT", &format!("/v2/{NAME}/blobs/uploads/..?digest={right}")),
        404,
        &["BLOB_UPLOAD_UNKNOWN"],
    );
}

#[test]
fn end_7_takes_manifests_whose_parts_are_there() {
    let bench = Bench::new();
    let manifest = bench.image(NAME, "layer");
    let bytes = to_json(&manifest);
    let own = digest(&bytes);
    for reference in ["v1", &own.to_string()] {
        let reply = bench.put_manifest(NAME, reference, &bytes);
        is(&reply, 201, &[]);
        assert_eq!(reply.header("location"), Some(&*format!("/v2/{NAME}/manifests/{own}")));
        assert_eq!(reply.header("docker-content-digest"), Some(&*own.to_string()));
        assert_eq!(reply.header("oci-subject"), None);
    }
    is(&bench.put_manifest(NAME, ABSENT, &bytes), 400, &["DIGEST_INVALID"]);
    let sha512 = format!("sha512:{}", "0".repeat(128));
    is(&bench.put_manifest(NAME, &sha512, &bytes), 400, &["UNSUPPORTED"]);
    let other = bench.put_manifest("other", "v1", &bytes);
    is(&other, 404, &["MANIFEST_BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"]);
    assert_eq!(other.json()["errors"][1]["detail"]["digest"], json!(manifest.layers[0].digest));

    let mut wrong = manifest.clone();
    wrong.layers[0].size += 1;
    is(&bench.put_manifest(NAME, "v2", &to_json(&wrong)), 400, &["SIZE_INVALID"]);
    for text in ["", "{", "[]", "{}", r#"{"schemaVersion":1,"fsLayers":[]}"#, r#"{"config":1,"layers":[]}"#] {
        is(&bench.put_manifest(NAME, "v2", text.as_bytes()), 400, &["MANIFEST_INVALID"]);
    }
    let index = MediaType::INDEX;
    let index = [("Content-Type", index.as_str())];
    is(&bench.send("PUT", &format!("/v2/{NAME}/manifests/v2"), &index, &bytes), 400, &["MANIFEST_INVALID"]);
    is(&bench.send("PUT", &format!("/v2/{NAME}/manifests/v2"), &[], &bytes), 201, &[]);
    let large = vec![b' '; (4 << 20) + 1];
    is(&bench.put_manifest(NAME, "v2", &large), 413, &["MANIFEST_INVALID"]);
}

#[test]
fn end_7_takes_indexes_and_subjects() {
    let bench = Bench::new();
    let (_, image) = bench.push_image(NAME, "v1");
    let absent = Descriptor::of(MediaType::MANIFEST, b"{}{}");
    let put = |children: &[&Descriptor]| {
        let index = Index::new(children.iter().map(|&child| child.clone()).collect());
        let kind = MediaType::INDEX;
        let kind = [("Content-Type", kind.as_str())];
        bench.send("PUT", &format!("/v2/{NAME}/manifests/all"), &kind, &to_json(&index))
    };
    is(&put(&[&image, &absent]), 404, &["MANIFEST_BLOB_UNKNOWN"]);
    is(&put(&[&image]), 201, &[]);
    let kind = bench.ask("HEAD", &format!("/v2/{NAME}/manifests/all"));
    assert_eq!(kind.header("content-type"), Some(MediaType::INDEX.as_str()));
    // What is referred to needn't be there.
    let mut manifest = bench.image(NAME, "signature");
    manifest.subject = Some(absent.clone());
    let bytes = to_json(&manifest);
    let reply = bench.put_manifest(NAME, &digest(&bytes).to_string(), &bytes);
    is(&reply, 201, &[]);
    assert_eq!(reply.header("oci-subject"), Some(&*absent.digest.to_string()));
}

#[test]
fn end_8_lists_tags_page_by_page() {
    let bench = Bench::new();
    for tag in ["b", "c", "A", "a"] {
        bench.push_image(NAME, tag);
    }
    let list = format!("/v2/{NAME}/tags/list");
    let reply = bench.ask("GET", &list);
    is(&reply, 200, &[]);
    assert_eq!(reply.json(), json!({ "name": NAME, "tags": ["A", "a", "b", "c"] }));
    assert_eq!(reply.header("link"), None);
    let first = bench.ask("GET", &format!("{list}?n=3"));
    assert_eq!(first.json()["tags"], json!(["A", "a", "b"]));
    let link = first.header("link").unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let second = bench.ask("GET", next);
    assert_eq!((second.json()["tags"].clone(), second.header("link")), (json!(["c"]), None));
    for (query, tags) in [("last=b", json!(["c"])), ("n=0", json!([])), ("last=zz&n=9", json!([]))] {
        assert_eq!(bench.ask("GET", &format!("{list}?{query}")).json()["tags"], tags, "{query}");
    }
    is(&bench.ask("GET", &format!("{list}?n=-1")), 400, &["PAGINATION_NUMBER_INVALID"]);
    is(&bench.ask("GET", "/v2/nobody/tags/list"), 404, &["NAME_UNKNOWN"]);
    bench.push_blob("blobs/only", b"x");
    assert_eq!(bench.ask("GET", "/v2/blobs/only/tags/list").json()["tags"], json!([]));
    let catalog = bench.ask("GET", "/v2/_catalog");
    assert_eq!(catalog.json(), json!({ "repositories": ["blobs/only", NAME] }));
    let part = bench.ask("GET", "/v2/_catalog?n=1");
    assert_eq!(part.header("link"), Some("</v2/_catalog?n=1&last=blobs/only>; rel=\"next\""));
}

#[test]
fn end_9_deletes_tags_and_manifests() {
    let bench = Bench::new();
    let (bytes, manifest) = bench.push_image(NAME, "v1");
    bench.put_manifest(NAME, "v2", &bytes);
    bench.put_manifest(NAME, "v3", &bytes);
    let path = |reference: &str| format!("/v2/{NAME}/manifests/{reference}");
    let by_digest = path(&manifest.digest.to_string());
    is(&bench.ask("DELETE", &path("v1")), 202, &[]);
    is(&bench.ask("DELETE", &path("v1")), 404, &["MANIFEST_UNKNOWN"]);
    is(&bench.ask("GET", &path("v1")), 404, &["MANIFEST_UNKNOWN"]);
    is(&bench.ask("GET", &path("v2")), 200, &[]);
    is(&bench.ask("DELETE", &by_digest), 202, &[]);
    is(&bench.ask("DELETE", &by_digest), 404, &["MANIFEST_UNKNOWN"]);
    for path in [path("v2"), path("v3"), by_digest.clone()] {
        is(&bench.ask("GET", &path), 404, &["MANIFEST_UNKNOWN"]);
    }
    assert_eq!(bench.ask("GET", &format!("/v2/{NAME}/tags/list")).json()["tags"], json!([]));
    bench.put_manifest(NAME, "v4", &bytes);
    is(&bench.ask("GET", &by_digest), 200, &[]);
}

#[test]
fn end_9_keeps_what_a_tag_left_until_it_is_deleted_by_digest() {
    let bench = Bench::new();
    let (_, old) = bench.push_image(NAME, "v1");
    let new = to_json(&bench.image(NAME, "new"));
    bench.put_manifest(NAME, "v1", &new);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/{}", old.digest)), 200, &[]);
    // A child of an index that stays is gone all the same.
    let index = to_json(&Index::new(vec![old.clone()]));
    let kind = MediaType::INDEX;
    let kind = [("Content-Type", kind.as_str())];
    is(&bench.send("PUT", &format!("/v2/{NAME}/manifests/all"), &kind, &index), 201, &[]);
    is(&bench.ask("DELETE", &format!("/v2/{NAME}/manifests/{}", old.digest)), 202, &[]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/{}", old.digest)), 404, &["MANIFEST_UNKNOWN"]);
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/all")), 200, &[]);
}

#[test]
fn end_10_deletes_blobs_of_their_repository() {
    let bench = Bench::new();
    let blob = bench.push_blob(NAME, b"hello");
    bench.push_blob("other", b"hello");
    let path = format!("/v2/{NAME}/blobs/{}", blob.digest);
    is(&bench.ask("DELETE", &path), 202, &[]);
    is(&bench.ask("DELETE", &path), 404, &["BLOB_UNKNOWN"]);
    is(&bench.ask("GET", &path), 404, &["BLOB_UNKNOWN"]);
    is(&bench.ask("GET", &format!("/v2/other/blobs/{}", blob.digest)), 200, &[]);
    is(&bench.ask("DELETE", &format!("/v2/{NAME}/blobs/x")), 400, &["DIGEST_INVALID"]);
    bench.push_blob(NAME, b"hello");
    is(&bench.ask("GET", &path), 200, &[]);
    // Also what a tag reaches.
    let manifest = bench.image(NAME, "layer");
    bench.put_manifest(NAME, "v1", &to_json(&manifest));
    let path = format!("/v2/{NAME}/blobs/{}", manifest.layers[0].digest);
    is(&bench.ask("DELETE", &path), 202, &[]);
    is(&bench.ask("GET", &path), 404, &["BLOB_UNKNOWN"]);
}

#[test]
fn end_11_mounts_blobs() {
    let bench = Bench::new();
    let blob = bench.push_blob("base", b"hello");
    let mount = |digest: &str, from: &str| {
        bench.ask("POST", &format!("/v2/{NAME}/blobs/uploads/?mount={digest}{from}"))
    };
    let known = blob.digest.to_string();
    for (digest, from) in
        [(&*known, "&from=nobody"), (ABSENT, "&from=base"), (ABSENT, ""), ("x", "&from=base")]
    {
        let reply = mount(digest, from);
        is(&reply, 202, &[]);
        is(&bench.ask("DELETE", reply.header("location").unwrap()), 204, &[]);
    }
    let path = format!("/v2/{NAME}/blobs/{known}");
    is(&bench.ask("HEAD", &path), 404, &[]);
    for from in ["&from=base", ""] {
        let reply = mount(&known, from);
        is(&reply, 201, &[]);
        assert_eq!(reply.header("location"), Some(&*path));
        assert_eq!(reply.header("docker-content-digest"), Some(&*known));
        is(&bench.ask("HEAD", &path), 200, &[]);
        is(&bench.ask("DELETE", &path), 202, &[]);
    }
}

#[test]
fn end_12_lists_referrers() {
    let bench = Bench::new();
    let (_, subject) = bench.push_image(NAME, "v1");
    let path = format!("/v2/{NAME}/referrers/{}", subject.digest);
    let list = |path: &str| -> (Vec<Value>, Option<String>) {
        let reply = bench.ask("GET", path);
        is(&reply, 200, &[]);
        assert_eq!(reply.header("content-type"), Some(MediaType::INDEX.as_str()));
        let index = reply.json();
        assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::INDEX)));
        let applied = reply.header("oci-filters-applied").map(str::to_owned);
        (index["manifests"].as_array().unwrap().clone(), applied)
    };
    assert_eq!(list(&path), (Vec::new(), None));
    let mut signature = bench.image(NAME, "signature");
    signature.subject = Some(subject.clone());
    signature.artifact_type = Some(MediaType::new("application/x.signature+json"));
    signature.annotations.insert("by".to_owned(), "me".to_owned());
    let bytes = to_json(&signature);
    bench.put_manifest(NAME, &digest(&bytes).to_string(), &bytes);
    // The kind of an artifact may be that of its config.
    let mut other = bench.image(NAME, "other");
    other.subject = Some(subject.clone());
    other.config.media_type = MediaType::new("application/x.list");
    bench.put_manifest(NAME, "tagged", &to_json(&other));

    let (all, _) = list(&path);
    assert_eq!(all.len(), 2);
    let expected = json!({
        "mediaType": MediaType::MANIFEST, "digest": digest(&bytes), "size": bytes.len(),
        "artifactType": "application/x.signature+json", "annotations": { "by": "me" },
    });
    for kind in
        ["application/x.signature+json", "application/x.signature%2Bjson", "application%2Fx.signature%2Bjson"]
    {
        let filtered = list(&format!("{path}?artifactType={kind}"));
        assert_eq!(filtered, (vec![expected.clone()], Some("artifactType".to_owned())));
    }
    assert_eq!(list(&format!("{path}?artifactType=application/x.list")).0.len(), 1);
    assert_eq!(list(&format!("{path}?artifactType=none")).0.len(), 0);
    assert_eq!(list(&format!("/v2/{NAME}/referrers/{ABSENT}")).0.len(), 0);
    is(&bench.ask("GET", &format!("/v2/{NAME}/referrers/v1")), 400, &["DIGEST_INVALID"]);
    // Whoever reads the layout finds them, too.
    let listed = || Layout::open(bench.layout()).unwrap().referrers(&subject).unwrap().len();
    assert_eq!(listed(), 2);
    bench.ask("DELETE", &format!("/v2/{NAME}/manifests/{}", digest(&bytes)));
    assert_eq!((list(&path).0.len(), listed()), (1, 1));
    // And those that others put there are found here.
    std::fs::remove_dir_all(bench.layout().join(".ocibuild-serve/repositories")).unwrap();
    let layout = Layout::open(bench.layout()).unwrap();
    layout.list(&Descriptor::of(MediaType::MANIFEST, &bytes)).unwrap();
    assert_eq!(list(&path).0.len(), 2);
}

#[test]
fn end_12_gives_referrers_in_documents_that_anybody_takes() {
    let bench = Bench::new();
    let subject = Descriptor::of(MediaType::MANIFEST, b"{}");
    let mut artifact = bench.image(NAME, "artifact");
    artifact.subject = Some(subject.clone());
    for number in 0..6 {
        artifact.annotations.insert("much".to_owned(), format!("{number}").repeat(1 << 20));
        let bytes = to_json(&artifact);
        is(&bench.put_manifest(NAME, &digest(&bytes).to_string(), &bytes), 201, &[]);
    }
    let (mut next, mut count, mut pages) = (Some(format!("/v2/{NAME}/referrers/{}", subject.digest)), 0, 0);
    while let Some(path) = next {
        let reply = bench.ask("GET", &path);
        assert!(reply.body.len() <= 4 << 20);
        count += reply.json()["manifests"].as_array().unwrap().len();
        pages += 1;
        let link = reply.header("link").map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
        next = link;
    }
    assert_eq!((count, pages), (6, 2));
}

#[test]
fn end_13_says_how_far_an_upload_is() {
    let mut bench = Bench::new();
    let upload = bench.begin(NAME);
    bench.send("PATCH", &upload, &[], b"01234");
    let status = bench.ask("GET", &upload);
    is(&status, 204, &[]);
    assert_eq!((status.header("range"), status.header("location")), (Some("0-4"), Some(&*upload)));
    // After a restart, too.
    bench.restart();
    assert_eq!(bench.ask("GET", &upload).header("range"), Some("0-4"));
    let path = format!("{upload}?digest={}", digest(b"0123456789"));
    is(&bench.send("PUT", &path, &[("Content-Range", "5-9")], b"56789"), 201, &[]);
    is(&bench.ask("GET", &upload), 404, &["BLOB_UPLOAD_UNKNOWN"]);
}

#[test]
fn end_14_cancels_an_upload() {
    let bench = Bench::new();
    let upload = bench.begin(NAME);
    is(&bench.ask("DELETE", &upload), 204, &[]);
    is(&bench.ask("DELETE", &upload), 404, &["BLOB_UPLOAD_UNKNOWN"]);
    is(&bench.send("PATCH", &upload, &[], b"x"), 404, &["BLOB_UPLOAD_UNKNOWN"]);
}

#[test]
fn what_breaks_in_mid_body_is_gone_on_with() {
    let bench = Bench::new();
    let bytes = noise(3 << 20, 1);
    let upload = bench.begin(NAME);
    let mut connection = bench.connect();
    let length = bytes.len().to_string();
    let half = bytes.len() / 2;
    connection.send("PATCH", &upload, &[("Content-Length", &length)], &bytes[..half]).unwrap();
    drop(connection);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let expected = format!("0-{}", half - 1);
    while bench.ask("GET", &upload).header("range") != Some(&*expected) {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let range = format!("{half}-{}", bytes.len() - 1);
    let path = format!("{upload}?digest={}", digest(&bytes));
    is(&bench.send("PUT", &path, &[("Content-Range", &range)], &bytes[half..]), 201, &[]);
}

#[test]
fn a_later_request_takes_an_upload_over_from_a_dead_one() {
    let bench = Bench::new();
    let upload = bench.begin(NAME);
    let mut dead = bench.connect();
    dead.send("PATCH", &upload, &[("Content-Length", "10")], b"01234").unwrap();
    while bench.ask("GET", &upload).header("range") != Some("0-4") {}
    is(&bench.send("PATCH", &upload, &[("Content-Range", "5-7")], b"567"), 202, &[]);
    dead.write(b"xxxxx").unwrap();
    is(&dead.reply("PATCH").unwrap(), 409, &["BLOB_UPLOAD_INVALID"]);
    let path = format!("{upload}?digest={}", digest(b"01234567"));
    is(&bench.send("PUT", &path, &[], b""), 201, &[]);
}

#[test]
fn many_requests_share_a_connection() {
    let bench = Bench::new();
    let mut connection = bench.connect();
    for _ in 0..3 {
        connection.send("POST", "/v2/a/blobs/uploads/?digest=x", &[], &noise(300_000, 1)).unwrap();
        is(&connection.reply("POST").unwrap(), 400, &["DIGEST_INVALID"]);
        connection.send("GET", "/v2/", &[], b"").unwrap();
        is(&connection.reply("GET").unwrap(), 200, &[]);
    }
    connection.send("GET", "/v2/", &[("Expect", "100-continue")], b"").unwrap();
    is(&connection.reply("GET").unwrap(), 200, &[]);
}

#[test]
fn a_layout_is_one_at_all_times_and_is_read_as_it_is() {
    let bench = Bench::new();
    assert!(Layout::open(bench.layout()).unwrap().names().unwrap().is_empty());
    let (bytes, manifest) = bench.push_image(NAME, "v1");
    let layout = Layout::open(bench.layout()).unwrap();
    assert_eq!(layout.names().unwrap(), [format!("{NAME}:v1")]);
    // What somebody else names is there at once, in the repository called like the directory.
    use ocibuild_core::blob::Target as _;
    layout.tag(&manifest, "plain").unwrap();
    assert_eq!(bench.ask("GET", "/v2/api/manifests/plain").body, bytes);
    let parsed: Value = serde_json::from_slice(&bytes).unwrap();
    let layer = parsed["layers"][0]["digest"].as_str().unwrap();
    is(&bench.ask("HEAD", &format!("/v2/api/blobs/{layer}")), 200, &[]);
    // A push to its name takes its place.
    let new = to_json(&bench.image("api", "new"));
    is(&bench.put_manifest("api", "plain", &new), 201, &[]);
    assert_eq!(layout.names().unwrap(), [format!("{NAME}:v1"), "plain".to_owned()]);
    is(&bench.ask("GET", &format!("/v2/api/manifests/{}", manifest.digest)), 200, &[]);
    is(&bench.ask("DELETE", "/v2/api/manifests/plain"), 202, &[]);
    assert_eq!(layout.names().unwrap(), [format!("{NAME}:v1")]);
}

#[test]
fn without_its_own_files_a_registry_still_has_its_images() {
    let mut bench = Bench::new();
    let (bytes, manifest) = bench.push_image(NAME, "v1");
    bench.server = None;
    let own = bench.layout().join(".ocibuild-serve/repositories");
    std::fs::remove_dir_all(&own).unwrap();
    bench.restart();
    assert_eq!(bench.ask("GET", &format!("/v2/{NAME}/manifests/{}", manifest.digest)).body, bytes);
    let parsed: Value = serde_json::from_slice(&bytes).unwrap();
    let layer = format!("/v2/{NAME}/blobs/{}", parsed["layers"][0]["digest"].as_str().unwrap());
    is(&bench.ask("HEAD", &layer), 200, &[]);
    // Nor if one of them is damaged.
    let marker = own.join(NAME).join("_manifests/sha256").join(manifest.digest.hex());
    std::fs::create_dir_all(marker.parent().unwrap()).unwrap();
    std::fs::write(marker, "\0 no media type").unwrap();
    is(&bench.ask("HEAD", &format!("/v2/{NAME}/manifests/{}", manifest.digest)), 200, &[]);
}

#[test]
fn what_is_read_only_is_not_written_to() {
    let mut bench = Bench::new();
    let (_, manifest) = bench.push_image(NAME, "v1");
    bench.server = None;
    std::fs::remove_dir_all(bench.layout().join(".ocibuild-serve")).unwrap();
    let mut options = ServeOptions::default();
    options.read_only = true;
    bench.server = Some(Server::start(bench.layout(), options.clone()).unwrap());
    is(&bench.ask("GET", &format!("/v2/{NAME}/manifests/v1")), 200, &[]);
    for (method, path) in [
        ("POST", format!("/v2/{NAME}/blobs/uploads/")),
        ("PUT", format!("/v2/{NAME}/manifests/v2")),
        ("DELETE", format!("/v2/{NAME}/manifests/{}", manifest.digest)),
        ("DELETE", format!("/v2/{NAME}/blobs/{}", manifest.digest)),
    ] {
        is(&bench.ask(method, &path), 405, &["UNSUPPORTED"]);
    }
    assert!(!bench.layout().join(".ocibuild-serve").exists());
    let nowhere = Server::start(bench.directory.path().join("nowhere"), options).unwrap_err();
    assert!(matches!(nowhere, ServeError::Layout(_)), "{nowhere}");
}

#[test]
fn two_servers_do_not_share_a_directory() {
    let bench = Bench::new();
    let error = Server::start(bench.layout(), ServeOptions::default()).unwrap_err();
    assert!(matches!(error, ServeError::Busy(_)), "{error}");
}

#[test]
fn web_pages_change_nothing() {
    let bench = Bench::new();
    let origin = [("Origin", "http://example.com")];
    let reply = bench.send("POST", &format!("/v2/{NAME}/blobs/uploads/"), &origin, b"");
    is(&reply, 403, &["DENIED"]);
}

#[test]
fn old_uploads_are_swept() {
    let mut options = ServeOptions::default();
    options.upload_lifetime = std::time::Duration::ZERO;
    let mut bench = Bench::with(options);
    let upload = bench.begin(NAME);
    std::thread::sleep(std::time::Duration::from_millis(20));
    bench.restart();
    is(&bench.ask("GET", &upload), 404, &["BLOB_UPLOAD_UNKNOWN"]);
}
