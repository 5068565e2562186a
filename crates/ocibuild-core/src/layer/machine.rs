//! Which machine a program is for, by its first bytes.

use crate::oci::Platform;

/// How many of a file's first bytes are looked at.
pub(super) const PROBE: usize = 20;

/// The architectures that ELF tells apart here, by Go's names:
/// `e_machine`, bits (0 for either), little-endian. Their places are kept in caches: a new one goes to
/// the end, and with it a new version of [`Facts`](super::facts::Facts).
const MACHINES: &[(u16, u8, bool, &str)] = &[
    (0x03, 32, true, "386"),
    (0x3e, 64, true, "amd64"),
    (0x28, 32, true, "arm"),
    (0xb7, 64, true, "arm64"),
    (0xf3, 64, true, "riscv64"),
    (0x15, 64, true, "ppc64le"),
    (0x15, 64, false, "ppc64"),
    (0x16, 64, false, "s390x"),
    (0x102, 64, true, "loong64"),
    (0x08, 32, false, "mips"),
    (0x08, 32, true, "mipsle"),
    (0x08, 64, false, "mips64"),
    (0x08, 64, true, "mips64le"),
];

/// What programs of other systems are called, by their forms, and the numbers that stand for them.
const MACH_O: (&str, u8) = ("mach-o", 255);
const PE: (&str, u8) = ("pe", 254);

/// What stands for programs for whichever machines, of which some package manager brought one or more for
/// machines that the layer isn't for: that there are programs, which follow from the host.
pub(super) const BROUGHT: &str = "brought";

/// Where a file in PE form says where its header is, behind the program for DOS.
const PE_OFFSET: usize = 0x3c;

/// A file that begins as one in Mach-O form for several machines does, but names more of them, is a
/// Java class.
const MOST_MACHINES: u32 = 30;

/// Names the machine that a file is a program or library for, if it is one; or its form, if that is
/// another system's.
///
/// An ELF file for a machine without a name here, or for none (such as BPF), is nobody's.
pub(super) fn of(first: &[u8]) -> Option<&'static str> {
    of_elf(first).or_else(|| {
        let forms = [(is_mach_o(first), MACH_O), (is_pe(first), PE)];
        forms.into_iter().find(|(is_one, _)| *is_one).map(|(_, (name, _))| name)
    })
}

fn is_mach_o(first: &[u8]) -> bool {
    let Some((magic, rest)) = first.split_first_chunk::<4>() else { return false };
    let count = rest.first_chunk::<4>().map(|count| u32::from_be_bytes(*count));
    match u32::from_be_bytes(*magic) {
        0xfeed_face | 0xfeed_facf | 0xcefa_edfe | 0xcffa_edfe => true,
        0xcafe_babe | 0xcafe_babf => count.is_some_and(|count| (1..=MOST_MACHINES).contains(&count)),
        _ => false,
    }
}

fn is_pe(first: &[u8]) -> bool {
    let offset = first.get(PE_OFFSET..).and_then(|rest| rest.first_chunk::<4>());
    let header = offset.and_then(|offset| first.get(u32::from_le_bytes(*offset) as usize..));
    first.starts_with(b"MZ") && header.is_some_and(|header| header.starts_with(b"PE\0\0"))
}

fn of_elf(first: &[u8]) -> Option<&'static str> {
    let (class, data) = match first {
        [0x7f, b'E', b'L', b'F', class, data, ..] if first.len() >= PROBE => (*class, *data),
        _ => return None,
    };
    let little = data == 1;
    let pair = [first[18], first[19]];
    let machine = if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    let bits = if class == 2 { 64 } else { 32 };
    let found = MACHINES.iter().find(|known| (known.0, known.1, known.2) == (machine, bits, little));
    found.map(|(.., name)| *name)
}

/// Returns a machine's number, never 0.
pub(super) fn number(machine: &str) -> Option<u8> {
    if let Some((_, number)) = [MACH_O, PE].into_iter().find(|(name, _)| *name == machine) {
        return Some(number);
    }
    let place = MACHINES.iter().position(|(.., name)| *name == machine)?;
    u8::try_from(place + 1).ok()
}

/// Returns the machine of a number.
pub(super) fn numbered(number: u8) -> Option<&'static str> {
    if let Some((name, _)) = [MACH_O, PE].into_iter().find(|(_, own)| *own == number) {
        return Some(name);
    }
    let (.., name) = MACHINES.get(usize::from(number).checked_sub(1)?)?;
    Some(name)
}

