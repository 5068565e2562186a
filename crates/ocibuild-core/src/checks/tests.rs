//! Images judged: what is in layers made up, what the base holds as listings have it.

use std::collections::BTreeMap;

use super::*;
use crate::base::{Listed, ListedKind, Listing, ListingBuilder, ListingLimits};
use crate::inspect::{Elf, FileFacts, Inspected, Inspection, Inspector, Piece, Severity};
use crate::oci::Platform;
use crate::spec::Checks;

/// A file that has these bytes, looked at as a build would.
fn file(path: &str, mode: u32, bytes: &[u8]) -> Inspected {
    let read = |_: u64, _: usize| None;
    let piece = Piece { size: bytes.len() as u64, start: 0, bytes, read: &read };
    let facts = Inspector.piece(piece).and_then(|facts| facts.at(path.as_bytes()));
    Inspected::new(path.to_owned(), mode, String::new(), facts.unwrap_or_default())
}

fn elf(path: &str, interpreter: Option<&str>, needed: &[&str], search: &[&str]) -> Inspected {
    let owned = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let elf = Elf {
        machine: 62,
        is_64: true,
        interpreter: interpreter.map(str::to_owned),
        needed: owned(needed),
        soname: None,
        search: owned(search),
        is_rpath: false,
    };
    let mode = if interpreter.is_some() { 0o755 } else { 0o644 };
    let facts = FileFacts { elf: Some(Box::new(elf)), ..FileFacts::default() };
    Inspected::new(path.to_owned(), mode, String::new(), facts)
}

const GLIBC: &str = "/lib64/ld-linux-x86-64.so.2";
const MUSL: &str = "/lib/ld-musl-x86_64.so.1";

/// An image in the making.
#[derive(Default)]
struct Image {
    base: Vec<(&'static str, Option<&'static str>)>,
    layer: Inspection,
    env: Vec<String>,
    command: Vec<String>,
    directory: &'static str,
    removed: Vec<Removed>,
    /// What is in the layer beside what was found in it; nothing that isn't known.
    others: Option<Vec<(&'static str, Item)>>,
}

impl Image {
    /// Debian's C library, on merged directories.
    fn on_glibc() -> Self {
        let base = vec![
            ("lib", Some("usr/lib")),
            ("lib64", Some("usr/lib64")),
            ("usr/lib64/ld-linux-x86-64.so.2", Some("../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")),
            ("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", None),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", None),
            ("usr/bin/env", None),
            ("usr/bin/python3", Some("python3.13")),
            ("usr/bin/python3.13", None),
        ];
        Self { base, ..Self::default() }
    }

    fn on_musl() -> Self {
        let base = vec![
            ("lib/ld-musl-x86_64.so.1", None),
            ("lib/libc.musl-x86_64.so.1", Some("ld-musl-x86_64.so.1")),
        ];
        Self { base, ..Self::default() }
    }

    fn with(mut self, file: Inspected) -> Self {
        self.layer.files.push(file);
        self
    }

    fn link(mut self, path: &str, target: &str) -> Self {
        self.layer.links.insert(path.to_owned(), target.to_owned());
        self
    }

    fn starts(self, program: &'static str) -> Self {
        Self { command: program.split(' ').map(str::to_owned).collect(), ..self }
    }

    fn listing(&self) -> Listing {
        let mut builder = ListingBuilder::new(&ListingLimits::default());
        for (path, target) in &self.base {
            let kind = match target {
                Some(target) => ListedKind::Symlink { target: target.as_bytes() },
                None => ListedKind::File { size: 0 },
            };
            builder.insert(path.as_bytes(), Listed { kind, mode: 0o755, uid: 0, gid: 0 }).unwrap();
        }
        builder.finish()
    }

