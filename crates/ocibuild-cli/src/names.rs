//! Paths and modes of files in images: for people, where nothing in a name may steer the terminal,
//! and for programs, where no byte may be lost.

use std::fmt::Write as _;

use ocibuild_core::contents::{Item, ItemKind, Place, Visible};
use serde::Serialize;

/// Shows raw bytes: what isn't UTF-8, what steers a terminal or turns the direction of writing,
/// and backslashes are escaped.
pub(crate) fn escape(bytes: &[u8]) -> String {
    escape_but(bytes, None)
}

/// Shows text in which backslashes escape something already, such as JSON.
pub(crate) fn escape_rest(text: &str) -> String {
    escape_but(text.as_bytes(), Some('\\'))
}

fn escape_but(bytes: &[u8], kept: Option<char>) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if kept == Some(c) => text.push(c),
                '\\' | '\n' | '\r' | '\t' => text.extend(c.escape_default()),
                c if c.is_control() || is_invisible(c) => text.extend(c.escape_unicode()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Marks that make a name look like another one.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Shows a path inside an image, from its root.
pub(crate) fn path(path: &[u8]) -> String {
    format!("/{}", escape(path))
}

/// Writes a mode as `ls` does: `-rwxr-xr-x`.
pub(crate) fn mode(item: &Item<'_>) -> String {
    let kind = match item.kind {
        ItemKind::Directory => 'd',
        ItemKind::Symlink { .. } => 'l',
        ItemKind::CharDevice { .. } => 'c',
        ItemKind::BlockDevice { .. } => 'b',
        ItemKind::Fifo => 'p',
        ItemKind::Whiteout => return "whiteout".to_owned(),
        ItemKind::OpaqueDirectory => return "opaque".to_owned(),
        _ => '-',
    };
    let mut text = String::from(kind);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = item.mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (item.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
        });
    }
    text
}

/// The word for what an item is.
pub(crate) fn kind(kind: &ItemKind<'_>) -> &'static str {
    match kind {
        ItemKind::File { .. } => "file",
        ItemKind::Directory => "directory",
        ItemKind::Symlink { .. } => "symlink",
        ItemKind::HardLink { .. } => "hard-link",
        ItemKind::CharDevice { .. } => "character-device",
        ItemKind::BlockDevice { .. } => "block-device",
        ItemKind::Fifo => "fifo",
        ItemKind::Whiteout => "whiteout",
        ItemKind::OpaqueDirectory => "opaque-directory",
        _ => "other",
    }
}

/// An item of an image, for programs.
#[derive(Debug, Serialize)]
pub(crate) struct ItemJson {
    #[serde(flatten)]
    path: PathJson,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: i64,
    /// From 1; none for a directory that no layer has.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(flatten)]
    target: TargetJson,
    /// The path that a hard link was made from.
    #[serde(flatten)]
    link: LinkJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    xattrs: Vec<XattrJson>,
}

macro_rules! raw_text {
    ($name:ident, $text:literal, $hex:literal) => {
        /// A name as it is, or in hexadecimal where it isn't UTF-8.
        #[derive(Debug, Default, Serialize)]
        pub(crate) struct $name {
            #[serde(rename = $text, skip_serializing_if = "Option::is_none")]
            text: Option<String>,
            #[serde(rename = $hex, skip_serializing_if = "Option::is_none")]
            hex: Option<String>,
        }

        impl $name {
            pub(crate) fn new(bytes: Vec<u8>) -> Self {
                match String::from_utf8(bytes) {
                    Ok(text) => Self { text: Some(text), hex: None },
                    Err(error) => Self { text: None, hex: Some(hex(error.as_bytes())) },
                }
            }
        }
    };
}

raw_text!(PathJson, "path", "path-hex");
raw_text!(TargetJson, "target", "target-hex");
raw_text!(LinkJson, "link", "link-hex");

#[derive(Debug, Serialize)]
struct XattrJson {
    name: String,
    #[serde(rename = "value-hex")]
    value: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path from the image's root.
fn absolute(path: &[u8]) -> Vec<u8> {
    [b"/", path].concat()
}

impl PathJson {
    /// A path inside an image.
    pub(crate) fn absolute(path: &[u8]) -> Self {
        Self::new(absolute(path))
    }
}

impl ItemJson {
    /// An item as it stands in a layer.
    pub(crate) fn of_layer(item: &Item<'_>, layer: usize) -> Self {
        Self::new(item.path, item, Some(layer + 1))
    }

    /// What is seen at a path.
    pub(crate) fn of_view(visible: &Visible<'_>) -> Self {
        let layer = visible.place.map(|Place { layer, .. }| layer + 1);
        let mut json = Self::new(&visible.path, &visible.item, layer);
        if let Some(link) = visible.link {
            json.link = LinkJson::new(absolute(link));
        }
        json
    }

    fn new(path: &[u8], item: &Item<'_>, layer: Option<usize>) -> Self {
        let (size, digest) = match item.kind {
            ItemKind::File { size, digest } => (Some(size), digest.map(|digest| digest.to_string())),
            _ => (None, None),
        };
        let device = match item.kind {
            ItemKind::CharDevice { major, minor } | ItemKind::BlockDevice { major, minor } => {
                Some((major, minor))
            }
            _ => None,
        };
        let target = match item.kind {
            ItemKind::Symlink { target } => TargetJson::new(target.to_vec()),
            _ => TargetJson::default(),
        };
        let link = match item.kind {
            ItemKind::HardLink { target } => LinkJson::new(absolute(target)),
            _ => LinkJson::default(),
        };
        let xattr = |(name, value): (&[u8], &[u8])| XattrJson { name: escape(name), value: hex(value) };
        Self {
            path: PathJson::absolute(path),
            kind: kind(&item.kind),
            mode: format!("{:04o}", item.mode),
            uid: item.uid,
            gid: item.gid,
            mtime: item.mtime,
            layer,
            size,
            digest,
            target,
            link,
            major: device.map(|(major, _)| major),
            minor: device.map(|(_, minor)| minor),
            xattrs: item.xattrs.iter().map(xattr).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_steers_a_terminal() {
        for (name, shown) in [
            (&b"plain \xc3\xa9"[..], "plain \u{e9}"),
            (b"\x1b[31mred\n", "\\u{1b}[31mred\\n"),
            (b"back\\slash \xff", "back\\\\slash \\xff"),
            ("txt.\u{202e}exe \u{9b}".as_bytes(), "txt.\\u{202e}exe \\u{9b}"),
        ] {
            assert_eq!(escape(name), shown);
        }
    }
}