/// The systems that don't run ELF files, by Go's names. Of one that isn't known it isn't said: an
/// image for it is rare enough, and its writer knows better.
const WITHOUT_ELF: [&str; 7] = ["windows", "darwin", "ios", "plan9", "aix", "js", "wasip1"];

/// Tells whether a platform runs ELF programs for a machine: its own, and that of its 32-bit kin,
/// if its system knows ELF at all.
///
/// Programs of other forms are nobody's fault. A Windows program in an image for Linux may be none of
/// Windows at all: .NET's libraries have that form everywhere.
pub(super) fn runs(platform: &Platform, machine: &str) -> bool {
    if [MACH_O.0, PE.0, BROUGHT].contains(&machine) {
        return true;
    }
    let own = platform.architecture.as_str();
    let is_kin = own == machine || matches!((own, machine), ("amd64", "386") | ("arm64", "arm"));
    is_kin && knows_elf(platform)
}

/// Says what a program is for that a platform doesn't run.
pub(super) fn describe(platform: &Platform, machine: &str) -> String {
    if knows_elf(platform) { machine.to_owned() } else { format!("Linux (ELF) on {machine}") }
}

fn knows_elf(platform: &Platform) -> bool {
    !WITHOUT_ELF.contains(&platform.os.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, data];
        bytes.resize(18, 0);
        bytes.extend(machine);
        bytes
    }

    #[test]
    fn programs_are_told_by_their_first_bytes() {
        assert_eq!(of(&elf(2, 1, [0x3e, 0])), Some("amd64"));
        assert_eq!(of(&elf(2, 1, [0xb7, 0])), Some("arm64"));
        assert_eq!(of(&elf(2, 2, [0, 0x16])), Some("s390x"));
        assert_eq!(of(&elf(2, 1, [0xf7, 0])), None, "BPF runs in any kernel");
        assert_eq!(of(&elf(2, 1, [0x3e, 0])[..19]), None);
        assert_eq!(of(b"#!/bin/sh\n echo hello world"), None);
    }

    #[test]
    fn programs_of_other_systems_are_told_by_their_form() {
        assert_eq!(of(b"\xcf\xfa\xed\xfe\x0c\0\0\x01"), Some("mach-o"));
        assert_eq!(of(b"\xca\xfe\xba\xbe\0\0\0\x02\x01\0\0\x07"), Some("mach-o"));
        assert_eq!(of(b"\xca\xfe\xba\xbe\0\0\0\x41\0\x1d"), None, "a class of Java 21");
        let mut windows = [0; 0x84];
        windows[..2].copy_from_slice(b"MZ");
        windows[0x3c] = 0x80;
        windows[0x80..].copy_from_slice(b"PE\0\0");
        assert_eq!(of(&windows), Some("pe"));
        assert_eq!(of(&windows[..0x82]), None);
        assert_eq!(of(b"MZ is how this text begins, and it goes on for long enough to have an offset"), None);
        for form in ["mach-o", "pe"] {
            assert_eq!(number(form).and_then(numbered), Some(form));
            assert!(runs(&Platform::linux_amd64(), form), "whatever it is for, it is data here");
        }
    }

    #[test]
    fn a_number_is_a_machines() {
        for (.., name) in MACHINES {
            assert_eq!(number(name).and_then(numbered), Some(*name));
        }
        assert!(numbered(0).is_none() && numbered(200).is_none() && number("z80").is_none());
    }

    #[test]
    fn a_machine_runs_its_own() {
        assert!(runs(&Platform::linux_amd64(), "amd64"));
        assert!(!runs(&Platform::linux_amd64(), "arm64"));
        assert!(!runs(&Platform::linux_arm64(), "amd64"));
    }

    #[test]
    fn a_system_without_elf_runs_none() {
        for os in ["windows", "darwin"] {
            let platform: Platform = format!("{os}/amd64").parse().unwrap();
            assert!(!runs(&platform, "amd64"), "{os}");
            assert_eq!(describe(&platform, "amd64"), "Linux (ELF) on amd64");
        }
        let platform: Platform = "freebsd/amd64".parse().unwrap();
        assert!(runs(&platform, "amd64"));
        assert_eq!(describe(&platform, "arm64"), "arm64");
    }
}