    fn findings(&self) -> Vec<Finding> {
        let (policy, platform, listing) = (Checks::default(), Platform::linux_amd64(), self.listing());
        let layers = [LayerView {
            label: "app",
            inspection: Some(&self.layer),
            size: 0,
            max_size: None,
            lets_foreign: false,
        }];
        let contents = || -> Option<Held> {
            let mut all: BTreeMap<Vec<u8>, Item> = BTreeMap::new();
            for file in &self.layer.files {
                all.insert(file.path.clone().into_bytes(), Item::File);
            }
            for (path, target) in &self.layer.links {
                all.insert(path.clone().into_bytes(), Item::Link(target.clone().into_bytes()));
            }
            for (path, item) in self.others.as_ref()? {
                all.insert(path.as_bytes().to_vec(), item.clone());
            }
            let above: Vec<Vec<u8>> = all
                .keys()
                .flat_map(|path| {
                    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
                    ends.map(|end| path[..end].to_vec()).collect::<Vec<_>>()
                })
                .collect();
            for path in above {
                all.entry(path).or_insert(Item::Directory);
            }
            Some(all.into_iter().map(|(path, item)| (path, (item, 0))).collect())
        };
        let mut findings = Findings::new(&policy, Place::default());
        let view = ImageView {
            platform: &platform,
            listing: &listing,
            removed: &self.removed,
            layers: &layers,
            contents: &contents(),
            env: &self.env,
            start: Start { entrypoint: &[], command: &self.command, directory: self.directory },
            is_static: None,
        };
        programs(view, &mut findings);
        findings.finish()
    }

    fn told(mut self) -> Vec<(String, Severity)> {
        self.others.get_or_insert_default();
        self.findings().into_iter().map(|finding| (finding.id, finding.severity)).collect()
    }
}

fn one(id: &str, severity: Severity) -> Vec<(String, Severity)> {
    vec![(id.to_owned(), severity)]
}

#[test]
fn a_program_on_its_base_is_sound() {
    let app = || elf("app/server", Some(GLIBC), &["libc.so.6", "ld-linux-x86-64.so.2"], &[]);
    assert_eq!(Image::on_glibc().with(app()).told(), []);
    assert_eq!(
        Image::default().with(elf("app/server", None, &[], &[])).told(),
        [],
        "a static one needs nothing"
    );
    let musl = elf("app/server", Some(MUSL), &["libc.musl-x86_64.so.1", "libc.so"], &[]);
    assert_eq!(Image::on_musl().with(musl).told(), []);
}

#[test]
fn a_dynamic_program_on_scratch_is_found() {
    let image = Image::default().with(elf("app/server", Some(GLIBC), &["libc.so.6"], &[]));
    let findings = Image { others: Some(Vec::new()), ..image }.findings();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].message.contains(GLIBC), "{}", findings[0].message);
    assert_eq!(findings[0].id, "elf-interpreter-missing");
    // Where it isn't known what a layer holds, nothing is said.
    assert_eq!(Image::default().with(elf("app/server", Some(GLIBC), &["libc.so.6"], &[])).findings(), []);
}

#[test]
fn another_c_library_is_told_as_that() {
    let glibc = elf("app/server", Some(GLIBC), &["libc.so.6"], &[]);
    assert_eq!(Image::on_musl().with(glibc).told(), one("elf-wrong-libc", Severity::Error));
    let musl = elf("app/server", Some(MUSL), &["libc.musl-x86_64.so.1"], &[]);
    assert_eq!(Image::on_glibc().with(musl).told(), one("elf-wrong-libc", Severity::Error));
    // What a package manager brings for all of them, nobody may load.
    let prebuilt = elf("app/node_modules/x/musl.node", None, &["libc.musl-x86_64.so.1"], &[]);
    assert_eq!(Image::on_glibc().with(prebuilt).told(), one("elf-wrong-libc", Severity::Note));
}

#[test]
fn a_missing_library_is_named_with_who_needs_it() {
    let image = Image::on_glibc()
        .with(elf("app/server", Some(GLIBC), &["liba.so.1", "libc.so.6"], &["$ORIGIN/lib"]))
        .with(elf("app/lib/liba.so.1", None, &["libz.so.1", "libc.so.6"], &[]));
    let findings = Image { others: Some(Vec::new()), ..image }.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let message = &findings[0].message;
    assert!(message.contains("`libz.so.1`") && message.contains("/app/lib/liba.so.1"), "{message}");
    assert_eq!((&*findings[0].id, findings[0].severity), ("elf-library-missing", Severity::Error));
}

