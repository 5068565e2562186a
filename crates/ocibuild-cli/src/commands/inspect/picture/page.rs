//! The page. All that it tells is there without scripts, but for the tree map.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocibuild_core::Digest;
use serde_json::{Value, json};

use crate::commands::inspect::image::Inspection;
use crate::commands::inspect::picture::config;
use crate::commands::inspect::picture::facts::{Facts, Large, Layer, Top, Wasted};
use crate::commands::inspect::picture::html::{
    COLOURS, bar, bytes, escape, json as embedded, number, share, shorten,
};
use crate::text;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A mark in the bar of the browser: three layers.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Cpath fill='%237aa7f0' d='M1 1h14v4H1z'/%3E%3Cpath fill='%23f0a868' d='M1 6h14v4H1z'/%3E\
    %3Cpath fill='%237cc89a' d='M1 11h14v4H1z'/%3E%3C/svg%3E";

/// The longest text that is shown whole, in characters: paths, then values.
const PATH: usize = 400;
const VALUE: usize = 2000;
/// The longest config that is shown whole, in bytes.
const CONFIG: usize = 64 << 10;

/// Writes the page of images.
pub(super) fn write(inspection: &Inspection, images: &[Facts<'_>]) -> String {
    let mut page = head(inspection);
    header(&mut page, inspection, images.len());
    for (number, facts) in images.iter().enumerate() {
        let _ = write!(
            page,
            "<section class=\"image{}\" data-image=\"{number}\">\n<h2>{}</h2>\n",
            if facts.wasted.bytes > 0 { " has-waste" } else { "" },
            escape(&facts.platform())
        );
        cards(&mut page, facts);
        layers(&mut page, facts);
        files(&mut page, facts);
        largest(&mut page, facts);
        wasted(&mut page, facts);
        config(&mut page, facts);
        page.push_str("</section>\n");
    }
    let _ = writeln!(
        page,
        "</main>\n<footer>Drawn by ocibuild {}. Sizes are decimal: 1 MB is 1,000,000 bytes.</footer>",
        env!("CARGO_PKG_VERSION")
    );
    let data = json!({ "images": images.iter().map(to_json).collect::<Vec<_>>() });
    let _ = writeln!(page, "<script type=\"application/json\" id=\"data\">{}</script>", embedded(&data));
    let _ = writeln!(page, "<script>{SCRIPT}</script>\n</body>\n</html>");
    page
}

/// No request leaves the page, and no script or style counts but ours.
fn policy() -> String {
    let source = |text: &str| format!("'sha256-{}'", STANDARD.encode(binary(&Digest::of(text.as_bytes()))));
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        source(SCRIPT),
        source(STYLE)
    )
}

fn binary(digest: &Digest) -> Vec<u8> {
    let digit = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    digest.hex().as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn head(inspection: &Inspection) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"{ICON}\">\n<title>{} · ocibuild</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n",
        policy(),
        escape(&shorten(&inspection.name, PATH))
    )
}

fn header(page: &mut String, inspection: &Inspection, drawn: usize) {
    let _ = write!(
        page,
        "<header>\n<p class=\"kind\">{}</p>\n<h1>{}</h1>\n<p class=\"digest\">{}</p>\n",
        if inspection.root.media_type.is_index() { "Image index" } else { "Image" },
        escape(&shorten(&inspection.name, PATH)),
        inspection.root.digest
    );
    let others = inspection.images.len() - drawn;
    if others > 0 {
        let what = text::count(others, "manifest");
        let _ = writeln!(
            page,
            "<p class=\"note\">{what} of the index, such as attestations, hold no files of an image and aren’t drawn.</p>"
        );
    }
    page.push_str("</header>\n<main>\n");
}

fn cards(page: &mut String, facts: &Facts<'_>) {
    let waste = &facts.wasted;
    let content = facts.bytes();
    let cards = [
        ("Stored", bytes(facts.stored()), "compressed, what is pulled".to_owned()),
        ("Unpacked", bytes(content), "contents of all files of all layers".to_owned()),
        ("Layers", number(facts.layers.len() as u64), "lowest first".to_owned()),
        (
            "Files",
            number(facts.files()),
            format!("and {} directories, links and such", number(facts.others())),
        ),
        (
            "Wasted",
            bytes(waste.bytes),
            match waste.count() {
                0 => "no file is hidden by a later layer".to_owned(),
                count => format!(
                    "{} of unpacked, in {} hidden by later layers",
                    share(waste.bytes, content),
                    files_of(count)
                ),
            },
        ),
    ];
    page.push_str("<dl class=\"cards\">\n");
    for (name, value, note) in cards {
        let class = name.to_lowercase();
        let _ = writeln!(
            page,
            "<div class=\"card card-{class}\"><dt>{name}</dt><dd><b>{value}</b><small>{note}</small></dd></div>"
        );
    }
    page.push_str("</dl>\n");
}

