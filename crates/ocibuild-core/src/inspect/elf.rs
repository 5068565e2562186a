//! ELF programs and libraries: what the kernel and the loader read of them.
//!
//! The program headers and the dynamic section, as
//! [the generic ABI](https://gabi.xinuos.com/elf/07-pheader.html) has them; section headers may be
//! missing and are never looked at. Nothing a file says of sizes is believed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a program or library asks of the file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Elf {
    /// The machine it is for, as `e_machine` has it.
    pub machine: u16,
    /// Whether it is of 64 bits.
    pub is_64: bool,
    /// The program that starts it, an absolute path; none of what is started by nobody, or by the
    /// kernel alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// The libraries it needs, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    /// What it is called as a library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    /// Where its libraries are looked for first, `$ORIGIN` as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Whether that is the old `RPATH`, which holds for what its libraries need as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_rpath: bool,
}

/// The most program headers that are looked at; programs have about a dozen.
const MAX_HEADERS: usize = 128;
/// The largest dynamic section and string table that are read, in bytes.
const MAX_DYNAMIC: u64 = 1 << 20;
const MAX_STRINGS: u64 = 16 << 20;
/// The longest string, and the most of a kind.
const MAX_STRING: usize = 4096;
const MAX_NEEDED: usize = 1024;
/// The longest name a file has, in bytes; and the most of all names, however often one string is named.
const MAX_NAME: usize = 255;
const MAX_NAMES: usize = 64 << 10;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const EM_BPF: u16 = 247;

/// What Linux runs, by `EI_OSABI`: what is for nobody in particular, for GNU, and for ARM's.
const SYSTEMS: [u8; 3] = [0, 3, 97];

/// Reads bytes of a file from an offset: all that are asked for, or none.
pub(super) type ReadAt<'a> = dyn Fn(u64, usize) -> Option<Vec<u8>> + 'a;

/// How numbers are written.
#[derive(Clone, Copy)]
struct Form {
    is_64: bool,
    is_little: bool,
}

impl Form {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        u16::try_from(self.number(bytes, at, 2)?).ok()
    }

    /// An address or offset: of one place in files of 64 bits, of another in those of 32.
    fn wide(self, bytes: &[u8], (at_64, at_32): (usize, usize)) -> Option<u64> {
        if self.is_64 { self.number(bytes, at_64, 8) } else { self.number(bytes, at_32, 4) }
    }
}

/// A part of the file that is loaded, or that says how.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Reads what a file says; none if it is no ELF file, or a broken one.
pub(super) fn parse(size: u64, read: &ReadAt<'_>) -> Option<Elf> {
    let head = read(0, 64.min(usize::try_from(size).unwrap_or(64)))?;
    let form = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2)] => {
            Form { is_64: *class == 2, is_little: *data == 1 }
        }
        _ => return None,
    };
    // What packages bring for other systems names other libraries.
    head.get(7).filter(|system| SYSTEMS.contains(system))?;
    let machine = form.half(&head, 18).filter(|machine| *machine != EM_BPF)?;
    let segments = segments(form, &head, read)?;
    let mut elf = Elf { machine, is_64: form.is_64, ..Elf::default() };
    if let Some(interpreter) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        let length = usize::try_from(interpreter.size).unwrap_or(usize::MAX).min(MAX_STRING);
        elf.interpreter = text(&read(interpreter.offset, length)?, 0);
    }
    if let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
        // One that lies is no reason to pass over the rest.
        let _ = take_dynamic(form, dynamic, &segments, read, &mut elf);
    }
    Some(elf)
}

fn segments(form: Form, head: &[u8], read: &ReadAt<'_>) -> Option<Vec<Segment>> {
    let start = form.wide(head, (32, 28))?;
    let (entry, count) = match form.is_64 {
        true => (form.half(head, 54)?, form.half(head, 56)?),
        false => (form.half(head, 42)?, form.half(head, 44)?),
    };
    let (entry, count) = (usize::from(entry), usize::from(count).min(MAX_HEADERS));
    // An object file has none.
    if count == 0 {
        return Some(Vec::new());
    }
    if entry < if form.is_64 { 56 } else { 32 } {
        return None;
    }
    let table = read(start, entry * count)?;
    let segment = |header: &[u8]| {
        Some(Segment {
            kind: u32::try_from(form.number(header, 0, 4)?).ok()?,
            offset: form.wide(header, (8, 4))?,
            address: form.wide(header, (16, 8))?,
            size: form.wide(header, (32, 16))?,
        })
    };
    table.chunks_exact(entry).map(segment).collect()
}

