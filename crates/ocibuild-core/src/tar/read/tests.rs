use proptest::prelude::*;

use super::*;

/// Writes a header block.
fn header(path: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..path.len()].copy_from_slice(path);
    block[100..108].copy_from_slice(b"0000644\0");
    set_number(&mut block, 124, size);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    with_checksum(block)
}

/// Writes a size in base-256.
fn set_number(block: &mut [u8; BLOCK], offset: usize, number: u64) {
    block[offset] = 0x80;
    block[offset + 4..offset + 12].copy_from_slice(&number.to_be_bytes());
}

fn with_checksum(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Writes an entry with its content.
fn entry(path: &[u8], flag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(path, flag, content.len() as u64).to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// A header as Go once wrote it.
fn buggy_gnu() -> Vec<u8> {
    let mut block = header(b"a", b'0', 0);
    block[257..265].copy_from_slice(b"ustar  \0");
    block[345..351].copy_from_slice(b"prefix");
    with_checksum(block).to_vec()
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    entry(b"PaxHeaders/x", b'x', &body)
}

fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ReadError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        if !entry.sparse {
            reader.content().take(1 << 20).read_to_end(&mut content)?;
        }
        entries.push((entry, content));
    }
    reader.finish()?;
    Ok(entries)
}

fn paths(parts: &[&[u8]]) -> Result<Vec<String>, ReadError> {
    let entries = read(&parts.concat())?;
    Ok(entries.into_iter().map(|(entry, _)| entry.path.escape_ascii().to_string()).collect())
}

#[test]
fn an_end_is_two_blocks_of_zeros_or_nothing_more() {
    let file = entry(b"a", b'0', b"1");
    for end in [&b""[..], &[0; 512], &[0; 1024], &[[0; 1024], [7; 1024]].concat()] {
        assert_eq!(paths(&[&file, end]).unwrap(), ["a"]);
    }
    assert!(read(b"").unwrap().is_empty());
    assert!(matches!(paths(&[&file, &[0; 512], &file]), Err(ReadError::LoneZeroBlock { offset: 1536 })));
    for cut in [100, 512] {
        assert!(matches!(read(&file[..cut]), Err(ReadError::Read(_))), "{cut}");
    }
    assert!(matches!(paths(&[&file, &[7; 512]]), Err(ReadError::Checksum { offset: 1024 })));
}

#[test]
fn last_padding_may_be_missing() {
    let [first, last] = [entry(b"a", b'0', b"1234"), entry(b"b", b'0', b"5678")];
    let bytes = [first, last].concat();
    for cut in [1024 + 512 + 4, 1024 + 512 + 100] {
        let read = read(&bytes[..cut]).unwrap();
        assert_eq!(read[1].1, b"5678", "{cut}");
    }
    assert!(matches!(read(&bytes[..1024 + 512 + 3]), Err(ReadError::Read(_))), "content is cut off");
}

#[test]
fn bytes_after_the_end_are_read_to_the_last() {
    let bytes = [&entry(b"a", b'0', b"1")[..], &[0; 1024], b"garbage"].concat();
    let mut left = &bytes[..];
    let mut reader = Reader::new(&mut left);
    reader.next_entry().unwrap();
    reader.finish().unwrap();
    assert!(left.is_empty());
}

#[test]
fn pax_says_more_than_the_header() {
    let value = b"new\nline\0=\xff11 path=evil\n";
    let extended = pax(&[
        ("path", b"long"),
        ("size", b"3"),
        ("uid", b"4294967294"),
        ("mtime", b"-1.5"),
        ("SCHILY.xattr.user.x", value),
        ("linkpath", b"ignored"),
        ("path", b"last"),
    ]);
    let content = [&b"abc"[..], &[0; 509]].concat();
    let (entry, content) =
        read(&[&extended[..], &header(b"h", b'0', 0), &content].concat()).unwrap().remove(0);
    assert_eq!((&entry.path[..], &content[..]), (&b"last"[..], &b"abc"[..]));
    assert_eq!((entry.uid, entry.mtime, entry.mode), (4_294_967_294, -2, 0o644));
    assert_eq!(entry.xattrs[&b"user.x".to_vec()], value);
}

