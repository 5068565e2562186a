//! `inspect --html` is a page that works: looked at in a browser, clicked through, and harmless
//! whatever an image holds.

use std::fs;
use std::path::Path;

use ocibuild_testkit::{Browser, TempTree, require, run};
use serde_json::Value;

use crate::ocibuild::{Ocibuild, text};

/// Names that would be a script's if a page took them for more than names.
const HOSTILE: [&str; 5] = [
    "<img src=x onerror=window.hacked=1>",
    // With the slashes between directories this is what ends an element of script.
    "</script><script>window.hacked=2</script>",
    "';window.hacked=3;'\"><svg onload=window.hacked=4>",
    "<!--<script>",
    "&lt;b&gt; &amp; \\u003c",
];

const LOWER: &str = r#"
version = 1
[layers.lower]
comment = "<img src=x onerror=window.hacked=5>"
copy = [{ from = "tree", to = "/" }]
[layers.middle]
copy = [{ from = "middle", to = "/srv" }]
[images.base]
layers = ["lower", "middle"]
"#;

const UPPER: &str = r#"
version = 1
[layers.upper]
copy = [{ from = "upper/one", to = "/data/deep/one" }]
remove = ["/data/gone"]
[images.app]
base = { layout = "base.oci" }
layers = ["upper"]
entrypoint = ["/app", "</script><script>window.hacked=6</script>"]
env = { HOSTILE = "<img src=x onerror=window.hacked=7>" }
labels = { "<b>" = "</dd><script>window.hacked=8</script>" }
"#;

/// An image of three layers: the third replaces a file of the first, and removes one.
fn draw(ocibuild: &Ocibuild, tree: &TempTree) -> std::path::PathBuf {
    let page = tree.join("page.html");
    let name = "app<img src=x onerror=window.hacked=9>.oci";
    ocibuild.build_one(&["-f", "lower.toml", "--compression", "none"]);
    let output = format!("type=oci,dest={}", text(&tree.join(name)));
    ocibuild.build_one(&["-f", "upper.toml", "--compression", "none", "--output", &output]);
    run(ocibuild.command().args(["validate", &format!("./{name}")]));
    run(ocibuild.command().args(["inspect", "--html", "page.html", &format!("./{name}")]));
    page
}

fn files() -> TempTree {
    let mut tree = TempTree::new()
        .file("lower.toml", LOWER)
        .file("upper.toml", UPPER)
        .file("tree/data/deep/one", "1".repeat(40_000))
        .file("tree/data/deep/two.js", "2".repeat(30_000))
        .file("tree/data/gone", "3".repeat(20_000))
        .file("tree/data/small", "")
        .file("middle/library.so", "4".repeat(60_000))
        .file("upper/one", "5".repeat(50_000));
    for name in HOSTILE {
        tree = tree.file(format!("tree/names/{name}"), "x".repeat(9_000));
    }
    let latin = std::os::unix::ffi::OsStringExt::from_vec(b"tree/names/caf\xe9".to_vec());
    let latin: std::ffi::OsString = latin;
    tree.file(Path::new(&latin), "x".repeat(9_000))
}

/// The texts of all elements that a selector finds.
fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let all = browser.evaluate(&format!(
        "return [...document.querySelectorAll({selector:?})].map((element) => element.textContent)"
    ));
    all.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The labels of what the tree map shows. No part of it lies outside, and none is empty.