fn take_dynamic(
    form: Form,
    dynamic: &Segment,
    segments: &[Segment],
    read: &ReadAt<'_>,
    elf: &mut Elf,
) -> Option<()> {
    let width = if form.is_64 { 8 } else { 4 };
    let size = dynamic.size.min(MAX_DYNAMIC) / (2 * width as u64) * (2 * width as u64);
    let bytes = read(dynamic.offset, usize::try_from(size).ok()?)?;
    let entry = |pair: &[u8]| Some((form.number(pair, 0, width)?, form.number(pair, width, width)?));
    let entries: Vec<(u64, u64)> =
        bytes.chunks_exact(2 * width).map_while(entry).take_while(|(tag, _)| *tag != 0).collect();
    let value = |wanted| entries.iter().find(|(tag, _)| *tag == wanted).map(|(_, value)| *value);
    let address = value(DT_STRTAB)?;
    let load = segments.iter().find(|segment| {
        segment.kind == PT_LOAD && address.checked_sub(segment.address).is_some_and(|at| at < segment.size)
    })?;
    let start = load.offset.checked_add(address - load.address)?;
    let length = value(DT_STRSZ)?.min(MAX_STRINGS);
    let strings = read(start, usize::try_from(length).ok()?)?;
    let string = |at: u64| text(&strings, usize::try_from(at).ok()?);
    let of = |wanted: u64| entries.iter().filter(move |(tag, _)| *tag == wanted);
    elf.needed = bounded(of(DT_NEEDED).take(MAX_NEEDED).filter_map(|(_, at)| string(*at)));
    elf.soname = value(DT_SONAME).and_then(string);
    // The loader passes over the old one where there is the new one.
    let (new, old) = (value(DT_RUNPATH), value(DT_RPATH));
    elf.is_rpath = new.is_none() && old.is_some();
    let search = new.or(old).and_then(string);
    let search = search.iter().flat_map(|search| search.split(':'));
    elf.search = bounded(search.filter(|path| !path.is_empty()).map(str::to_owned));
    Some(())
}

