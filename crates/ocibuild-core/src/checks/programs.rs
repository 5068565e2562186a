//! Programs that couldn't start: what the kernel and the loader would look for isn't in the image.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::Listing;
use crate::checks::alone::LayerView;
use crate::checks::brought::Brought;
use crate::checks::finding::{Draft, Findings};
use crate::checks::libraries::{Effort, Instead, Missing, Search};
use crate::checks::loader::{self, Kin, Libc, Loader, machine};
use crate::checks::root::{Contents, Lookup, Removed, Root, last};
use crate::checks::started::{Start, Ways};
use crate::inspect::{Elf, Inspected, Severity, is_foreign};
use crate::oci::Platform;
use crate::spec::Located;

/// An image for a platform, with its layers there.
#[derive(Clone, Copy)]
pub struct ImageView<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// What the base holds.
    pub listing: &'a Listing,
    /// What is taken away from that.
    pub removed: &'a [Removed],
    /// Its own layers, bottom first.
    pub layers: &'a [LayerView<'a>],
    /// What these hold.
    pub contents: &'a dyn Contents,
    /// The environment, with what it inherits: `NAME=VALUE`.
    pub env: &'a [String],
    /// What it starts.
    pub start: Start<'a>,
    /// Whether programs may need neither a loader nor libraries.
    pub is_static: Option<Located<bool>>,
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
    let root = Root::new((view.listing, view.removed), inspections(), view.contents);
    // The layer above has the file, whatever those below have there.
    let mut files = BTreeMap::new();
    for (index, layer) in view.layers.iter().enumerate() {
        for file in layer.inspection.iter().flat_map(|inspection| &inspection.files) {
            files.insert(file.path.as_str(), (index, file));
        }
    }
    let mut judge = Judge::new(view, root);
    let is_script = |path: &[u8]| {
        let file = std::str::from_utf8(path).ok().and_then(|path| files.get(path));
        file.is_some_and(|(_, file)| file.script.is_some())
    };
    judge.started = judge.ways.started(&judge.root, &is_script);
    let libraries = files.values().filter(|(_, file)| is_library(file));
    let top = view.layers.len() - 1;
    let judged = files.values().map(|file| (file, false)).chain(libraries.map(|file| (file, true)));
    for ((index, file), is_library) in judged {
        findings.in_layer(Some(view.layers[*index].label));
        let before = findings.len();
        match is_library {
            true => judge.library(file, findings),
            false => judge.file(file, findings),
        }
        // One above may have taken its place without anything to say of itself.
        if findings.len() > before && *index < top && !judge.root.is_still(file.path.as_bytes(), *index) {
            findings.truncate(before);
        }
    }
    judge.brought(files.values().copied(), findings);
    findings.in_layer(None);
}

fn is_library(file: &Inspected) -> bool {
    file.elf.as_ref().is_some_and(|elf| elf.interpreter.is_none() && !elf.needed.is_empty())
}

struct Judge<'a> {
    root: Root<'a>,
    ways: Ways<'a>,
    /// Where libraries are looked for.
    libraries: Vec<String>,
    /// The paths of the files that are started.
    started: Vec<Vec<u8>>,
    view: ImageView<'a>,
    /// Libraries of own layers that a program was seen to load.
    loaded: BTreeSet<Vec<u8>>,
    effort: Effort,
    has: [OnceCell<Option<Vec<u8>>>; 2],
}

impl<'a> Judge<'a> {
    fn new(view: ImageView<'a>, root: Root<'a>) -> Self {
        let variable =
            |name: &str| view.env.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let search = variable("PATH").unwrap_or(PATH).split(':');
        let search = search.filter(|path| path.starts_with('/')).map(str::to_owned).collect();
        let libraries = variable("LD_LIBRARY_PATH").unwrap_or_default().split([':', ';', '\n']);
        let libraries = libraries.filter(|path| !path.is_empty()).map(str::to_owned).collect();
        let ways = Ways { start: view.start, search };
        let (started, loaded, has) = (Vec::new(), BTreeSet::new(), [OnceCell::new(), OnceCell::new()]);
        Self { root, ways, libraries, started, view, loaded, effort: Effort::new(), has }
    }

    /// Where the image has a C library, if it has it.
    fn libc(&self, libc: Libc) -> Option<&[u8]> {
        let path = self.has[libc as usize].get_or_init(|| match libc.find(&self.root) {
            Lookup::There(path) => Some(path),
            Lookup::Missing => None,
            // Nobody knows that it hasn't.
            Lookup::Unknown => Some(Vec::new()),
        });
        path.as_deref()
    }

    fn has(&self, libc: Libc) -> bool {
        self.libc(libc).is_some()
    }

    fn is_started(&self, file: &Inspected) -> bool {
        self.started.iter().any(|path| path == file.path.as_bytes())
    }

    /// How bad it is at most if a file doesn't start.
    fn weight(&self, file: &Inspected) -> Option<Severity> {
        let counts = self.is_started(file) || (file.mode & 0o111 != 0 && !is_brought(file));
        (!counts).then_some(Severity::Warning)
    }