fn cells(browser: &Browser) -> Vec<String> {
    let outside = browser.evaluate(
        "const map = document.querySelector('.canvas').getBoundingClientRect();
         return [...document.querySelectorAll('.cell')].map((cell) => cell.getBoundingClientRect())
           .filter((cell) => cell.left < map.left - 1 || cell.right > map.right + 1
             || cell.top < map.top - 1 || cell.bottom > map.bottom + 1 || cell.width * cell.height < 1).length",
    );
    assert_eq!(outside, 0);
    let all = browser.evaluate(
        "return [...document.querySelectorAll('.cell')].map((cell) => cell.getAttribute('aria-label'))",
    );
    all.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn cell(path: &str) -> String {
    format!(".cell[aria-label^={:?}]", format!("{path},"))
}

#[test]
fn a_page_can_be_clicked_through_and_nothing_of_an_image_runs() {
    let browser = require!(Browser::new());
    let tree = files();
    let ocibuild = Ocibuild::new().within(tree.path());
    let page = draw(&ocibuild, &tree);
    browser.view(1280, 800, "light");
    browser.open(&page);
    browser.wait("document.querySelectorAll('.cell').length");
    blocks_are_as_wide_as_layers_are_large(&browser);
    a_layer_shows_its_files_alone(&browser);
    a_directory_opens_and_closes(&browser);
    the_keyboard_is_enough(&browser);
    wasted_bytes_are_told(&browser);
    names_are_text(&browser);
    keep_pictures(&browser);
    assert_eq!(browser.evaluate("return window.hacked ?? null"), Value::Null);
    assert_eq!(browser.evaluate("return document.querySelectorAll('img, iframe, svg svg').length"), 0);
    assert_eq!(browser.console(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(!requests.is_empty(), "the log has at least the page");
    let own = format!("file://{}", text(&page));
    assert!(requests.iter().all(|address| *address == own || address.starts_with("data:")), "{requests:?}");
    the_policy_forbids_what_a_page_could_send(&browser);
    platforms_are_tabs(&browser, &ocibuild, &tree);
}

fn platforms_are_tabs(browser: &Browser, ocibuild: &Ocibuild, tree: &TempTree) {
    const SPEC: &str = r#"
        version = 1
        [layers.program]
        copy = [{ content = "{arch}", to = "/program-{arch}" }]
        [images.both]
        layers = ["program"]
        platforms = ["linux/amd64", "linux/arm64"]
    "#;
    tree.write("both.toml", SPEC);
    ocibuild.build(&["-f", "both.toml"]);
    run(ocibuild.command().args(["inspect", "--html", "both.html", "both.oci"]));
    browser.view(1280, 800, "light");
    browser.open(&tree.join("both.html"));
    browser.wait("document.querySelectorAll('.cell').length");
    assert_eq!(texts(browser, "[role=tab]"), ["linux/amd64", "linux/arm64"]);
    let shown = "document.querySelector('section:not([hidden]) .cell').getAttribute('aria-label')";
    browser.wait(&format!("{shown}.startsWith('/program-amd64')"));
    browser.click("[role=tab]:last-child");
    browser.wait(&format!("{shown}.startsWith('/program-arm64')"));
    assert_eq!(browser.evaluate("return document.querySelectorAll('section:not([hidden])').length"), 1);
    assert_eq!(browser.console(), Vec::<String>::new());
}

fn blocks_are_as_wide_as_layers_are_large(browser: &Browser) {
    for measure in ["stored", "bytes"] {
        browser.click(&format!(".switch button[data-key={measure}]"));
        browser.wait(&format!("document.querySelector('[data-key={measure}][aria-pressed=true]')"));
        let column = if measure == "stored" { 4 } else { 5 };
        let facts = browser.evaluate(&format!(
            "return [...document.querySelectorAll('.block')].map((block, at) => [
               block.getBoundingClientRect().width / block.parentNode.getBoundingClientRect().width,
               Number(document.querySelector(`.layers tbody tr[data-layer='${{at}}'] td:nth-child({column}) data`).value)])"
        ));
        let facts: Vec<(f64, f64)> = facts
            .as_array()
            .unwrap()
            .iter()
            .map(|fact| (fact[0].as_f64().unwrap(), fact[1].as_f64().unwrap()))
            .collect();
        let whole: f64 = facts.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(facts.len(), 3);
        for (width, bytes) in &facts {
            assert!((width - bytes / whole).abs() < 0.005, "{measure}: {facts:?}");
        }
    }
}

fn a_layer_shows_its_files_alone(browser: &Browser) {
    assert!(cells(browser).iter().any(|cell| cell.starts_with("/srv/library.so")));
    browser.click(".block[data-layer='2']");
    browser.wait("document.querySelector('.block[aria-pressed=true]')");
    let shown = cells(browser);
    assert!(
        shown.iter().any(|cell| cell.starts_with("/data/deep/one, 50.0 kB, 100 % of layer 3")),
        "{shown:?}"
    );
    assert!(!shown.iter().any(|cell| cell.contains("/srv")), "{shown:?}");
    assert!(texts(browser, ".layers .detail")[0].starts_with("Layer 3 of 3 · "));
    browser.click(".only");
    browser.wait("!document.querySelector('.block[aria-pressed=true]')");
    assert!(cells(browser).iter().any(|cell| cell.starts_with("/srv/library.so")));
    // A row of the table does the same.
    browser.click(".layers tbody tr[data-layer='1']");
    browser.wait("document.querySelector('.block[data-layer=\"1\"][aria-pressed=true]')");
    assert!(cells(browser).iter().all(|cell| cell.starts_with("/srv")));
    browser.click(".block[data-layer='1']");
    browser.wait("!document.querySelector('.block[aria-pressed=true]')");
}

fn a_directory_opens_and_closes(browser: &Browser) {
    browser.click(&cell("/data"));
    browser.wait("document.querySelector('.crumbs [aria-current]').textContent === 'data'");
    assert_eq!(texts(browser, ".crumbs button"), ["/", "data"]);
    let shown = cells(browser);
    assert!(shown.iter().all(|cell| cell.starts_with("/data/")), "{shown:?}");
    // The replaced and the new one are both there, and told apart.
    assert!(
        shown.iter().any(|cell| cell.starts_with("/data/deep/one, 40.0 kB")
            && cell.ends_with("layer 1, hidden by layer 3")),
        "{shown:?}"
    );
    assert!(
        shown.iter().any(|cell| cell.starts_with("/data/deep/one, 50.0 kB") && cell.ends_with("layer 3")),
        "{shown:?}"
    );
    browser.click(&cell("/data/deep"));
    browser.wait("document.querySelectorAll('.crumbs button').length === 3");
    browser.click(".crumbs button");
    browser.wait("document.querySelectorAll('.crumbs button').length === 1");
    assert!(cells(browser).iter().any(|cell| cell.starts_with("/srv/library.so")));
}

fn the_keyboard_is_enough(browser: &Browser) {
    const ENTER: char = '\u{e007}';
    const ESCAPE: char = '\u{e00c}';
    const RIGHT: char = '\u{e014}';
    browser.evaluate("document.querySelector('.cell[tabindex=\"0\"]').focus()");
    let focused = "document.activeElement.getAttribute('aria-label')";
    let first = browser.evaluate(&format!("return {focused}"));
    browser.press(RIGHT);
    browser.wait(&format!("{focused} !== {first}"));
    assert!(texts(browser, ".files .detail")[0].starts_with('/'));
    browser.evaluate(&format!("document.querySelector({:?}).focus()", cell("/data")));
    browser.press(ENTER);
    browser.wait("document.querySelectorAll('.crumbs button').length === 2");
    browser.press(ESCAPE);
    browser.wait("document.querySelectorAll('.crumbs button').length === 1");
    browser.wait(&format!("{focused}?.startsWith('/data,')"));
}

fn wasted_bytes_are_told(browser: &Browser) {
    assert_eq!(texts(browser, ".wasted tbody tr td:first-child"), ["/data/deep/one", "/data/gone"]);
    assert_eq!(texts(browser, ".wasted tbody .how"), ["3 replaced", "3 removed"]);
    let bytes = browser
        .evaluate("return [...document.querySelectorAll('.wasted tbody data')].map((one) => one.value)");
    assert_eq!(bytes, serde_json::json!(["40000", "20000"]));
    assert_eq!(browser.evaluate("return document.querySelector('.card-wasted data').value"), "60000");
    assert_eq!(
        texts(browser, ".files .count"),
        ["11 files drawn one by one; 1 that is small or empty is summed up in its directory."]
    );
}

fn names_are_text(browser: &Browser) {
    let listed = texts(browser, ".largest tbody td:first-child");
    for name in HOSTILE {
        // A backslash is escaped where paths are shown.
        let path = format!("/names/{}", name.replace('\\', "\\\\"));
        assert!(listed.contains(&path), "{path}: {listed:?}");
        assert!(cells(browser).iter().any(|cell| cell.starts_with(&path)), "{path}");
    }
    assert!(listed.contains(&"/names/caf\\xe9".to_owned()), "{listed:?}");
    assert!(texts(browser, "h1")[0].contains("<img src=x"));
    let config = texts(browser, ".config dd code").join("\n");
    for value in ["HOSTILE=<img src=x onerror=window.hacked=7>", "<b>=</dd><script>window.hacked=8</script>"]
    {
        assert!(config.contains(value), "{config}");
    }
}

/// Pictures for people, in `target/tmp`.
fn keep_pictures(browser: &Browser) {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, width, height, scheme) in [
        ("picture", 1280, 800, "light"),
        ("picture-dark", 1280, 800, "dark"),
        ("picture-phone", 390, 844, "dark"),
    ] {
        browser.view(width, height, scheme);
        browser.wait(&format!("innerWidth === {width}"));
        // On a phone nothing but tables goes beyond the edge.
        let wide = browser.evaluate("return document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= width.into(), "{wide} at {width}");
        browser.evaluate("scrollTo(0, 0)");
        let picture = browser.screenshot();
        assert!(picture.starts_with(b"\x89PNG"));
        fs::write(home.join(format!("{name}.png")), picture).unwrap();
    }
}

/// Even a script that came into the page would be refused, and so would what it asks for.
fn the_policy_forbids_what_a_page_could_send(browser: &Browser) {
    browser.evaluate(
        "const script = document.createElement('script');
         script.textContent = 'window.hacked = 10';
         document.body.append(script);
         window.asked = 'waiting';
         fetch('http://127.0.0.1:9/').catch((error) => { window.asked = String(error); })",
    );
    browser.wait("window.asked !== 'waiting'");
    assert_eq!(browser.evaluate("return window.hacked ?? null"), Value::Null);
    let refused = browser.console().join("\n");
    assert!(refused.contains("Content Security Policy"), "{refused}");
}