#[test]
fn libraries_are_found_where_loaders_look() {
    let app = |search: &[&str]| elf("app/bin/server", Some(GLIBC), &["liba.so.1", "libc.so.6"], search);
    let liba = |path: &str| elf(path, None, &["libc.so.6"], &[]);
    for (search, path) in [
        (&["${ORIGIN}/../lib"][..], "app/lib/liba.so.1"),
        (&["/opt/vendored"], "opt/vendored/liba.so.1"),
        (&[], "usr/lib/x86_64-linux-gnu/liba.so.1"),
        (&["$ORIGIN/../$LIB"], "app/lib64/liba.so.1"),
        (&["$ORIGIN/../$LIB"], "app/lib/x86_64-linux-gnu/liba.so.1"),
    ] {
        assert_eq!(Image::on_glibc().with(app(search)).with(liba(path)).told(), [], "{path}");
    }
    // By a link, by a directory that is one, by the environment.
    let linked = Image::on_glibc().with(app(&["$ORIGIN"])).with(liba("app/bin/liba.so.1.2.3"));
    assert_eq!(linked.link("app/bin/liba.so.1", "liba.so.1.2.3").told(), []);
    let image = Image::on_glibc().with(app(&["/app/current"])).with(liba("app/v1/liba.so.1"));
    let link = ("app/current", Item::Link(b"v1".to_vec()));
    assert_eq!(Image { others: Some(vec![link]), ..image }.told(), []);
    let image = Image::on_glibc().with(app(&[])).with(liba("app/lib/liba.so.1"));
    let env = vec!["LD_LIBRARY_PATH=/x:/app/lib".to_owned()];
    assert_eq!(Image { env, ..image }.told(), []);
    // One that is somewhere else may be found in a way that isn't known.
    for path in ["app/lib/liba.so.1", "usr/local/lib/liba.so.1"] {
        let image = || Image::on_glibc().with(app(&[])).with(liba(path));
        assert_eq!(image().told(), one("elf-library-missing", Severity::Warning), "{path}");
        let cache = ("etc/ld.so.cache", Item::File);
        assert_eq!(Image { others: Some(vec![cache]), ..image() }.told(), [], "nobody reads that: {path}");
    }
}

#[test]
fn what_nothing_starts_weighs_less() {
    let extension = || elf("app/site-packages/x/_x.so", None, &["libGL.so.1", "libc.so.6"], &[]);
    assert_eq!(Image::on_glibc().with(extension()).told(), one("elf-library-missing", Severity::Warning));
    let brought = |path| elf(path, Some(MUSL), &[], &[]);
    let image = Image::on_glibc().with(brought("app/node_modules/x/bin/tool"));
    assert_eq!(image.told(), one("elf-wrong-libc", Severity::Warning));
    let image =
        Image::on_glibc().with(brought("app/node_modules/x/bin/tool")).starts("/app/node_modules/x/bin/tool");
    assert_eq!(image.told(), one("elf-wrong-libc", Severity::Error));
}

#[test]
fn a_program_for_another_machine_is_found_where_it_is_started() {
    let mut foreign = elf("app/server", None, &[], &[]);
    foreign.elf.as_mut().unwrap().machine = 183;
    foreign.mode = 0o755;
    assert_eq!(Image::default().with(foreign.clone()).told(), [], "a build knows of what nobody starts");
    let image = Image::default().with(foreign).starts("/app/server");
    assert_eq!(image.told(), one("elf-wrong-architecture", Severity::Note));
}

#[test]
fn packages_bring_programs_for_all_machines_or_the_wrong_one() {
    let brought = |path: &str, machine: u16| {
        let mut file = elf(path, None, &["libc.so.6"], &[]);
        file.elf.as_mut().unwrap().machine = machine;
        file
    };
    let foreign = || brought("app/node_modules/bcrypt/prebuilds/linux-arm64/bcrypt.node", 183);
    let own = brought("app/node_modules/bcrypt/prebuilds/linux-x64/bcrypt.node", 62);
    let other = brought("app/node_modules/argon2/build/argon2.node", 62);
    assert_eq!(Image::on_glibc().with(foreign()).with(own).told(), []);
    // Installed on a machine of another kind: none of its programs is any use.
    let wrong = one("elf-wrong-architecture", Severity::Error);
    assert_eq!(Image::on_glibc().with(foreign()).with(other).told(), wrong);
}