    fn file(&mut self, file: &Inspected, findings: &mut Findings<'_>) {
        if self.is_started(file) && file.mode & 0o111 == 0 {
            findings.add(Draft {
                id: "program-not-executable",
                path: Some(&file.path),
                message: format!(
                    "`/{}` is started, and may not be executed: its mode is {:o}",
                    file.path, file.mode
                ),
                hint: Some("set `mode = \"755\"`, or `preserve = [\"mode\"]`".to_owned()),
                ..Draft::default()
            });
        }
        if let Some(script) = &file.script {
            self.script(file, (&script.interpreter, script.program.as_deref()), findings);
        }
        let Some(elf) = &file.elf else { return };
        if let Some(demand) = self.view.is_static.filter(|demand| demand.value) {
            self.not_static(file, elf, demand, findings);
        }
        if self.is_foreign(elf) || self.is_spare(file, elf) {
            if self.is_started(file) {
                self.architecture(file, elf, findings);
            }
            return;
        }
        let Some(interpreter) = &elf.interpreter else { return };
        match self.root.file(interpreter) {
            Lookup::Unknown => {}
            Lookup::Missing => self.no_loader(file, interpreter, findings),
            Lookup::There(loader) => {
                let found = self.search(self.loader(interpreter, &loader)).all(&file.path, elf);
                self.loaded.extend(found.loaded);
                for missing in found.missing {
                    self.no_library(file, &missing, self.weight(file), findings);
                }
            }
        }
    }

    /// Whose loader a program has.
    fn loader(&self, interpreter: &str, file: &[u8]) -> Loader {
        let name = last(file);
        let is_musl = name.starts_with(b"ld-musl-") || name.starts_with(b"libc.musl-");
        match Libc::of_loader(interpreter) {
            Some(Libc::Musl) => Loader::Musl,
            _ if is_musl => Loader::Musl,
            // What stands in for glibc on musl, such as gcompat, has musl's loader do it.
            Some(Libc::Glibc) if !self.has(Libc::Glibc) && self.has(Libc::Musl) => Loader::Musl,
            Some(Libc::Glibc) => Loader::Glibc(Kin::of(self.libc(Libc::Glibc).unwrap_or_default())),
            None => Loader::Unknown,
        }
    }