/// What may be the name or the path of a file, each once: a small file can name one string a thousand
/// times, and be there a thousand times.
fn bounded(names: impl Iterator<Item = String>) -> Vec<String> {
    let (mut seen, mut left) = (BTreeSet::new(), MAX_NAMES);
    let fits = |name: &String| name.contains('/') || name.len() <= MAX_NAME;
    let is_new = |name: &String| seen.insert(name.clone());
    let has_room = |name: &String| {
        let rest = left.checked_sub(name.len());
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    names.filter(fits).filter(is_new).take_while(has_room).collect()
}

/// The string at a place, up to its zero.
fn text(strings: &[u8], at: usize) -> Option<String> {
    let rest = strings.get(at..)?;
    let rest = &rest[..rest.len().min(MAX_STRING)];
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Makes an ELF file of 64 bits: one segment for all of it, and what it is asked for.
    pub(crate) fn made(machine: u16, interpreter: Option<&str>, needed: &[&str], search: &str) -> Vec<u8> {
        let mut strings = vec![0];
        let mut add = |text: &str| {
            let at = strings.len() as u64;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|name| (DT_NEEDED, add(name))).collect();
        if !search.is_empty() {
            dynamic.push((DT_RUNPATH, add(search)));
        }
        let interpreter = interpreter.map(|path| [path.as_bytes(), b"\0"].concat()).unwrap_or_default();
        let (headers, base) = (64 + 3 * 56_u64, 0x40_0000_u64);
        let dynamic_at = headers + interpreter.len() as u64;
        let strings_at = dynamic_at + (dynamic.len() as u64 + 3) * 16;
        dynamic.extend([(DT_STRTAB, base + strings_at), (DT_STRSZ, strings.len() as u64), (0, 0)]);
        let total = strings_at + strings.len() as u64;
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        file.resize(16, 0);
        file.extend([2, 0]);
        file.extend(machine.to_le_bytes());
        file.extend([1, 0, 0, 0]);
        [base, 64, 0].into_iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend([0; 4]);
        [64_u16, 56, 3, 64, 0, 0].into_iter().for_each(|number| file.extend(number.to_le_bytes()));
        let interpreted = if interpreter.is_empty() { 0 } else { PT_INTERP };
        let segments = [
            (PT_LOAD, 0, total),
            (interpreted, headers, interpreter.len() as u64),
            (PT_DYNAMIC, dynamic_at, dynamic.len() as u64 * 16),
        ];
        for (kind, offset, size) in segments {
            file.extend(kind.to_le_bytes());
            file.extend(5_u32.to_le_bytes());
            let numbers = [offset, base + offset, base + offset, size, size, 8];
            numbers.into_iter().for_each(|number| file.extend(number.to_le_bytes()));
        }
        file.extend(interpreter);
        dynamic.into_iter().for_each(|(tag, value)| {
            file.extend(tag.to_le_bytes());
            file.extend(value.to_le_bytes());
        });
        file.extend(strings);
        file
    }

    pub(crate) fn parsed(file: &[u8]) -> Option<Elf> {
        parse(file.len() as u64, &|at, length| {
            let at = usize::try_from(at).ok()?;
            Some(file.get(at..at.checked_add(length)?)?.to_vec())
        })
    }

    #[test]
    fn what_a_program_needs_is_read() {
        let file =
            made(62, Some("/lib64/ld-linux-x86-64.so.2"), &["libssl.so.3", "libc.so.6"], "$ORIGIN:/opt");
        let elf = parsed(&file).unwrap();
        assert_eq!((elf.machine, elf.is_64), (62, true));
        assert_eq!(elf.interpreter.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        assert_eq!(elf.needed, ["libssl.so.3", "libc.so.6"]);
        assert_eq!(elf.search, ["$ORIGIN", "/opt"]);
        let elf = parsed(&made(183, None, &[], "")).unwrap();
        assert_eq!((elf.machine, elf.interpreter, elf.needed.len()), (183, None, 0));
    }

    #[test]
    fn what_this_program_needs_is_read() {
        // The tests' own program is one that a linker made.
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = parsed(&file).unwrap();
        if let Some(interpreter) = &elf.interpreter {
            assert!(std::path::Path::new(interpreter).exists(), "{interpreter}");
            assert!(elf.needed.iter().any(|name| name.starts_with("libc")), "{:?}", elf.needed);
        }
    }

    #[test]
    fn names_are_bounded_however_often_they_are_named() {
        let needed = |names: &[String]| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            parsed(&made(62, None, &names, "/a:/b:/a:/a")).unwrap()
        };
        let elf = needed(&vec!["libc.so.6".to_owned(); 1000]);
        assert_eq!((elf.needed, elf.search), (vec!["libc.so.6".to_owned()], vec!["/a".into(), "/b".into()]));
        // No file has such a name; a path may be as long.
        let long = "x".repeat(MAX_NAME + 1);
        let path = format!("/opt/{long}/liba.so");
        assert_eq!(needed(&[long, path.clone(), "libb.so".to_owned()]).needed, [path, "libb.so".to_owned()]);
        let many: Vec<String> = (0..1000).map(|index| format!("/{index:04}/{}", "y".repeat(3000))).collect();
        let kept = needed(&many).needed;
        assert!(kept.iter().map(String::len).sum::<usize>() <= MAX_NAMES);
        assert_eq!(kept, many[..MAX_NAMES / 3006]);
    }

    #[test]
    fn what_is_no_program_is_none() {
        let mut freebsd = made(62, None, &["libthr.so.3"], "");
        freebsd[7] = 9;
        for bytes in [&freebsd[..], b"", b"\x7fELF", b"\x7fELF\x03\x01", b"#!/bin/sh\n", &[0x7f; 64]] {
            assert_eq!(parsed(bytes), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is changed, cut off or made up: no panic, and no more than the bounds allow.
        #[test]
        fn damaged_files_are_read_within_bounds(
            changes in proptest::collection::vec((0_usize..700, any::<u8>()), 1..12),
            cut in 0_usize..700,
        ) {
            let mut file =
                made(62, Some("/lib64/ld-linux-x86-64.so.2"), &["liba.so", "libb.so.1", "libc.so.6"], "$ORIGIN");
            let length = file.len();
            for (at, byte) in changes {
                file[at % length] = byte;
            }
            for file in [&file[..], &file[..cut.min(length)]] {
                if let Some(elf) = parsed(file) {
                    prop_assert!(elf.needed.len() <= MAX_NEEDED);
                    prop_assert!(elf.needed.iter().all(|name| name.len() <= 3 * MAX_STRING));
                }
            }
        }

        #[test]
        fn anything_behind_the_magic_is_read_within_bounds(rest in proptest::collection::vec(any::<u8>(), 0..400)) {
            for form in [[1, 1], [1, 2], [2, 1], [2, 2]] {
                let _ = parsed(&[b"\x7fELF", &form[..], &rest].concat());
            }
        }
    }
}