#[test]
fn musl_knows_its_own_libraries_without_files() {
    let names = ["libc.so.6", "libm.so.6", "libpthread.so.0", "librt.so.1", "libdl.so.2", "libutil.so.1"];
    let alpine = || elf("app/server", Some(MUSL), &["libc.musl-x86_64.so.1"], &[]);
    let mut image = Image { base: vec![("lib/ld-musl-x86_64.so.1", None)], ..Image::default() };
    assert_eq!(image.with(alpine()).told(), []);
    // gcompat starts programs for glibc there.
    image = Image::on_musl();
    image.base.push(("lib/ld-linux-x86-64.so.2", None));
    image.base.push(("lib64/ld-linux-x86-64.so.2", Some("../lib/ld-linux-x86-64.so.2")));
    assert_eq!(image.with(elf("app/server", Some(GLIBC), &names, &[])).told(), []);
    let needs = |name| Image::on_musl().with(elf("app/server", Some(MUSL), &[name], &[]));
    for (name, is_found) in [("libm.so", true), ("libmagic.so.1", false), ("librtmp.so.1", false)] {
        assert_eq!(needs(name).told().is_empty(), is_found, "{name}");
    }
    let in_triple = needs("liba.so").with(elf("usr/lib/x86_64-linux-gnu/liba.so", None, &[], &[]));
    assert_eq!(in_triple.told(), one("elf-library-missing", Severity::Warning), "it doesn't look there");
    let local = needs("liba.so").with(elf("usr/local/lib/liba.so", None, &[], &[]));
    assert_eq!(local.told(), []);
}

#[test]
fn a_library_for_another_machine_is_none() {
    let mut other = elf("usr/lib/liba.so.1", None, &[], &[]);
    let small = other.elf.as_mut().unwrap();
    (small.machine, small.is_64) = (3, false);
    let app = elf("app/server", Some(GLIBC), &["liba.so.1", "libc.so.6"], &[]);
    let image = || Image::on_glibc().with(app.clone()).with(other.clone());
    assert_eq!(image().told(), one("elf-library-missing", Severity::Error));
    let fits = elf("usr/lib/x86_64-linux-gnu/liba.so.1", None, &[], &[]);
    assert_eq!(image().with(fits).told(), []);
}

#[test]
fn libraries_inherit_rpath_and_not_runpath() {
    let image = |is_rpath: bool, is_musl: bool| {
        let libc = if is_musl { "libc.so" } else { "libc.so.6" };
        let interpreter = if is_musl { MUSL } else { GLIBC };
        let mut app = elf("app/server", Some(interpreter), &["liba.so", libc], &["$ORIGIN/lib"]);
        app.elf.as_mut().unwrap().is_rpath = is_rpath;
        let on = if is_musl { Image::on_musl() } else { Image::on_glibc() };
        on.with(app).with(elf("app/lib/liba.so", None, &["libb.so", libc], &[])).with(elf(
            "app/lib/libb.so",
            None,
            &[libc],
            &[],
        ))
    };
    assert_eq!(image(false, false).told(), one("elf-library-missing", Severity::Warning));
    for (is_rpath, is_musl) in [(true, false), (false, true), (true, true)] {
        assert_eq!(image(is_rpath, is_musl).told(), [], "{is_rpath} {is_musl}");
    }
}

#[test]
fn what_is_taken_from_the_base_is_gone() {
    let image = Image::on_glibc().with(elf("app/server", Some(GLIBC), &["libc.so.6"], &[]));
    let removed = vec![(b"usr/lib/x86_64-linux-gnu/libc.so.6".to_vec(), false)];
    assert_eq!(Image { removed, ..image }.told(), one("elf-library-missing", Severity::Error));
}

