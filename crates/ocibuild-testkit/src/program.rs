//! The smallest program worth putting into an image.

/// Offset of the code: behind a 64-byte ELF header and one 56-byte program header.
const CODE: usize = 120;
const BASE: u64 = 0x40_0000;

/// Assembles a static x86-64 Linux program that prints `text` and exits with code 0.
///
/// It needs no file but itself, so it runs in an image from scratch.
pub fn hello_program(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("the text is short");
    let code = code(length);
    let size = (CODE + code.len() + text.len()) as u64;
    let mut elf = header();
    elf.extend(program_header(size));
    elf.extend(code);
    elf.extend(text.as_bytes());
    elf
}

fn header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec(); // 64 bits, little-endian, version 1
    header.resize(16, 0);
    header.extend([2, 0]); // an executable
    header.extend([62, 0]); // x86-64
    header.extend(1u32.to_le_bytes());
    header.extend((BASE + CODE as u64).to_le_bytes()); // entry
    header.extend(64u64.to_le_bytes()); // the program header follows this one
    header.extend(0u64.to_le_bytes()); // no sections
    header.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    header
}

fn program_header(size: u64) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(1u32.to_le_bytes()); // to be loaded
    header.extend(5u32.to_le_bytes()); // readable and executable
    for word in [0, BASE, BASE, size, size, 0x1000] {
        header.extend(word.to_le_bytes());
    }
    header
}

/// `write(1, text, length); exit(0)`.
fn code(length: u32) -> Vec<u8> {
    let mut code = vec![0xb8, 1, 0, 0, 0]; // mov eax, 1 (write)
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1 (standard output)
    code.extend([0x48, 0x8d, 0x35, 16, 0, 0, 0]); // lea rsi, [rip + 16]: past what follows
    code.push(0xba); // mov edx, length
    code.extend(length.to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 60, 0, 0, 0]); // mov eax, 60 (exit)
    code.extend([0x31, 0xff]); // xor edi, edi
    code.extend([0x0f, 0x05]); // syscall
    code
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::command::run;
    use crate::tree::TempTree;
    use std::process::Command;

    #[test]
    fn program_prints_its_text() {
        let tree = TempTree::new().file_with_mode("hello", hello_program("hi there\n"), 0o755);
        let output = run(&mut Command::new(tree.join("hello")));
        assert_eq!(output.stdout, b"hi there\n");
    }
}
