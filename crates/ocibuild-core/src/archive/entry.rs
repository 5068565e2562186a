//! The tar entries of an archive: plain files and directories, owned by root, from one second
//! after the epoch.

use std::io::{self, Write};

use ::tar::{EntryType, Header};

/// The largest size that the octal digits of a plain header hold.
const MAX_PLAIN_SIZE: u64 = (8 << 30) - 1;

/// The longest name that a plain header holds in one piece.
const MAX_PLAIN_NAME: usize = 100;

const BLOCK: u64 = 512;

/// Starts a file, of which `size` bytes follow, then [`padding`].
pub(super) fn start_file(output: &mut dyn Write, name: &str, size: u64) -> io::Result<()> {
    let mut records = Vec::new();
    if name.len() > MAX_PLAIN_NAME {
        records.extend(record("path", name));
    }
    if size > MAX_PLAIN_SIZE {
        records.extend(record("size", &size.to_string()));
    }
    if !records.is_empty() {
        header(output, EntryType::XHeader, "PaxHeader", records.len() as u64)?;
        output.write_all(&records)?;
        padding(output, records.len() as u64)?;
    }
    let size = if size > MAX_PLAIN_SIZE { 0 } else { size };
    header(output, EntryType::Regular, &name[..name.len().min(MAX_PLAIN_NAME)], size)
}

/// Writes a directory; its name ends in a slash.
pub(super) fn directory(output: &mut dyn Write, name: &str) -> io::Result<()> {
    header(output, EntryType::Directory, name, 0)
}

/// Fills up the last block of a file.
pub(super) fn padding(output: &mut dyn Write, size: u64) -> io::Result<()> {
    let rest = usize::try_from(size.next_multiple_of(BLOCK) - size).expect("less than a block");
    output.write_all(&[0; BLOCK as usize][..rest])
}

/// Ends the archive.
pub(super) fn end(output: &mut dyn Write) -> io::Result<()> {
    output.write_all(&[0; 2 * BLOCK as usize])
}

fn header(output: &mut dyn Write, kind: EntryType, name: &str, size: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header.set_cksum();
    output.write_all(header.as_bytes())
}

/// One PAX record: its own length, which counts itself, then name and value.
fn record(name: &str, value: &str) -> Vec<u8> {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {name}={value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn records_count_themselves() {
        assert_eq!(record("path", "a"), b"9 path=a\n");
        assert_eq!(record("path", "ab"), b"11 path=ab\n");
        for length in 0..2000 {
            let record = record("path", &"x".repeat(length));
            let said: usize =
                String::from_utf8(record.clone()).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn entries_are_read_back() {
        let mut bytes = Vec::new();
        let long = format!("blobs/sha512/{}", "a".repeat(128));
        directory(&mut bytes, "blobs/").unwrap();
        for name in ["short", &long] {
            start_file(&mut bytes, name, 5).unwrap();
            bytes.extend(b"hello");
            padding(&mut bytes, 5).unwrap();
        }
        end(&mut bytes).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        let mut archive = ::tar::Archive::new(&bytes[..]);
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1);
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            names.push((entry.path().unwrap().to_str().unwrap().to_owned(), content));
        }
        let own = |name: &str, content: &str| (name.to_owned(), content.to_owned());
        assert_eq!(names, [own("blobs/", ""), own("short", "hello"), own(&long, "hello")]);
    }

    #[test]
    fn a_size_of_many_gigabytes_is_told_in_a_record() {
        for size in [MAX_PLAIN_SIZE, MAX_PLAIN_SIZE + 1, 1 << 40] {
            let mut bytes = Vec::new();
            start_file(&mut bytes, "x", size).unwrap();
            let mut archive = ::tar::Archive::new(&bytes[..]);
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!(entry.size(), size);
        }
    }
}