fn files_of(count: u64) -> String {
    format!("{} file{}", number(count), if count == 1 { "" } else { "s" })
}

fn heading(page: &mut String, name: &str, note: &str) {
    let _ = writeln!(page, "<div class=\"heading\"><h3>{name}</h3><p class=\"note\">{note}</p></div>");
}

fn layers(page: &mut String, facts: &Facts<'_>) {
    page.push_str("<article class=\"layers\">\n");
    heading(page, "Layers", "What each layer adds, the lowest first.");
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of layers\"><table>\n<thead><tr>\
         <th scope=\"col\">Layer</th><th scope=\"col\">Created by</th><th scope=\"col\" class=\"wide\">Share of stored</th>\
         <th scope=\"col\" class=\"n\">Stored</th><th scope=\"col\" class=\"n\">Unpacked</th>\
         <th scope=\"col\" class=\"n\">Files</th><th scope=\"col\" class=\"n\">Wasted</th></tr></thead>\n<tbody>\n",
    );
    let stored = facts.stored();
    for (at, layer) in facts.layers.iter().enumerate() {
        let _ = writeln!(
            page,
            "<tr data-layer=\"{at}\"><th scope=\"row\">{}</th><td class=\"by\">{}</td><td class=\"wide\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            chip(at),
            made_by(layer),
            bar(layer.blob.size, stored, at),
            bytes(layer.blob.size),
            bytes(layer.bytes),
            number(layer.files),
            if layer.wasted == 0 {
                "<span class=\"none\">–</span>".to_owned()
            } else {
                bytes(layer.wasted)
            },
        );
    }
    page.push_str("</tbody>\n</table></div>\n</article>\n");
}

/// A layer's number, in its colour.
fn chip(layer: usize) -> String {
    format!("<span class=\"chip c{}\">{}</span>", layer % COLOURS, layer + 1)
}

fn made_by(layer: &Layer) -> String {
    let mut by = format!("<code>{}</code>", escape(&shorten(&layer.name(), PATH)));
    if let Some(comment) = layer.comment.as_ref().filter(|_| layer.created_by.is_some()) {
        let _ = write!(by, "<small>{}</small>", escape(&shorten(comment, PATH)));
    }
    let _ = write!(
        by,
        "<small class=\"digest\" title=\"diff_id {}\">{}</small>",
        layer.diff_id, layer.blob.digest
    );
    by
}

/// The tree map's place, with what can be said of it here.
fn files(page: &mut String, facts: &Facts<'_>) {
    let drawing = &facts.drawing;
    page.push_str("<article class=\"files\">\n");
    heading(
        page,
        "Files",
        "Area is unpacked size. Click a directory to go into it and see what is too small here. Hatched: hidden by a later layer, and still carried along.",
    );
    page.push_str("<noscript><p class=\"note\">The tree map is drawn by a script, which is switched off.</p></noscript>\n");
    let summed = match drawing.summed {
        0 => "none is left out".to_owned(),
        1 => "1 that is small or empty is summed up in its directory".to_owned(),
        count => format!("{} that are small or empty are summed up in their directories", number(count)),
    };
    let _ = writeln!(
        page,
        "<div class=\"map\"></div>\n<p class=\"note count\">{} drawn one by one; {summed}.</p>\n</article>",
        files_of(drawing.drawn)
    );
}

fn largest(page: &mut String, facts: &Facts<'_>) {
    page.push_str("<article class=\"largest\">\n");
    let top: &Top<Large> = &facts.largest;
    heading(page, "Largest files", "Of those that a container sees.");
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of the largest files\"><table>\n<thead><tr>\
         <th scope=\"col\">Path</th><th scope=\"col\">Layer</th><th scope=\"col\" class=\"n\">Size</th></tr></thead>\n<tbody>\n",
    );
    for Large { path, bytes: size, layer } in &top.rows {
        let _ = writeln!(
            page,
            "<tr><td class=\"path\">{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
            shown_path(path),
            chip(*layer),
            bytes(*size)
        );
    }
    more(page, top.more, top.more_bytes, 2);
    page.push_str("</table></div>\n</article>\n");
}