#[test]
fn global_headers_may_hold_remarks_alone() {
    let global = |key, value| entry(b"g", b'g', &[record(key, value), record("comment", b"x")].concat());
    let file = entry(b"a", b'0', b"");
    assert_eq!(paths(&[&global("comment", b"y"), &file]).unwrap(), ["a"]);
    for (key, value) in [("uid", &b"7"[..]), ("mtime", b"1"), ("SCHILY.xattr.user.a", b"b"), ("path", b"x")] {
        let result = paths(&[&global(key, value), &file]);
        assert!(matches!(result, Err(ReadError::Ambiguous { .. })), "{key}: {result:?}");
    }
    let between = [&pax(&[("path", b"b")])[..], &global("comment", b"y"), &file];
    assert!(matches!(paths(&between), Err(ReadError::Ambiguous { .. })));
}

#[test]
fn gnu_long_names_are_read() {
    let long = "x".repeat(300);
    let name = entry(b"././@LongLink", b'L', &[long.as_bytes(), b"\0"].concat());
    let link = entry(b"././@LongLink", b'K', &[b"t/", long.as_bytes(), b"\0"].concat());
    let entries = read(&[&name[..], &link, &entry(b"short", b'2', b"")].concat()).unwrap();
    assert_eq!(entries[0].0.path, long.as_bytes());
    let EntryKind::Symlink { target } = &entries[0].0.kind else { panic!() };
    assert_eq!(*target, format!("t/{long}").as_bytes());
}

#[test]
fn what_readers_disagree_on_is_refused() {
    let file = entry(b"a", b'0', b"");
    let long = entry(b"", b'L', b"one\0");
    let global = |key| entry(b"g", b'g', &record(key, b"1"));
    for (what, parts) in [
        ("two names", vec![long.clone(), pax(&[("path", b"two")])]),
        ("two extended headers", vec![pax(&[("path", b"a")]), pax(&[("path", b"b")])]),
        ("two long names", vec![long.clone(), long.clone()]),
        ("a path for all", vec![global("path")]),
        ("a size for all", vec![global("size")]),
        ("a NUL in a path", vec![pax(&[("path", b"a\0b")])]),
        ("a NUL in a link", vec![pax(&[("linkpath", b"a\0b")])]),
        ("a directory with content", vec![entry(b"d/", b'5', b"x")]),
        ("a link with content", vec![entry(b"l", b'2', b"x")]),
        ("a file by type, a directory by name", vec![entry(b"d/", b'0', b"")]),
        ("a size for a hard link", vec![pax(&[("size", b"512")]), entry(b"h", b'1', b"")]),
        (
            "a hard link's size after a pax header",
            vec![pax(&[("uid", b"1")]), header(b"h", b'1', 512).to_vec()],
        ),
        ("an empty path", vec![pax(&[("path", b"")])]),
        ("an empty size", vec![pax(&[("size", b"")])]),
        ("a sparse name alone", vec![pax(&[("GNU.sparse.name", b"x")])]),
        (
            "an unknown kind of sparse file",
            vec![pax(&[
                ("GNU.sparse.major", b"2"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"9"),
            ])],
        ),
        (
            "a sparse link",
            vec![
                pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")]),
                entry(b"l", b'2', b""),
            ],
        ),
        (
            "a sparse directory, which is one by its name alone",
            vec![
                pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")]),
                entry(b"d/", 0, b""),
            ],
        ),
        ("a prefix in a GNU header", vec![buggy_gnu()]),
        ("a directory with content by pax", vec![pax(&[("size", b"512")]), entry(b"d/", b'5', b"")]),
    ] {
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).chain([&file[..]]).collect();
        assert!(paths(&parts).is_err(), "{what}");
    }
    assert_eq!(paths(&[&long, &pax(&[("path", b"one")]), &file]).unwrap(), ["one"]);
    assert!(paths(&[&pax(&[("path", b"a")])]).is_err(), "an extended header without an entry");
    // The size of the file it links to is noted by some, and is no content for anybody.
    assert_eq!(paths(&[&header(b"h", b'1', 512), &file]).unwrap(), ["h", "a"]);
}

