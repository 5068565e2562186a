//! Programs that couldn't start: what the kernel and the loader would look for isn't in the image.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::Listing;
use crate::checks::alone::LayerView;
use crate::checks::finding::{Draft, Findings};
use crate::checks::loader::{self, Libc, machine};
use crate::checks::root::{Contents, Lookup, Root, last};
use crate::inspect::{Elf, Inspected, Severity};
use crate::oci::Platform;
use crate::spec::Located;

/// An image for a platform, with its layers there.
#[derive(Clone, Copy)]
pub struct ImageView<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// What the base holds.
    pub listing: &'a Listing,
    /// Its own layers, bottom first.
    pub layers: &'a [LayerView<'a>],
    /// What these hold.
    pub contents: &'a dyn Contents,
    /// The environment, with what it inherits: `NAME=VALUE`.
    pub env: &'a [String],
    /// The program that it starts.
    pub program: Option<&'a str>,
    /// Whether programs may need neither a loader nor libraries.
    pub is_static: Option<Located<bool>>,
}

/// Where programs lie that nobody may ever start: what package managers bring for all systems.
const BROUGHT: [&str; 5] = ["node_modules", "site-packages", "dist-packages", "vendor", "bower_components"];

fn is_brought(path: &str) -> bool {
    path.split('/').any(|name| BROUGHT.contains(&name))
}

/// Where programs are looked for if nothing else is said.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Judges the programs in an image's own layers.
pub fn programs<'a>(view: ImageView<'a>, findings: &mut Findings<'a>) {
    // Other systems have other loaders.
    let inspections = || view.layers.iter().filter_map(|layer| layer.inspection);
    let has_any = inspections().any(|inspection| !inspection.files.is_empty());
    if view.platform.os != "linux" || !has_any {
        return;
    }
    let root = Root::new(view.listing, inspections(), view.contents);
    let variable = |name: &str| {
        let value = view.env.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.split(':').filter(|path| path.starts_with('/')).map(str::to_owned).collect())
    };
    let search = variable("PATH").unwrap_or_else(|| PATH.split(':').map(str::to_owned).collect());
    let mut judge = Judge {
        root,
        search,
        libraries: variable("LD_LIBRARY_PATH").unwrap_or_default(),
        started: None,
        view,
        loaded: BTreeSet::new(),
        has: [OnceCell::new(), OnceCell::new()],
    };
    judge.started = view.program.and_then(|program| judge.find_program(program));
    let mut libraries = Vec::new();
    // The layer above has the file, whatever those below have there.
    let mut last_of = BTreeMap::new();
    for (index, layer) in view.layers.iter().enumerate() {
        for file in layer.inspection.iter().flat_map(|inspection| &inspection.files) {
            last_of.insert(file.path.as_str(), (index, file));
        }
    }
    for (index, file) in last_of.values() {
        findings.in_layer(Some(view.layers[*index].label));
        judge.file(file, findings);
        if file.elf.as_ref().is_some_and(|elf| elf.interpreter.is_none() && !elf.needed.is_empty()) {
            libraries.push((*index, *file));
        }
    }
    for (index, file) in libraries {
        findings.in_layer(Some(view.layers[index].label));
        judge.library(file, findings);
    }
    findings.in_layer(None);
}

struct Judge<'a> {
    root: Root<'a>,
    /// Where programs are looked for, and libraries.
    search: Vec<String>,
    libraries: Vec<String>,
    /// The path of the program that is started.
    started: Option<Vec<u8>>,
    view: ImageView<'a>,
    /// Libraries of own layers that a program was seen to load.
    loaded: BTreeSet<Vec<u8>>,
    has: [OnceCell<bool>; 2],
}

/// A library that isn't found.
struct Missing {
    name: String,
    /// Who needs it.
    by: Vec<u8>,
    /// Where it is, if it is somewhere else.
    elsewhere: Option<Vec<u8>>,
}

