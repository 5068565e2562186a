//! Questions at the terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _, stderr, stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Tells whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    stdin().is_terminal()
}

/// Asks for a line.
///
/// # Errors
/// [`Failure::Terminal`] if the terminal fails.
pub(crate) fn line(question: &str) -> Result<String, Failure> {
    ask(question)?;
    let mut line = String::new();
    stdin().read_line(&mut line).map_err(Failure::Terminal)?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that isn't shown.
///
/// # Errors
/// [`Failure::Terminal`] if the terminal fails, [`Failure::Interrupted`] if Ctrl-C is the answer.
pub(crate) fn secret(question: &str) -> Result<String, Failure> {
    let silence = Silence::begin().map_err(Failure::Terminal)?;
    ask(question)?;
    let answer = read_secret();
    drop(silence);
    let _ = stderr().write_all(b"\n");
    answer
}

fn ask(question: &str) -> Result<(), Failure> {
    let mut stderr = stderr().lock();
    stderr
        .write_all(format!("{question}: ").as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(Failure::Terminal)
}

/// Byte by byte, as the terminal does nothing for us now: no editing, and no signals.
fn read_secret() -> Result<String, Failure> {
    let mut line: Vec<u8> = Vec::new();
    for byte in stdin().lock().bytes() {
        match byte.map_err(Failure::Terminal)? {
            b'\r' | b'\n' => break,
            // Ctrl-C; Ctrl-D.
            0x03 => return Err(Failure::Interrupted),
            0x04 if line.is_empty() => break,
            // Backspace takes a character, Ctrl-U all.
            0x08 | 0x7f => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => line.clear(),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| Failure::usage("that is not UTF-8"))
}

/// A terminal that shows nothing of what is typed, for as long as this lives.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        // Signals come as bytes, so that nothing ends us before the terminal is as it was.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}