#[test]
fn what_is_started_is_known_by_any_name() {
    let script = || file("app/x.sh", 0o755, b"#!/bin/nothing\n");
    let missing = one("script-interpreter-missing", Severity::Error);
    let at = |directory, command| {
        let image = Image::on_glibc().with(script()).starts(command);
        Image { directory, ..image }.told()
    };
    assert_eq!(at("/app", "./x.sh"), missing);
    assert_eq!(at("/", "app/x.sh"), missing);
    assert_eq!(at("", "/sbin/tini -g -- /app/x.sh"), missing);
    assert_eq!(at("", "python3 /app/x.sh"), one("script-interpreter-missing", Severity::Note));
    let plain = Image::on_glibc().with(file("app/run", 0o644, b"#!/usr/bin/python3\n")).starts("/app/run");
    assert_eq!(plain.told(), one("program-not-executable", Severity::Error));
}

#[test]
fn scripts_need_what_runs_them() {
    let script = |path: &str, line: &str| file(path, 0o755, format!("#!{line}\n").as_bytes());
    assert_eq!(Image::on_glibc().with(script("app/run", "/usr/bin/env python3")).told(), []);
    assert_eq!(Image::on_glibc().with(script("app/run", "/usr/bin/python3")).told(), []);
    let missing = |line: &str| Image::on_glibc().with(script("app/run", line));
    assert_eq!(missing("/bin/bash").told(), one("script-interpreter-missing", Severity::Note));
    let in_path = Image::on_glibc().with(script("usr/local/bin/run", "/bin/bash"));
    assert_eq!(in_path.told(), one("script-interpreter-missing", Severity::Warning));
    assert_eq!(missing("/usr/bin/env node").told(), one("script-interpreter-missing", Severity::Note));
    assert_eq!(
        missing("/bin/bash").starts("/app/run").told(),
        one("script-interpreter-missing", Severity::Error)
    );
    assert_eq!(
        Image::on_glibc().with(file("app/run", 0o644, b"#!/bin/bash\n")).told(),
        [],
        "nobody starts it"
    );
    assert_eq!(Image::on_glibc().with(script("app/node_modules/x/cli", "/bin/bash")).told(), []);
}

/// What a layer shows by itself.
fn alone_told(inspection: &Inspection, policy: &Checks) -> Vec<Finding> {
    let layer = LayerView {
        label: "app",
        inspection: Some(inspection),
        size: 0,
        max_size: None,
        lets_foreign: false,
    };
    let mut findings = Findings::new(policy, Place::default());
    alone(layer, &Vec::new, &mut findings);
    findings.finish()
}

/// The same, of a layer that images have.
fn alone_in(images: &[&str], inspection: &Inspection, policy: &Checks) -> Vec<Finding> {
    let layer = LayerView {
        label: "app",
        inspection: Some(inspection),
        size: 0,
        max_size: None,
        lets_foreign: false,
    };
    let mut findings = Findings::new(policy, Place { images, ..Place::default() });
    alone(layer, &Vec::new, &mut findings);
    findings.finish()
}

#[test]
fn what_is_allowed_in_all_images_of_a_layer_is_allowed_in_it() {
    let text = "version = 1\n[checks]\nallow = [{ id = 'secrets', image = 'a', reason = 'r' }]\n\
        [layers.a]\ncopy = [{ content = '', to = '/a' }]\n[images.a]\nlayers = ['a']\n[images.b]\nlayers = ['a']\n";
    let policy = crate::spec::Spec::parse(text, &BTreeMap::new()).unwrap().checks;
    let mut inspection = Inspection::new();
    inspection.files.push(file("app/.env", 0o644, token().as_bytes()));
    for (images, is_allowed) in [(&["a"][..], true), (&["a", "b"], false), (&["b"], false), (&[], false)] {
        let findings = alone_in(images, &inspection, &policy);
        assert_eq!(findings[0].allowed.is_some(), is_allowed, "{images:?}");
    }
}

#[test]
fn a_password_is_one_in_a_netrc() {
    let told = |path: &str| {
        let mut inspection = Inspection::new();
        inspection.files.push(file(path, 0o600, b"machine a.example login b password hunter22\n"));
        alone_told(&inspection, &Checks::default()).len()
    };
    assert_eq!((told("root/.netrc"), told("root/netrc.txt")), (1, 0));
}

/// A token that is made up, and stands in no source as it is.
fn token() -> String {
    format!("npm_{}", &blake3::hash(b"made up").to_hex()[..36])
}