#[test]
fn sizes_without_bounds_are_refused() {
    let file = entry(b"a", b'0', b"");
    for size in [1 << 60, i64::MAX as u64] {
        // Such a file may be announced, but its content isn't there.
        let bytes = header(b"a", b'0', size);
        let mut reader = Reader::new(&bytes[..]);
        assert_eq!(reader.next_entry().unwrap().unwrap().size, size);
        assert!(reader.next_entry().is_err());
        let extension = header(b"a", b'x', size);
        assert!(matches!(read(&extension), Err(ReadError::TooLarge { .. })));
        assert!(matches!(read(&header(b"a", b'L', size)), Err(ReadError::TooLarge { .. })));
    }
    assert!(matches!(read(&header(b"a", b'0', 1 << 63)), Err(ReadError::Number { field: "size" })));
    assert!(matches!(read(&header(b"a", b'0', u64::MAX)), Err(ReadError::Number { field: "size" })));
    let huge = pax(&[("size", b"18446744073709551615")]);
    assert!(paths(&[&huge, &file]).is_err());
    let path = vec![b'a'; MAX_PATH + 1];
    assert!(matches!(paths(&[&pax(&[("path", &path)]), &file]), Err(ReadError::TooLarge { .. })));
}

#[test]
fn old_sparse_maps_are_passed_over_within_bounds() {
    let mut block = header(b"s", b'S', 512);
    block[257..265].copy_from_slice(b"ustar  \0");
    block[482] = 1;
    set_number(&mut block, 483, 1 << 40);
    let block = with_checksum(block);
    let mut map = [0; BLOCK];
    map[504] = 1;
    let data = [5; BLOCK];
    let file = entry(b"a", b'0', b"x");
    let bytes = [&block[..], &map, &[0; BLOCK], &data, &file].concat();
    let entries = read(&bytes).unwrap();
    assert_eq!((entries[0].0.size, entries[0].0.sparse, entries[1].1.len()), (1 << 40, true, 1));
    let endless = [&block[..], &map.repeat(3000)].concat();
    assert!(matches!(read(&endless), Err(ReadError::TooLarge { .. })));
    assert_eq!(
        Reader::new(&bytes[..]).content().read(&mut [0]).unwrap(),
        0,
        "there is no content before the first entry"
    );
}

#[test]
fn a_small_read_is_as_good_as_a_large_one() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(7);
            self.0.read(&mut buffer[..most])
        }
    }
    let bytes = [entry(b"a", b'0', &[1; 3000]), entry(b"b", b'0', b"x")].concat();
    let mut reader = Reader::new(Trickle(&bytes));
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    reader.content().read_exact(&mut [0; 10]).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"b");
    assert!(reader.next_entry().unwrap().is_none() && reader.next_entry().unwrap().is_none());
}

fn sample() -> Vec<u8> {
    let xattr: (&str, &[u8]) = ("SCHILY.xattr.a", b"b");
    [
        entry(b"d/", b'5', b""),
        pax(&[("path", b"d/long"), ("size", b"600"), xattr]),
        entry(b"x", b'0', &[3; 600]),
        entry(b"", b'L', b"d/longer\0"),
        entry(b"y", b'2', b""),
        entry(b"g", b'g', &record("comment", b"1.5")),
        entry(b"z", b'0', b"z"),
        vec![0; 1024],
    ]
    .concat()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        drop(read(&bytes));
    }

    /// Headers with sound checksums around anything.
    #[test]
    fn no_header_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        repair in any::<bool>(),
    ) {
        let mut bytes = sample();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if repair {
            for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
                let sound = with_checksum((&*block).try_into().unwrap());
                block.copy_from_slice(&sound);
            }
        }
        drop(read(&bytes));
    }

    #[test]
    fn records_are_read_as_written(path in "[^\0]{0,199}[^\0/]", value in proptest::collection::vec(any::<u8>(), 0..300)) {
        let extended = pax(&[("path", path.as_bytes()), ("SCHILY.xattr.user.k", &value)]);
        let (entry, _) = read(&[extended, entry(b"x", b'0', b"")].concat()).unwrap().remove(0);
        prop_assert_eq!(entry.path, path.as_bytes());
        prop_assert_eq!(&entry.xattrs[&b"user.k".to_vec()], &value);
    }
}