impl Judge<'_> {
    fn find_program(&self, program: &str) -> Option<Vec<u8>> {
        match self.root.first(&self.program_paths(program)) {
            Lookup::There(path) => Some(path),
            Lookup::Missing | Lookup::Unknown => None,
        }
    }

    /// Where a program is looked for.
    fn program_paths(&self, program: &str) -> Vec<String> {
        match program.contains('/') {
            true => vec![program.to_owned()],
            false => self.search.iter().map(|directory| format!("{directory}/{program}")).collect(),
        }
    }

    /// Tells whether the image has a C library.
    fn has(&self, libc: Libc) -> bool {
        *self.has[libc as usize].get_or_init(|| libc.is_in(&self.root))
    }

    fn is_started(&self, file: &Inspected) -> bool {
        self.started.as_deref() == Some(file.path.as_bytes())
    }

    /// How bad it is at most if a file doesn't start.
    fn weight(&self, file: &Inspected) -> Option<Severity> {
        let counts = self.is_started(file) || (file.mode & 0o111 != 0 && !is_brought(&file.path));
        (!counts).then_some(Severity::Warning)
    }

    fn file(&mut self, file: &Inspected, findings: &mut Findings<'_>) {
        if let Some(script) = &file.script {
            self.script(file, (&script.interpreter, script.program.as_deref()), findings);
        }
        let Some(elf) = &file.elf else { return };
        if self.is_started(file) {
            self.architecture(file, elf, findings);
        }
        if let Some(demand) = self.view.is_static.filter(|demand| demand.value) {
            self.not_static(file, elf, demand, findings);
        }
        let Some(interpreter) = &elf.interpreter else { return };
        match self.root.file(interpreter) {
            Lookup::Unknown => {}
            Lookup::Missing => self.no_loader(file, interpreter, findings),
            Lookup::There(_) => {
                for missing in self.missing(file, elf) {
                    self.no_library(file, &missing, self.weight(file), findings);
                }
            }
        }
    }

    fn architecture(&self, file: &Inspected, elf: &Elf, findings: &mut Findings<'_>) {
        let Some(machine) = machine(elf) else { return };
        let platform = self.view.platform;
        let own = platform.architecture.as_str();
        let is_kin = own == machine || matches!((own, machine), ("amd64", "386") | ("arm64", "arm"));
        if !is_kin {
            findings.add(Draft {
                id: "elf-wrong-architecture",
                path: Some(&file.path),
                message: format!(
                    "`/{}`, which is started, is for {machine}, and the image for {platform}",
                    file.path
                ),
                hint: Some(format!("build it for {own}")),
                ..Draft::default()
            });
        }
    }

    fn not_static(&self, file: &Inspected, elf: &Elf, demand: Located<bool>, findings: &mut Findings<'_>) {
        let needs = match (&elf.interpreter, &elf.needed[..]) {
            (Some(interpreter), _) => format!("the loader `{interpreter}`"),
            (None, [first, ..]) => format!("the library `{first}`"),
            (None, []) => return,
        };
        findings.add(Draft {
            id: "elf-not-static",
            path: Some(&file.path),
            message: format!("`/{}` isn't static: it needs {needs}", file.path),
            hint: Some(
                "link it statically (`CGO_ENABLED=0`, a `-musl` target, `-static`), or leave `static` out"
                    .to_owned(),
            ),
            span: demand.span,
            ..Draft::default()
        });
    }

    fn no_loader(&self, file: &Inspected, interpreter: &str, findings: &mut Findings<'_>) {
        let wanted = Libc::of_loader(interpreter);
        let other =
            [Libc::Glibc, Libc::Musl].into_iter().find(|libc| Some(*libc) != wanted && self.has(*libc));
        let path = &file.path;
        let draft = Draft { path: Some(path), at_most: self.weight(file), ..Draft::default() };
        findings.add(match wanted.zip(other) {
            Some((wanted, other)) => Draft {
                id: "elf-wrong-libc",
                message: format!(
                    "`/{path}` is made for {}, and the image has {}: its loader `{interpreter}` isn't there",
                    wanted.name(),
                    other.name()
                ),
                hint: Some(format!(
                    "build it for {}, or link it statically, or choose a base with {}",
                    other.name(),
                    wanted.name()
                )),
                ..draft
            },
            None => Draft {
                id: "elf-interpreter-missing",
                message: format!("`/{path}` can't start: its loader `{interpreter}` isn't in the image"),
                hint: Some(
                    "link it statically, or build on a base with the C library it was made for".to_owned(),
                ),
                ..draft
            },
        });
    }

    fn no_library(
        &self,
        file: &Inspected,
        missing: &Missing,
        at_most: Option<Severity>,
        findings: &mut Findings<'_>,
    ) {
        let Missing { name, by, elsewhere } = missing;
        let by = String::from_utf8_lossy(by);
        let by = if by == file.path { String::new() } else { format!(", by way of `/{by}`") };
        let (message, hint) = match elsewhere {
            None => (
                format!("`/{}` needs `{name}`{by}, which isn't in the image", file.path),
                "copy the library, or build on a base that has it".to_owned(),
            ),
            Some(path) => (
                format!("`/{}` needs `{name}`{by}, which its loader doesn't find", file.path),
                format!(
                    "it is at `/{}`: let `LD_LIBRARY_PATH` in `env` name that directory, or link with an rpath",
                    String::from_utf8_lossy(path)
                ),
            ),
        };
        // Who knows where it is may tell the program in another way.
        let elsewhere = elsewhere.as_ref().map(|_| Severity::Warning);
        let at_most = at_most.into_iter().chain(elsewhere).min();
        let (id, path) = ("elf-library-missing", Some(file.path.as_str()));
        findings.add(Draft { id, path, at_most, message, hint: Some(hint), ..Draft::default() });
    }

    /// Finds what a program doesn't find, with what its own libraries need.
    fn missing(&mut self, file: &Inspected, elf: &Elf) -> Vec<Missing> {
        let start = file.path.as_bytes().to_vec();
        let origin =
            file.path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("/{directory}"));
        let inherited = loader::own(elf, &origin);
        let (mut seen, mut missing) = (BTreeSet::<String>::new(), Vec::new());
        let mut left: Vec<(Vec<u8>, Elf)> = vec![(start, elf.clone())];
        while let Some((path, elf)) = left.pop() {
            let directories = loader::directories(&elf, &path, &inherited, &self.libraries);
            for name in elf.needed.iter().filter(|name| !is_loader(name)) {
                if !seen.insert(name.clone()) {
                    continue;
                }
                match self.library_at(name, &directories) {
                    Lookup::Unknown => {}
                    Lookup::There(found) => {
                        if let Some(own) = self.root.programs.get(&found) {
                            left.push((found.clone(), (*own).clone()));
                            self.loaded.insert(found);
                        }
                    }
                    Lookup::Missing => match self.root.anywhere(last(name.as_bytes())) {
                        // The base's own configuration may lead its loader there.
                        Some((_, true)) => {}
                        found => missing.push(Missing {
                            name: name.clone(),
                            by: path.clone(),
                            elsewhere: found.map(|(path, _)| path),
                        }),
                    },
                }
            }
        }
        missing
    }

    fn library_at(&self, name: &str, directories: &[String]) -> Lookup {
        if name.contains('/') {
            return self.root.file(name);
        }
        let paths: Vec<String> = directories.iter().map(|directory| format!("{directory}/{name}")).collect();
        self.root.first(&paths)
    }

    /// Judges a library that no program was seen to load: who loads it may have loaded what it needs.
    fn library(&self, file: &Inspected, findings: &mut Findings<'_>) {
        let Some(elf) = file.elf.as_ref().filter(|_| !self.loaded.contains(file.path.as_bytes())) else {
            return;
        };
        let wanted = Libc::of_needed(elf);
        // Package managers bring one for each C library there is.
        if wanted.is_some_and(|libc| !self.has(libc)) {
            let libc = wanted.map_or("", Libc::name);
            return findings.add(Draft {
                id: "elf-wrong-libc",
                at_most: Some(if is_brought(&file.path) { Severity::Note } else { Severity::Warning }),
                path: Some(&file.path),
                message: format!("`/{}` is made for {libc}, which the image hasn't", file.path),
                hint: Some("leave it out, or install for the image's C library".to_owned()),
                ..Draft::default()
            });
        }
        let directories = loader::directories(elf, file.path.as_bytes(), &[], &self.libraries);
        for name in elf.needed.iter().filter(|name| !is_loader(name)) {
            let is_missing = self.library_at(name, &directories) == Lookup::Missing
                && self.root.anywhere(last(name.as_bytes())).is_none();
            if is_missing {
                let missing =
                    Missing { name: name.clone(), by: file.path.as_bytes().to_vec(), elsewhere: None };
                self.no_library(file, &missing, Some(Severity::Warning), findings);
            }
        }
    }

    fn script(&self, file: &Inspected, (path, program): (&str, Option<&str>), findings: &mut Findings<'_>) {
        if file.mode & 0o111 == 0 && !self.is_started(file) {
            return;
        }
        let missing = match (self.root.file(path), program) {
            (Lookup::Missing, _) => Some(path.to_owned()),
            (Lookup::There(_), Some(program)) if self.is_absent(program) => {
                Some(format!("{program}` in `PATH"))
            }
            _ => None,
        };
        let Some(missing) = missing else { return };
        findings.add(Draft {
            id: "script-interpreter-missing",
            at_most: self.script_weight(file),
            path: Some(&file.path),
            message: format!(
                "`/{}` can't start: it is run by `{missing}`, which isn't in the image",
                file.path
            ),
            hint: Some("build on a base that has it, or start another program".to_owned()),
            ..Draft::default()
        });
    }

    /// How bad it is at most if a script doesn't start: of most nobody wants that in a container.
    fn script_weight(&self, file: &Inspected) -> Option<Severity> {
        let directory =
            file.path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("/{directory}"));
        match self.search.contains(&directory) {
            _ if self.is_started(file) => None,
            true => Some(Severity::Warning),
            false => Some(Severity::Note),
        }
    }

    fn is_absent(&self, program: &str) -> bool {
        self.root.first(&self.program_paths(program)) == Lookup::Missing
    }
}

/// Loaders are there before what they load; musl's is its C library as well.
fn is_loader(name: &str) -> bool {
    name == "libc.so"
        || name.starts_with("ld-linux")
        || name.starts_with("ld-musl-")
        || name.starts_with("linux-vdso")
}