#[test]
fn secrets_weigh_less_where_tests_and_packages_are() {
    let at = |path: &str| {
        let mut inspection = Inspection::new();
        inspection.files.push(file(path, 0o644, token().as_bytes()));
        alone_told(&inspection, &Checks::default()).iter().map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(at("app/.env"), [Severity::Error]);
    for path in
        ["app/node_modules/x/a.js", "app/test/a.js", "usr/share/doc/x", "app/README.md", "a/benches/x"]
    {
        assert_eq!(at(path), [Severity::Note], "{path}");
    }
}

/// Libraries of cryptography have keys for their self-tests inside, which anybody has.
#[test]
fn keys_inside_of_programs_weigh_less() {
    let lines: String = (0..3_u8).map(|n| format!("{}\n", blake3::hash(&[n]).to_hex())).collect();
    let key = format!("-----BEGIN {} KEY-----\n{lines}", "PRIVATE");
    let at = |mut file: Inspected, secret: &str| {
        file.secrets = self::file("", 0o644, secret.as_bytes()).secrets;
        let mut inspection = Inspection::new();
        inspection.files.push(file);
        alone_told(&inspection, &Checks::default()).iter().map(|finding| finding.severity).collect::<Vec<_>>()
    };
    assert_eq!(at(file("app/key.pem", 0o644, b""), &key), [Severity::Error]);
    let mut library = elf("usr/lib/libgnutls.so.30", None, &["libc.so.6"], &[]);
    library.elf.as_mut().unwrap().soname = Some("libgnutls.so.30".to_owned());
    assert_eq!(at(library, &key), [Severity::Note]);
    assert_eq!(at(elf("app/server", Some(GLIBC), &[], &[]), &key), [Severity::Warning]);
    assert_eq!(at(elf("app/server", Some(GLIBC), &[], &[]), &token()), [Severity::Error]);
}

#[test]
fn what_is_allowed_is_told_with_the_reason_and_fails_nothing() {
    let spec = |allow: &str| {
        let text = format!(
            "version = 1\n[checks]\nallow = [{allow}]\n[layers.a]\ncopy = [{{ content = '', to = '/a' }}]\n\
             [images.a]\nlayers = ['a']\n"
        );
        crate::spec::Spec::parse(&text, &BTreeMap::new()).unwrap().checks
    };
    let mut inspection = Inspection::new();
    inspection.files.push(file("app/.env", 0o644, token().as_bytes()));
    for (allow, is_allowed) in [
        ("{ id = 'secret-npm-token', path = 'app/.env', reason = 'r' }", true),
        ("{ id = 'secrets', path = '/app', reason = 'r' }", true),
        ("{ id = 'secrets', reason = 'r' }", true),
        ("{ id = 'secret-npm-token', path = 'app/*.txt', reason = 'r' }", false),
        ("{ id = 'secret-private-key', reason = 'r' }", false),
        ("{ id = 'secrets', image = 'other', reason = 'r' }", false),
    ] {
        let policy = spec(allow);
        let findings = alone_told(&inspection, &policy);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].allowed.is_some(), is_allowed, "{allow}");
        assert_eq!(fails(&policy, &findings), !is_allowed, "{allow}");
    }
}

/// A program on musl with libraries that need each other in a row; the last needs one that isn't there.
/// Each names directories of its own, in which those that it loads are looked for as well.
fn chain(libraries: usize, directories: usize) -> Image {
    let program = elf("app/server", Some(MUSL), &["lib0.so"], &["$ORIGIN"]);
    (0..libraries).fold(Image::on_musl().with(program), |image, index| {
        let next =
            if index + 1 < libraries { format!("lib{}.so", index + 1) } else { "nowhere.so".to_owned() };
        let own: Vec<String> = (0..directories).map(|number| format!("/opt/{index}/{number}")).collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        image.with(elf(&format!("app/lib{index}.so"), None, &[&next], &own))
    })
}

#[test]
fn a_search_without_end_is_ended_and_the_rest_is_taken_to_be_found() {
    assert_eq!(chain(20, 20).told(), one("elf-library-missing", Severity::Error));
    // That the last one lacks something it shows by itself.
    assert_eq!(chain(100, 1000).told(), one("elf-library-missing", Severity::Warning));
}