fn wasted(page: &mut String, facts: &Facts<'_>) {
    let top: &Top<Wasted> = &facts.wasted;
    page.push_str("<article class=\"wasted\">\n");
    heading(
        page,
        "Wasted bytes",
        "Files that a later layer replaces or removes: they are stored and pulled, and no container sees them.",
    );
    if top.rows.is_empty() {
        page.push_str(
            "<p class=\"fine\">Nothing is wasted: no layer hides a file of another.</p>\n</article>\n",
        );
        return;
    }
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of wasted bytes\"><table>\n<thead><tr>\
         <th scope=\"col\">Path</th><th scope=\"col\">Brought by</th><th scope=\"col\">Hidden by</th>\
         <th scope=\"col\" class=\"n\">Wasted</th></tr></thead>\n<tbody>\n",
    );
    for Wasted { path, bytes: size, layer, by, is_removed } in &top.rows {
        let how = if *is_removed { "removed" } else { "replaced" };
        let _ = writeln!(
            page,
            "<tr><td class=\"path\">{}</td><td>{}</td><td class=\"how\">{} {how}</td><td class=\"n\">{}</td></tr>",
            shown_path(path),
            chip(*layer),
            chip(*by),
            bytes(*size)
        );
    }
    more(page, top.more, top.more_bytes, 3);
    page.push_str("</table></div>\n</article>\n");
}

/// Parts the directory from the name, which is what is looked for.
fn shown_path(path: &str) -> String {
    let path = shorten(path, PATH);
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    format!("<bdi><i>{}/</i>{}</bdi>", escape(directory), escape(name))
}

/// Ends a table with what it doesn't list.
fn more(page: &mut String, count: u64, size: u64, columns: usize) {
    page.push_str("</tbody>\n");
    if count > 0 {
        let _ = writeln!(
            page,
            "<tfoot><tr><td colspan=\"{columns}\">and {} more</td><td class=\"n\">{}</td></tr></tfoot>",
            files_of(count),
            bytes(size)
        );
    }
}

fn config(page: &mut String, facts: &Facts<'_>) {
    page.push_str("<article class=\"config\">\n");
    heading(page, "Config", "What a container of it starts with.");
    page.push_str("<dl>\n");
    for (name, values) in config::rows(facts.image) {
        let _ = write!(page, "<dt>{name}</dt><dd>");
        for value in values {
            let _ = write!(page, "<code>{}</code>", pair(&shorten(&value, VALUE), name));
        }
        page.push_str("</dd>\n");
    }
    page.push_str("</dl>\n");
    if let Some((_, whole)) = &facts.image.config {
        let whole = format!("{whole:#}");
        let _ = writeln!(
            page,
            "<details><summary>Whole config, as JSON</summary><pre>{}</pre></details>",
            lines(&whole)
        );
    }
    page.push_str("</article>\n");
}

/// Sets the name apart where a value has one.
fn pair(value: &str, field: &str) -> String {
    match value.split_once('=') {
        Some((name, value)) if matches!(field, "env" | "labels" | "annotations") => {
            format!("<b>{}</b>={}", escape(name), escape(value))
        }
        _ => escape(value),
    }
}

/// Escapes text of several lines, and says what it leaves out at the end.
fn lines(text: &str) -> String {
    let end = text.floor_char_boundary(CONFIG.min(text.len()));
    let mut shown: String = text[..end].lines().map(|line| escape(line) + "\n").collect();
    if end < text.len() {
        let _ = write!(
            shown,
            "\n… and {} more bytes: ocibuild inspect --format json shows all",
            number((text.len() - end) as u64)
        );
    }
    shown
}

fn to_json(facts: &Facts<'_>) -> Value {
    let layer = |layer: &Layer| {
        json!({
            "by": shorten(&crate::names::escape_rest(&layer.name()), 200),
            "stored": layer.blob.size,
            "tar": layer.tar,
            "bytes": layer.bytes,
            "files": layer.files,
            "wasted": layer.wasted,
        })
    };
    json!({
        "platform": facts.platform(),
        "layers": facts.layers.iter().map(layer).collect::<Vec<_>>(),
        "tree": facts.drawing.json,
    })
}
