//! Tar bytes, as wrong as anybody likes.

pub(crate) const BLOCK: usize = 512;
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// One header in the making; GNU's dialect lets every field say what it can't in others.
#[derive(Clone)]
pub(crate) struct Header([u8; BLOCK]);

impl Header {
    /// A ustar header of root's, mode 0644, changed at 1, without content.
    pub(crate) fn new(path: &[u8], flag: u8) -> Self {
        let mut block = [0; BLOCK];
        block[..path.len()].copy_from_slice(path);
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let mode = if flag == b'5' { 0o755 } else { 0o644 };
        Self(block).mode(mode).number(108, 8, 0).number(116, 8, 0).size(0).mtime(1)
    }

    pub(crate) fn mode(self, mode: u64) -> Self {
        self.number(100, 8, mode)
    }

    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        self.base256(108, 8, i128::from(uid)).base256(116, 8, i128::from(gid))
    }

    pub(crate) fn size(self, size: u64) -> Self {
        match size < 1 << 33 {
            true => self.number(124, 12, size),
            false => self.base256(124, 12, i128::from(size)),
        }
    }

    pub(crate) fn mtime(self, seconds: i64) -> Self {
        match u64::try_from(seconds) {
            Ok(seconds) => self.number(136, 12, seconds),
            Err(_) => self.base256(136, 12, i128::from(seconds)),
        }
    }

    pub(crate) fn link(self, target: &[u8]) -> Self {
        self.raw(157, target)
    }

    pub(crate) fn gnu(self) -> Self {
        self.raw(257, b"ustar  \0")
    }

    /// Puts bytes at an offset.
    pub(crate) fn raw(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn number(self, offset: usize, width: usize, number: u64) -> Self {
        let text = format!("{number:0width$o}\0", width = width - 1);
        self.raw(offset, text.as_bytes())
    }

    /// GNU's way of numbers: the first bit set, then two's complement.
    pub(crate) fn base256(self, offset: usize, width: usize, number: i128) -> Self {
        let bytes = number.to_be_bytes();
        let mut field = bytes[bytes.len() - width..].to_vec();
        field[0] |= 0x80;
        self.raw(offset, &field)
    }

    pub(crate) fn done(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.raw(148, format!("{sum:06o}\0 ").as_bytes()).0
    }
}

/// Entries, one behind the other.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// From lines: `d path`, `f path content`, `l path target`, `h path target`.
    pub(crate) fn of(lines: &str) -> Self {
        lines.lines().fold(Self::new(), |tar, line| {
            let mut words = line.splitn(3, ' ');
            let (kind, path) = (words.next().unwrap(), words.next().unwrap().as_bytes());
            let word = words.next().unwrap_or_default().as_bytes();
            match kind {
                "d" => tar.dir(path),
                "f" => tar.file(path, word),
                "l" => tar.add(Header::new(path, b'2').mode(0o777).link(word)),
                "h" => tar.add(Header::new(path, b'1').link(word)),
                other => panic!("{other}"),
            }
        })
    }

    pub(crate) fn add(self, header: Header) -> Self {
        self.bytes(&header.done())
    }

    pub(crate) fn with(self, header: Header, content: &[u8]) -> Self {
        self.add(header).bytes(content).pad()
    }

    pub(crate) fn file(self, path: &[u8], content: &[u8]) -> Self {
        self.with(Header::new(path, b'0').size(content.len() as u64), content)
    }

    pub(crate) fn dir(self, path: &[u8]) -> Self {
        self.add(Header::new(path, b'5'))
    }

    /// GNU's long name or link: flag `L` or `K`.
    pub(crate) fn long(self, flag: u8, name: &[u8]) -> Self {
        let name = [name, b"\0"].concat();
        self.with(Header::new(b"././@LongLink", flag).gnu().size(name.len() as u64), &name)
    }

    /// PAX records before the next entry, or with `g` for all.
    pub(crate) fn pax(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.with(Header::new(b"PaxHeaders/x", flag).size(body.len() as u64), &body)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// With the end that a tar should have.
    pub(crate) fn end(self) -> Vec<u8> {
        self.bytes(&END).0
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length += 1;
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
