//! Which files a container starts: the first word of its command line, and what well-known programs hand
//! on to.

use crate::checks::root::{Lookup, Root, last};

/// Programs that do something and then start what the rest of their command line says.
const HANDS_ON: [&str; 14] = [
    "catatonit",
    "chpst",
    "docker-init",
    "dumb-init",
    "env",
    "gosu",
    "nice",
    "pid1",
    "setpriv",
    "stdbuf",
    "su-exec",
    "tini",
    "tini-static",
    "with-contenv",
];

/// How a container is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The words of the entrypoint, and those of the command behind it.
    pub entrypoint: &'a [String],
    /// The same.
    pub command: &'a [String],
    /// The working directory; empty where it is the root.
    pub directory: &'a str,
}

/// Where programs are looked for.
pub(super) struct Ways<'a> {
    pub(super) start: Start<'a>,
    /// The directories in `PATH`.
    pub(super) search: Vec<String>,
}

impl Ways<'_> {
    /// The paths at which a program may be.
    pub(super) fn of(&self, program: &str) -> Vec<String> {
        match program.contains('/') {
            true => vec![self.absolute(program)],
            false => self.search.iter().map(|directory| format!("{directory}/{program}")).collect(),
        }
    }

    /// A path as it is seen from the working directory.
    pub(super) fn absolute(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.start.directory),
        }
    }

    /// The paths of files that are started. `is_script` says of a file of the image's own layers whether
    /// it is a script.
    pub(super) fn started(&self, root: &Root<'_>, is_script: &dyn Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let find = |word: &String| match root.first(&self.of(word)) {
            Lookup::There(path) => Some(path),
            Lookup::Missing | Lookup::Unknown => None,
        };
        let Start { entrypoint, command, .. } = self.start;
        let mut words = entrypoint.iter().chain(command);
        let Some(first) = words.next() else { return Vec::new() };
        let program = find(first);
        let mut started: Vec<Vec<u8>> = program.iter().cloned().collect();
        let hands_on = HANDS_ON.contains(&&*String::from_utf8_lossy(last(first.as_bytes())));
        // A script before a command ends with `exec "$@"`.
        let is_before =
            entrypoint.len() == 1 && !command.is_empty() && program.is_some_and(|path| is_script(&path));
        if hands_on || is_before {
            let mut next = words.take(if hands_on { usize::MAX } else { 1 });
            started.extend(next.find(|word| word.contains('/') && !word.starts_with('-')).and_then(find));
        }
        started
    }
}