    fn search(&self, loader: Loader) -> Search<'_> {
        let is_musl = loader == Loader::Musl;
        Search {
            root: &self.root,
            effort: &self.effort,
            loader,
            environment: &self.libraries,
            absolute: Box::new(|path| self.ways.absolute(path)),
            may_know: Box::new(move || match is_musl {
                true => self.root.first(&loader::path_files()) != Lookup::Missing,
                false => self.root.is_own(b"etc/ld.so.cache"),
            }),
        }
    }

    /// Tells whether a program is for a machine that isn't the platform's.
    fn is_foreign(&self, elf: &Elf) -> bool {
        let own = self.view.platform.architecture.as_str();
        machine(elf).is_some_and(|machine| {
            own != machine && !matches!((own, machine), ("amd64", "386") | ("arm64", "arm"))
        })
    }

    /// Tells whether a package brought a program of 32 bits, with those of 64, that nothing starts.
    fn is_spare(&self, file: &Inspected, elf: &Elf) -> bool {
        let is_own = machine(elf).is_none_or(|machine| machine == self.view.platform.architecture.as_str());
        !is_own && is_brought(file) && !self.is_started(file)
    }

    fn architecture(&self, file: &Inspected, elf: &Elf, findings: &mut Findings<'_>) {
        let (machine, platform) = (machine(elf).unwrap_or_default(), self.view.platform);
        let message =
            format!("`/{}`, which is started, is for {machine}, and the image for {platform}", file.path);
        // Of others it was said in the spec that they may be there.
        let is_let = !is_brought(file) || self.view.layers.iter().any(|layer| layer.lets_foreign);
        findings.add(Draft {
            id: "elf-wrong-architecture",
            by_default: (!is_let).then_some(Severity::Error),
            path: Some(&file.path),
            message,
            hint: Some(format!("build it for {}", platform.architecture)),
            ..Draft::default()
        });
    }

    /// Judges packages that brought programs, and none for the image's machine.
    fn brought<'f>(&self, files: impl Iterator<Item = (usize, &'f Inspected)>, findings: &mut Findings<'a>) {
        let mut packages = Brought::default();
        for (index, file) in files.filter(|(index, _)| !self.view.layers[*index].lets_foreign) {
            if let Some(elf) = file.elf.as_deref().filter(|_| is_brought(file)) {
                packages.add(index, file, elf, self.is_foreign(elf));
            }
        }
        let platform = self.view.platform;
        for (index, file, elf) in packages.foreign().filter(|(_, file, _)| !self.is_started(file)) {
            let machine = machine(elf).unwrap_or_default();
            findings.in_layer(Some(self.view.layers[index].label));
            findings.add(Draft {
                id: "elf-wrong-architecture",
                by_default: Some(Severity::Error),
                path: Some(&file.path),
                message: format!(
                    "`/{}` is for {machine}, and its package has none for {platform}, which the image is for",
                    file.path
                ),
                hint: Some(format!(
                    "install for {}, or say `allow-foreign = true` in the copy if nothing loads it",
                    platform.architecture
                )),
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
        let Missing { name, by, instead } = missing;
        let by = String::from_utf8_lossy(by);
        let by = if by == file.path { String::new() } else { format!(", by way of `/{by}`") };
        let needs = format!("`/{}` needs `{name}`{by}", file.path);
        let (message, hint, elsewhere) = match instead {
            Instead::Nothing => (
                format!("{needs}, which isn't in the image"),
                "copy the library, or build on a base that has it".to_owned(),
                None,
            ),
            // Who knows where it is may tell the program in another way.
            Instead::Elsewhere(path) => (
                format!("{needs}, which its loader doesn't find"),
                format!(
                    "it is at `/{}`: let `LD_LIBRARY_PATH` in `env` name that directory, or link with an rpath",
                    String::from_utf8_lossy(path)
                ),
                Some(Severity::Warning),
            ),
            Instead::Foreign(path) => (
                format!("{needs}, which is in the image for another machine"),
                format!("it is at `/{}`: copy the one that fits", String::from_utf8_lossy(path)),
                None,
            ),
        };
        let at_most = at_most.into_iter().chain(elsewhere).min();
        let (id, path) = ("elf-library-missing", Some(file.path.as_str()));
        findings.add(Draft { id, path, at_most, message, hint: Some(hint), ..Draft::default() });
    }

    /// Judges a library that no program was seen to load: who loads it may have loaded what it needs.
    fn library(&self, file: &Inspected, findings: &mut Findings<'_>) {
        let is_judged = |elf: &&Elf| {
            !self.loaded.contains(file.path.as_bytes()) && !self.is_foreign(elf) && !self.is_spare(file, elf)
        };
        let Some(elf) = file.elf.as_deref().filter(is_judged) else { return };
        let wanted = Libc::of_needed(elf);
        let stands_in = || self.root.first(&loader::of_glibc()) != Lookup::Missing;
        // Package managers bring one for each C library there is.
        if wanted.is_some_and(|libc| !(self.has(libc) || libc == Libc::Glibc && stands_in())) {
            let libc = wanted.map_or("", Libc::name);
            return findings.add(Draft {
                id: "elf-wrong-libc",
                at_most: Some(if is_brought(file) { Severity::Note } else { Severity::Warning }),
                path: Some(&file.path),
                message: format!("`/{}` is made for {libc}, which the image hasn't", file.path),
                hint: Some("leave it out, or install for the image's C library".to_owned()),
                ..Draft::default()
            });
        }
        let loader = match wanted {
            Some(Libc::Glibc) if self.has(Libc::Glibc) => Loader::Glibc(Kin::Any),
            Some(Libc::Musl) => Loader::Musl,
            _ => Loader::Unknown,
        };
        let found = self.search(loader).all(&file.path, elf);
        // Who loads it may have loaded what it needs, or look in more places.
        for missing in found.missing.iter().filter(|missing| matches!(missing.instead, Instead::Nothing)) {
            if missing.by == file.path.as_bytes() {
                self.no_library(file, missing, Some(Severity::Warning), findings);
            }
        }
    }

    fn script(&self, file: &Inspected, (path, program): (&str, Option<&str>), findings: &mut Findings<'_>) {
        if file.mode & 0o111 == 0 {
            return;
        }
        let missing = match (self.root.file(path), program) {
            (Lookup::Missing, _) => Some(path.to_owned()),
            (Lookup::There(_), Some(program)) if self.is_absent(program) => Some(program.to_owned()),
            _ => None,
        };
        let Some(missing) = missing else { return };
        findings.add(Draft {
            id: "script-interpreter-missing",
            at_most: self.script_weight(file),
            path: Some(&file.path),
            message: format!(
                "`/{}` can't start: it is run by `{}`, which isn't in the image",
                file.path,
                missing.escape_debug()
            ),
            hint: Some(match (missing.contains('\r'), missing.contains(' ') && program.is_some()) {
                (true, _) => "its lines end with CR LF, as on Windows: let them end with LF".to_owned(),
                (_, true) => "`env` splits what follows only after `-S`: `#!/usr/bin/env -S …`".to_owned(),
                _ => "build on a base that has it, or start another program".to_owned(),
            }),
            ..Draft::default()
        });
    }

    /// How bad it is at most if a script doesn't start: of most nobody wants that in a container.
    fn script_weight(&self, file: &Inspected) -> Option<Severity> {
        let directory =
            file.path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("/{directory}"));
        match self.ways.search.contains(&directory) {
            _ if self.is_started(file) => None,
            true => Some(Severity::Warning),
            false => Some(Severity::Note),
        }
    }

    fn is_absent(&self, program: &str) -> bool {
        self.root.first(&self.ways.of(program)) == Lookup::Missing
    }
}

/// What package managers bring for all systems, nobody may ever start.
fn is_brought(file: &Inspected) -> bool {
    is_foreign(file.path.as_bytes())
}
