//! `inspect --html`: what is in the page, how large it becomes, where it goes. That it works in a
//! browser is among the promises.

use ocibuild_core::blob::Target as _;
use ocibuild_core::oci::{Index, MediaType, Platform, to_json};
use serde_json::Value;

use crate::bench::{Bench, SPEC};
use crate::contents::{Images, LOWER, UPPER};

fn page(bench: &Bench, arguments: &[&str]) -> String {
    String::from_utf8(bench.ok(&[&["inspect", "--html", "-"], arguments].concat()).stdout).unwrap()
}

/// What the page's script is given.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

/// By layer: bytes that are seen, bytes that are hidden, and files, of all the tree has.
fn sums(image: &Value) -> Vec<[u64; 3]> {
    let mut sums = vec![[0; 3]; image["layers"].as_array().unwrap().len()];
    let number = |value: &Value| value.as_u64().unwrap();
    for node in image["tree"]["nodes"].as_array().unwrap().iter().filter(|node| !node[2].is_null()) {
        let sum = &mut sums[number(&node[3]) as usize];
        sum[usize::from(!node[4].is_null())] += number(&node[2]);
        sum[2] += 1;
    }
    for rest in image["tree"]["rests"].as_array().unwrap() {
        let sum = &mut sums[number(&rest[1]) as usize];
        (0..3).for_each(|at| sum[at] += number(&rest[at + 2]));
    }
    sums
}

fn assert_nothing_is_lost(image: &Value) {
    let layers = image["layers"].as_array().unwrap();
    for (layer, [seen, hidden, files]) in layers.iter().zip(sums(image)) {
        assert_eq!(layer["bytes"], seen + hidden, "{image:#}");
        assert_eq!(layer["wasted"], hidden, "{image:#}");
        assert_eq!(layer["files"], files, "{image:#}");
    }
}

#[test]
fn every_byte_of_every_layer_is_in_the_picture() {
    let bench = Bench::new();
    Images::new(&bench).named("app", &[LOWER, UPPER], Value::Null);
    let page = page(&bench, &["images:app"]);
    let data = data(&page);
    assert_nothing_is_lost(&data["images"][0]);
    let wasted: u64 = sums(&data["images"][0]).iter().map(|sum| sum[1]).sum();
    assert_eq!(wasted, ("the old server".len() + "wasted".len()) as u64);
    // Names that aren't text, or would be more than text, are shown as `ls` shows them.
    let names = data["images"][0]["tree"]["nodes"].to_string();
    assert!(names.contains(r#""\\xff""#) && names.contains(r"\\u{1b}[31m"), "{names}");
    assert!(page.contains("/app/</i>gone") && page.contains("2</span> removed"), "{page}");
}

#[test]
fn a_page_is_the_same_whenever_it_is_drawn() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&["--compression", "none", "-t", "r.io/app:1"]);
    let one = page(&bench, &["app.oci", "--threads", "1"]);
    assert_eq!(one, page(&bench, &["app.oci", "--threads", "4"]));
    let output = bench.ok(&["inspect", "--html", "out/page.html", "app.oci"]);
    assert!(output.stdout.is_empty(), "{output}");
    assert!(output.errors().ends_with(" kB in out/page.html"), "{output}");
    assert_eq!(std::fs::read_to_string(bench.path("out/page.html")).unwrap(), one);
    let output = bench.ok(&["inspect", "--progress", "json", "--html", "out/page.html", "app.oci"]);
    let summary: Value = serde_json::from_str(&output.errors()).unwrap();
    assert_eq!((&summary["file"], &summary["bytes"]), (&"out/page.html".into(), &one.len().into()));
    assert_eq!(bench.ok(&["inspect", "--quiet", "--html", "page.html", "app.oci"]).errors(), "");
    // It asks nobody for anything, and needs no script for what is said in words.
    let written = one.split_once("<script").unwrap().0;
    for said in ["default-src 'none'", "/app/hello", "ocibuild layer", "amd64"] {
        assert!(written.contains(said), "`{said}`: {written}");
    }
    for foreign in ["src=", "url(", "@import", "http://", "https://"] {
        assert!(!one.replace("http://www.w3.org/2000/svg", "").contains(foreign), "{foreign}");
    }
}

