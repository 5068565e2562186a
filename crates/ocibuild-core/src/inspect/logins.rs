//! Passwords in files that are known by their names: they look like nothing that would be one elsewhere.
//! What a file is called the image says, so all that begin as such files do are looked at.

use crate::inspect::secrets::Hit;

/// As far as such files are read, in bytes.
const MOST: usize = 64 << 10;

/// The shortest password: others are examples.
const LEAST: usize = 4;

/// Finds the first password in a file, by its beginning.
pub(super) fn login(bytes: &[u8]) -> Option<Hit> {
    let bytes = &bytes[..bytes.len().min(MOST)];
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.into_iter().find(|line| !line.is_empty() && !matches!(line[0], b'#' | b';'))?;
    let word = first.split(u8::is_ascii_whitespace).next()?;
    let (id, find): (_, fn(&str) -> Option<usize>) = match word {
        b"machine" | b"default" | b"macdef" => (Hit::NETRC, netrc),
        b"[distutils]" | b"[pypi]" | b"[testpypi]" | b"[server-login]" => (Hit::PYPIRC, pypirc),
        _ if word.starts_with(b"https://") || word.starts_with(b"http://") => (Hit::GIT, git),
        _ => return None,
    };
    // All that is looked for is ASCII. What isn't, such as a comment in Latin-1, keeps its places.
    let plain = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
    let at = find(&bytes.iter().map(plain).collect::<String>())?;
    let line = Some(1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64);
    Some(Hit { id: id.to_owned(), offset: at as u64, line, begin: String::new() })
}

/// In a `.netrc`: the word behind `password`.
fn netrc(text: &str) -> Option<usize> {
    let value = |at: usize| {
        let rest = text[at..].trim_ascii_start();
        let is_word = text[at..].starts_with(|byte: char| byte.is_ascii_whitespace());
        let length = rest.split_ascii_whitespace().next().map_or(0, str::len);
        (is_word && length >= LEAST).then(|| text.len() - rest.len())
    };
    text.match_indices("password").map(|(at, word)| at + word.len()).find_map(value)
}

/// In a `.pypirc`: what `password` is in any section. Tokens are known everywhere.
fn pypirc(text: &str) -> Option<usize> {
    fn password(line: &str) -> Option<&str> {
        let (name, value) = line.split_once(['=', ':'])?;
        let value = value.trim_ascii();
        let is_one =
            value.len() >= LEAST && !value.starts_with("pypi-") && !value.starts_with(['$', '%', '<']);
        (name.trim_ascii() == "password" && is_one).then_some(value)
    }
    text.lines().find_map(password).map(|value| place(text, value))
}

/// In what git's store of credentials keeps: `https://USER:PASSWORD@HOST`, one a line.
fn git(text: &str) -> Option<usize> {
    fn password(line: &str) -> Option<&str> {
        let (_, rest) = line.trim_ascii().split_once("://")?;
        let (login, _) = rest.split('/').next()?.rsplit_once('@')?;
        let (_, password) = login.split_once(':')?;
        (password.len() >= LEAST && !password.starts_with(['$', '{', '<'])).then_some(password)
    }
    text.lines().find_map(password).map(|value| place(text, value))
}

/// Where a part of a text is.
fn place(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<(String, u64, Option<u64>)> {
        login(text.as_bytes()).map(|hit| (hit.id, hit.offset, hit.line))
    }

    #[test]
    fn passwords_are_found_in_files_that_have_them() {
        let pypirc =
            "# mine\n[distutils]\nindex-servers =\n  own\n\n[own]\nusername = me\npassword = hunter2 x\n";
        assert_eq!(told(pypirc), Some((Hit::PYPIRC.to_owned(), 73, Some(8))));
        let git = "https://example.org\nhttps://me:hunter2@git.example.com/team\n";
        assert_eq!(told(git), Some((Hit::GIT.to_owned(), 31, Some(2))));
        let netrc = "machine a.example login b password hunter2\n";
        assert_eq!(told(netrc), Some((Hit::NETRC.to_owned(), 35, Some(1))));
        for none in [
            "[pypi]\nusername = __token__\npassword = pypi-AgEI\n",
            "[pypi]\npassword = ${PASSWORD}\n",
            "[database]\npassword = hunter2\n",
            "https://example.org/a:b@c\nhttps://me@example.org\n",
            "https://me:${TOKEN}@example.org\n",
            "see https://me:hunter2@example.org\n",
            "",
        ] {
            assert_eq!(told(none), None, "{none}");
        }
    }

    #[test]
    fn passwords_are_found_beside_bytes_that_are_no_text() {
        let found = |bytes: &[u8]| login(bytes).map(|hit| (hit.offset, hit.line));
        let latin1 = b"# M\xfcller's\nmachine a.example login m\xfcller password h\xfcnter2\n";
        assert_eq!(found(latin1), Some((51, Some(2))));
        assert_eq!(found(b"[pypi]\n; \xe9\npassword: hunter2\n"), Some((21, Some(3))));
        assert_eq!(found(b"https://m\xe9:hunter2@a.example\n"), Some((11, Some(1))));
        // A character that is cut in two where reading ends.
        let mut long = b"machine a.example password hunter2\n#".to_vec();
        long.resize(MOST - 1, b' ');
        long.extend("ü\n".as_bytes());
        assert_eq!(found(&long), Some((27, Some(1))));
    }

    #[test]
    fn what_a_file_is_called_says_what_it_is() {
        let hit = |id: &str| Hit { id: id.to_owned(), offset: 0, line: None, begin: String::new() };
        for (id, path, other) in [
            (Hit::NETRC, "root/.netrc", "root/netrc.txt"),
            (Hit::PYPIRC, "root/.pypirc", "app/pypirc.ini"),
            (Hit::GIT, "root/.git-credentials", "app/links.txt"),
            (Hit::GIT, "root/.config/git/credentials", "app/credentials"),
        ] {
            assert!(hit(id).is_at(path.as_bytes()) && !hit(id).is_at(other.as_bytes()), "{path}");
        }
        assert!(hit("secret-npm-token").is_at(b"app/links.txt"));
    }
}