#[test]
fn the_page_of_100_000_files_is_under_2_mb() {
    let bench = Bench::new();
    let images = Images::new(&bench);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    for number in 0..100_000usize {
        let (package, directory) = (number / 60, number % 7);
        let path = format!(
            "app/node_modules/package-{package}/dist/part-{directory}/a-module-of-some-length-{number}.component.js"
        );
        let size = 1 + number * 7919 % 512;
        header.set_size(size as u64);
        header.set_path(path).unwrap();
        header.set_cksum();
        builder.append(&header, &[b'x'; 512][..size]).unwrap();
    }
    let image = images.image_of("amd64", vec![builder.into_inner().unwrap()], Value::Null);
    images.0.tag(&image, "large").unwrap();
    let page = page(&bench, &["images:large"]);
    assert!(page.len() < 2_000_000, "{}", page.len());
    let image = &data(&page)["images"][0];
    assert_nothing_is_lost(image);
    let files = |node: &&Value| !node[2].is_null();
    let drawn = image["tree"]["nodes"].as_array().unwrap().iter().filter(files).count();
    assert!(drawn > 5_000, "{drawn}");
    let separated = |number: usize| format!("{},{:03}", number / 1000, number % 1000);
    let said = format!(
        "{} files drawn one by one; {} that are small or empty are summed up in their directories.",
        separated(drawn),
        separated(100_000 - drawn)
    );
    assert!(page.contains(&said), "{said}");
}

#[test]
fn each_platform_is_drawn_and_what_is_no_image_is_counted() {
    let bench = Bench::new();
    let images = Images::new(&bench);
    let mut manifests = ["amd64", "arm64", "unknown"].map(|architecture| {
        let mut image =
            images.image(architecture, &["f shared 0644 0:0 x", "f own 0644 0:0 xy"], Value::Null);
        image.platform = Some(Platform::new("linux", architecture));
        image
    });
    manifests[2].annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    let index = images.blob(MediaType::INDEX, to_json(&Index::new(manifests.to_vec())));
    images.0.tag(&index, "both").unwrap();
    let page = page(&bench, &["images:both"]);
    let data = data(&page);
    let platforms: Vec<&Value> =
        data["images"].as_array().unwrap().iter().map(|image| &image["platform"]).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(page.matches("<section").count(), 2);
    assert!(page.contains("1 manifest of the index"), "{page}");
    let only = images.blob(MediaType::INDEX, to_json(&Index::new(manifests[2..].to_vec())));
    images.0.tag(&only, "none").unwrap();
    let output = bench.run(&["inspect", "--html", "page.html", "images:none"]).expect_code(3);
    assert!(output.errors().contains("the index has no image"), "{output}");
    assert!(!bench.path("page.html").exists());
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_read() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&[]);
    bench.write("file", "kept");
    for place in [".", "file/page.html"] {
        let output = bench.run(&["inspect", "--html", place, "nope"]).expect_code(3);
        assert!(output.errors().contains(&format!("cannot write to `{place}` for `--html`")), "{output}");
    }
    bench.run(&["inspect", "--html", "page.html", "--format", "json", "app.oci"]).expect_code(2);
    bench.run(&["inspect", "--html", "", "app.oci"]).expect_code(2);
    // What was there stays, if the image can't be read.
    for blob in bench.path("app.oci/blobs/sha256").read_dir().unwrap() {
        let blob = blob.unwrap().path();
        if std::fs::read(&blob).unwrap().starts_with(b"\x1f\x8b") {
            std::fs::write(&blob, "damaged").unwrap();
        }
    }
    bench.run(&["inspect", "--html", "file", "app.oci"]).expect_code(3);
    assert_eq!(std::fs::read(bench.path("file")).unwrap(), b"kept");
}
