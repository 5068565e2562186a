//! Images moved to another base: what comes out is what a build on that base gives, or it is refused,
//! and every reason told.

#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ocibuild_core::blob::{BytesContent, Sink as _, Source, Target as _, read_whole};
use ocibuild_core::build::OpenBase;
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::event::Event;
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{
    Descriptor, History, ImageConfig, Index, Manifest, MediaType, annotation, from_json, to_json,
};
use ocibuild_core::rebase::{Conflict, Named, Rebase, RebaseError};
use ocibuild_core::spec::{Field, Healthcheck, Inherit, Scope};
use ocibuild_core::{Builder, Built, DiffId, Digest, ImageSpec, LayerSpec, Observer, Platform};

/// Layouts in a directory, each with one image, and a cache.
struct Bench {
    directory: tempfile::TempDir,
    warnings: Mutex<Vec<String>>,
}

impl Observer for Bench {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            self.warnings.lock().unwrap().push(warning.message.clone());
        }
    }
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), warnings: Mutex::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn builder(&self) -> Builder<'_> {
        Builder::new(self.directory.path(), self.path("cache")).observer(self)
    }

    /// Builds an image into a layout, if it can be built.
    fn try_image(&self, name: &str, image: &ImageSpec) -> Option<Named> {
        let built = self.builder().build(image).ok()?;
        Some(self.write(name, &built))
    }

    #[track_caller]
    fn image(&self, name: &str, image: ImageSpec) -> Named {
        self.try_image(name, &image).unwrap()
    }

    fn write(&self, name: &str, built: &Built) -> Named {
        let layout = Layout::open_or_create(self.path(name)).unwrap();
        built.write_layout(&built.images, &layout, &CopyOptions::new()).unwrap();
        let root = layout.sole().unwrap();
        let place = OpenBase { source: Arc::new(layout), root };
        Named { place, name: name.to_owned(), reference: None }
    }

    fn rebase(&self, image: &Named, from: &Named, onto: &Named) -> Result<Built, RebaseError> {
        self.rebase_with(self.builder(), image, from, onto)
    }

    fn rebase_with(
        &self,
        builder: Builder<'_>,
        image: &Named,
        from: &Named,
        onto: &Named,
    ) -> Result<Built, RebaseError> {
        let job = Rebase {
            image: image.clone(),
            onto: onto.clone(),
            from: Some(from.clone()),
            tags: Vec::new(),
            ref_names: vec!["moved".to_owned()],
        };
        let built = builder.rebase(&job)?;
        let violations =
            validate(&built.source(), &built.images[0].root, &ValidateOptions::default()).unwrap();
        assert!(violations.is_empty(), "{violations:?}");
        Ok(built)
    }

    #[track_caller]
    fn conflicts(&self, image: &Named, from: &Named, onto: &Named) -> Vec<String> {
        match self.rebase(image, from, onto) {
            Err(RebaseError::Conflicts { conflicts, .. }) => {
                conflicts.iter().map(|(conflict, _)| conflict.to_string()).collect()
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("nothing is refused"),
        }
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap())
    }
}

fn root(built: &Built) -> Digest {
    built.images[0].root.digest
}

fn documents(source: &dyn Source, root: &Descriptor) -> (Manifest, ImageConfig) {
    let manifest: Manifest = from_json(&read_whole(source, root, 1 << 20).unwrap()).unwrap();
    let config = from_json(&read_whole(source, &manifest.config, 1 << 20).unwrap()).unwrap();
    (manifest, config)
}

fn scratch() -> ImageSpec {
    ImageSpec::scratch(Platform::linux_amd64())
}

fn on(base: &str) -> ImageSpec {
    scratch().base_layout(base)
}

const PASSWD: &str = "root:x:0:0::/:\nweb:x:7:8::/:\n";
const GROUP: &str = "root:x:0:\nweb:x:8:\nstaff:x:50:\n";

/// A base as distributions have them.
fn system(passwd: &str, group: &str) -> LayerSpec {
    LayerSpec::named("system")
        .content("/etc/passwd", passwd)
        .content("/etc/group", group)
        .directory("/usr/lib")
        .directory("/usr/bin")
        .symlink("/bin", "usr/bin")
        .directory("/tmp")
        .mode(0o1777)
}

fn merged(name: &str) -> LayerSpec {
    LayerSpec::named(name).symlink("/lib", "usr/lib")
}

/// Bases that differ in everything that layers go by.
fn bases() -> Vec<(&'static str, ImageSpec)> {
    let system = || system(PASSWD, GROUP);
    vec![
        (
            "plain",
            scratch()
                .layer(system())
                .layer(merged("links"))
                .env("PATH", "/bin")
                .env("VERSION", "1")
                .cmd(["sh"]),
        ),
        (
            "newer",
            scratch()
                .layer(system())
                .layer(merged("links").content("/usr/share/news", "new"))
                .env("VERSION", "2")
                .env("PATH", "/usr/bin:/bin")
                .cmd(["sh"]),
        ),
        (
            "full",
            scratch()
                .layer(system())
                .layer(merged("links").directory("/opt").mode(0o2775).owner(0, 50))
                .layer(LayerSpec::named("data").directory("/data").mode(0o700).content("/srv", "a file"))
                .env("PATH", "/sbin")
                .entrypoint(["/entry"])
                .cmd(["one"])
                .user("web")
                .workdir("/usr")
                .expose(80)
                .volume("/data")
                .label("of", "full")
                .label("kind", "base")
                .author("they")
                .stop_signal("SIGINT")
                .stop_timeout(Duration::from_secs(5))
                .shell(["/bin/sh", "-c"])
                .healthcheck(Healthcheck::new(vec!["CMD".to_owned(), "/check".to_owned()])),
        ),
        (
            "unmerged",
            scratch()
                .layer(system())
                .layer(LayerSpec::named("links").directory("/lib"))
                .env("PATH", "/b")
                .cmd(["b"]),
        ),
        ("elsewhere", {
            let links = LayerSpec::named("links").symlink("/lib", "usr/lib64").directory("/usr/lib64");
            scratch()
                .layer(system())
                .layer(links.directory("/opt").mode(0o700))
                .label("of", "elsewhere")
                .cmd(["e"])
        }),
        ("accounts", {
            let accounts = self::system("root:x:0:0::/:\nweb:x:17:8::/:\n", "web:x:8:\nstaff:x:51:\n");
            scratch().layer(accounts).layer(merged("links")).user("nobody").cmd(["a"])
        }),
        ("empty", scratch().layer(LayerSpec::named("one").content("/one", "1")).cmd(["1"])),
    ]
}

/// Puts an image on a base.
type Made = fn(ImageSpec) -> ImageSpec;

/// Images that go by all of that.
fn images() -> Vec<(&'static str, Made)> {
    vec![
        ("config", |image| {
            image
                .env("PATH", "/own")
                .env("OWN", "1")
                .entrypoint(["/own"])
                .user("1234")
                .label("own", "1")
                .annotation("org.example.own", "1")
        }),
        ("command", |image| image.cmd(["own"]).expose(8080).volume("/own").author("us").workdir("/own")),
        ("nothing", |image| image.entrypoint(Vec::<String>::new()).shell(["/own", "-c"])),
        ("free", |image| {
            image.layer(LayerSpec::named("app").content("/app/deep/file", "x").comment("an app"))
        }),
        ("linked", |image| image.layer(LayerSpec::named("app").content("/lib/app/file", "x"))),
        ("program", |image| image.layer(LayerSpec::named("app").content("/bin/app", "x").mode(0o755))),
        ("opt", |image| image.layer(LayerSpec::named("app").content("/opt/app/file", "x"))),
        ("tmp", |image| image.layer(LayerSpec::named("app").content("/tmp/file", "x"))),
        ("web", |image| image.layer(LayerSpec::named("app").content("/app/file", "x").owned_by("web"))),
        ("staff", |image| image.layer(LayerSpec::named("app").content("/app/file", "x").owned_by("0:staff"))),
        ("srv", |image| image.layer(LayerSpec::named("app").content("/srv/file", "x"))),
        ("data", |image| image.layer(LayerSpec::named("app").content("/data", "x"))),
        ("data-directory", |image| {
            image.layer(LayerSpec::named("app").directory("/data/own").mode(0o711).owner(5, 6))
        }),
        ("two", |image| {
            image
                .layer(LayerSpec::named("one").content("/usr/lib/one", "1"))
                .layer(LayerSpec::named("two").content("/lib/two", "2"))
        }),
    ]
}

#[test]
fn a_moved_image_is_what_a_build_on_the_new_base_gives() {
    let bench = Bench::new();
    let bases: Vec<(&str, Named)> =
        bases().into_iter().map(|(name, image)| (name, bench.image(name, image))).collect();
    let mut results: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (image, made) in images() {
        for (from, old) in &bases {
            let Some(moving) = bench.try_image(&format!("{image}-{from}"), &made(on(from))) else { continue };
            for (onto, new) in &bases {
                let result = results.entry(image).or_default();
                match bench.rebase(&moving, old, new) {
                    Err(RebaseError::Conflicts { conflicts, .. }) => {
                        assert!(from != onto && !conflicts.is_empty());
                        result.1 += 1;
                    }
                    Err(other) => panic!("{image} from {from} onto {onto}: {other:?}"),
                    Ok(moved) => {
                        let built = bench.builder().build(&made(on(onto))).unwrap();
                        let shown = |built: &Built| documents(&built.source(), &built.images[0].root);
                        assert_eq!(shown(&moved), shown(&built), "{image} from {from} onto {onto}");
                        assert_eq!(root(&moved), root(&built), "{image} from {from} onto {onto}");
                        result.0 += 1;
                    }
                }
            }
        }
    }
    for always in ["config", "command", "nothing", "free"] {
        assert_eq!(results[always], (49, 0), "{always}: nothing of the base shows");
    }
    for sometimes in
        ["linked", "program", "opt", "tmp", "web", "staff", "srv", "data", "data-directory", "two"]
    {
        let (equal, refused) = results[sometimes];
        assert!(equal > 0 && refused > 0, "{sometimes}: {equal} {refused}");
    }
}

#[test]
fn what_an_image_leaves_out_of_its_base_stays_out() {
    let bench = Bench::new();
    let full = |name: &str| bases().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let richer = full("full").env("MORE", "1").label("more", "1").on_build("RUN make");
    let (old, new) = (bench.image("full", full("full")), bench.image("richer", richer));
    let only = |fields: &[Field]| Inherit::Only(fields.iter().map(|field| (*field).into()).collect());
    let cases = [
        Inherit::All,
        Inherit::Nothing,
        only(&[Field::Env]),
        only(&[Field::User, Field::Labels]),
        only(&[Field::Entrypoint, Field::Cmd, Field::Author]),
        only(&[Field::Healthcheck, Field::Shell, Field::StopTimeout]),
        only(&[Field::Expose, Field::Volumes, Field::Workdir, Field::StopSignal]),
    ];
    for (number, inherit) in cases.into_iter().enumerate() {
        let made = |base: &str| on(base).inherit(inherit.clone()).env("OWN", "1").on_build("RUN own");
        let image = bench.image(&format!("image-{number}"), made("full"));
        let moved = bench.rebase(&image, &old, &new).unwrap();
        let built = bench.builder().build(&made("richer")).unwrap();
        let config = |built: &Built| documents(&built.source(), &built.images[0].root).1;
        assert_eq!(config(&moved), config(&built), "{inherit:?}");
        assert_eq!(root(&moved), root(&built), "{inherit:?}");
    }
}

#[test]
fn every_fault_is_told_at_once_with_both_sides() {
    let bench = Bench::new();
    let old_base = scratch()
        .layer(system(PASSWD, GROUP))
        .layer(merged("links").directory("/opt").mode(0o2775).owner(0, 50))
        .layer(LayerSpec::named("files").directory("/srv").content("/etc/conf", "c"));
    let accounts = "root:x:0:0::/:\nweb:x:17:8::/:\n";
    let new_base = scratch()
        .layer(system(accounts, "root:x:0:\n"))
        .layer(LayerSpec::named("links").symlink("/lib", "usr/lib64").directory("/usr/lib64"))
        .layer(LayerSpec::named("files").content("/srv", "file").directory("/data/old").directory("/opt"));
    let (old, new) = (bench.image("old", old_base), bench.image("new", new_base));
    let app = LayerSpec::named("app")
        .content("/lib/app", "x")
        .content("/srv/www/page", "x")
        .content("/opt/tool", "x")
        .content("/data", "x")
        .content("/app/web", "x")
        .owned_by("web")
        .content("/app/staff", "x")
        .owned_by("0:staff");
    let image = bench.image("image", on("old").layer(app));
    let expected = [
        "`/app/staff`: of the group `staff`, 50 in the old base, unknown in the new one",
        "`/app/web`: owned by `web`, 7:8 in the old base, 17:8 in the new one",
        "`/app/web`: of the group `web`, 8 in the old base, unknown in the new one",
        "`/data`: nothing in the old base, a directory in the new one, and a file of the image's",
        "`/lib`: led to `/usr/lib` in the old base, is a link to `usr/lib64` in the new one, \
         which leads to `/usr/lib64`; the image writes `/usr/lib/app`",
        "`/opt`: 2775 0:50 in the old base, 0755 0:0 in the new one",
        "`/srv`: a directory in the old base, a file in the new one, and a directory of the image's",
    ];
    assert_eq!(bench.conflicts(&image, &old, &new), expected);
    assert!(bench.said().is_empty());
}

#[test]
fn a_directory_of_the_base_is_not_reset_by_the_moved_image() {
    let bench = Bench::new();
    let base = |name: &str, mode: u32| {
        let layer = LayerSpec::named("base").directory("/work").mode(mode).content("/etc/name", name);
        bench.image(name, scratch().layer(layer))
    };
    let (old, same, other) = (base("old", 0o1777), base("same", 0o1777), base("other", 0o700));
    let none = bench.image("none", scratch().layer(LayerSpec::named("base").content("/x", "x")));
    let image = bench.image("image", on("old").layer(LayerSpec::named("app").content("/work/file", "x")));
    bench.rebase(&image, &old, &same).unwrap();
    let told = |new: &Named| bench.conflicts(&image, &old, new);
    assert_eq!(told(&other), ["`/work`: 1777 0:0 in the old base, 0700 0:0 in the new one"]);
    assert_eq!(told(&none), ["`/work`: 1777 0:0 in the old base, not there in the new one"]);
    // What the image says itself is nobody else's.
    let own = LayerSpec::named("app").directory("/work").mode(0o750);
    let image = bench.image("own", on("old").layer(own));
    bench.rebase(&image, &old, &other).unwrap();
}

#[test]
fn a_link_that_nothing_is_written_through_is_no_matter() {
    let bench = Bench::new();
    let old = bench.image("old", scratch().layer(system(PASSWD, GROUP)).layer(merged("links")));
    let new = bench.image("new", scratch().layer(system(PASSWD, GROUP)));
    let image = bench.image("image", on("old").layer(LayerSpec::named("app").content("/app/x", "x")));
    bench.rebase(&image, &old, &new).unwrap();
    let image = bench.image("through", on("old").layer(LayerSpec::named("app").content("/usr/lib/x", "x")));
    let told = bench.conflicts(&image, &old, &new);
    let expected =
        "`/lib`: led to `/usr/lib` in the old base, is nothing in the new one; the image writes `/usr/lib/x`";
    assert_eq!(told, [expected]);
}

#[test]
fn what_is_removed_and_who_runs_it_are_told() {
    let bench = Bench::new();
    let files = |name: &str| LayerSpec::named(name).content("/doc/a", "a").content("/doc/keep", "k");
    let users = LayerSpec::named("users").content("/etc/passwd", PASSWD);
    let old = bench.image("old", scratch().layer(files("files").content("/doc/b", "b")).layer(users));
    let new = bench.image("new", scratch().layer(files("files")));
    let layer = LayerSpec::named("slim").remove("/doc/a").remove("/doc/b");
    let image = bench.image("image", on("old").layer(layer).user("web"));
    bench.said();
    bench.rebase(&image, &old, &new).unwrap();
    let said = bench.said();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("removes 2 paths of its old base, and 1 of them aren't in the new one"),
        "{said:?}"
    );
    assert!(said[1].contains("runs as `web`"), "{said:?}");
}

#[test]
fn each_platform_goes_to_the_same_of_the_base() {
    let bench = Bench::new();
    let arm64 = Platform::linux_arm64();
    let both = |text: &str| {
        let layer = LayerSpec::named("base").content("/base", text);
        scratch().platform(arm64.clone()).layer(layer)
    };
    let (old, new) = (bench.image("old", both("old")), bench.image("new", both("new").env("NEW", "1")));
    let made = |base: &str| {
        on(base)
            .platform(arm64.clone())
            .layer(LayerSpec::named("app").content("/{arch}", "x"))
            .annotation("org.example.common", "1")
            .annotation_of(Scope::Index, "org.example.index", "1")
            .annotation_of(Scope::Descriptor, "org.example.descriptor", "{arch}")
    };
    let image = bench.image("image", made("old"));
    let moved = bench.rebase(&image, &old, &new).unwrap();
    let built = bench.builder().build(&made("new")).unwrap();
    assert_eq!(root(&moved), root(&built));
    let index: Index =
        from_json(&read_whole(&moved.source(), &moved.images[0].root, 1 << 20).unwrap()).unwrap();
    assert_eq!((index.manifests.len(), index.annotations.len()), (2, 2));

    let one = scratch().layer(LayerSpec::named("base").content("/base", "new"));
    let one = bench.image("one", one);
    match bench.rebase(&image, &old, &one) {
        Err(RebaseError::NoPlatform { base, platforms }) => {
            assert_eq!((base.as_str(), platforms), ("one", vec![arm64]));
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn what_is_no_base_of_the_image_is_told() {
    let bench = Bench::new();
    let layer = |text: &str| LayerSpec::named("base").content("/base", text);
    let old = bench.image("old", scratch().layer(layer("old")));
    let other = bench.image("other", scratch().layer(layer("other")));
    let higher = scratch().layer(layer("old")).layer(LayerSpec::named("two").content("/two", "2"));
    let higher = bench.image("higher", higher.layer(LayerSpec::named("three").content("/three", "3")));
    let image = bench.image("image", on("old").layer(LayerSpec::named("app").content("/app", "x")));
    let told = |from: &Named| bench.rebase(&image, from, &other).err().unwrap().to_string();
    assert!(told(&other).starts_with("the image `image` doesn't stand on `other`: layer 1 is `sha256:"));
    assert_eq!(
        told(&higher),
        "the image `image` doesn't stand on `higher`: that has 3 layers, and the image 2"
    );

    let job = |image: &Named| Rebase {
        image: image.clone(),
        onto: other.clone(),
        from: None,
        tags: Vec::new(),
        ref_names: Vec::new(),
    };
    let fault = bench.builder().rebase(&job(&image)).err().unwrap();
    let digest = old.place.root.digest.to_string();
    assert!(matches!(fault, RebaseError::NoPlace { digest: said, .. } if said == digest));
    let fault = bench.builder().rebase(&job(&old)).err().unwrap();
    assert!(matches!(fault, RebaseError::NoBase { .. }));
}

#[test]
fn the_time_is_the_new_images() {
    let bench = Bench::new();
    let layer = |text: &str| LayerSpec::named("base").content("/base", text);
    let (old, new) = (
        bench.image("old", scratch().layer(layer("old"))),
        bench.image("new", scratch().layer(layer("new"))),
    );
    let made = |base: &str| on(base).layer(LayerSpec::named("app").content("/app", "x"));
    let built = bench.builder().created(1_700_000_000).build(&made("old")).unwrap();
    let image = bench.write("image", &built);
    for created in [1, 1_700_000_000, 1_800_000_000] {
        let moved = bench.rebase_with(bench.builder().created(created), &image, &old, &new).unwrap();
        let built = bench.builder().created(created).build(&made("new")).unwrap();
        assert_eq!(root(&moved), root(&built), "{created}");
    }
    let moved = bench.rebase(&image, &old, &new).unwrap();
    let (manifest, config) = documents(&moved.source(), &moved.images[0].root);
    assert_eq!(config.created.as_deref(), Some("1970-01-01T00:00:01Z"));
    let keys: Vec<&String> = manifest.annotations.keys().collect();
    assert_eq!(keys, [annotation::BASE_DIGEST]);
}

#[test]
fn a_moved_image_can_be_written_and_moved_back() {
    let bench = Bench::new();
    let layer = |text: &str| LayerSpec::named("base").content("/base", text);
    let (old, new) = (
        bench.image("old", scratch().layer(layer("old"))),
        bench.image("new", scratch().layer(layer("new"))),
    );
    let image = bench.image("image", on("old").layer(LayerSpec::named("app").content("/app", "x")));
    let moved = bench.rebase(&image, &old, &new).unwrap();
    let moved = bench.write("moved", &moved);
    let layout = Layout::open(bench.path("moved")).unwrap();
    assert_eq!(layout.resolve("moved").unwrap().digest, moved.place.root.digest);
    let back = bench.rebase(&moved, &new, &old).unwrap();
    assert_eq!(root(&back), image.place.root.digest);
}

#[test]
fn faults_of_several_platforms_are_one() {
    let bench = Bench::new();
    let arm64 = Platform::linux_arm64();
    let base = |mode: u32| {
        scratch().platform(arm64.clone()).layer(LayerSpec::named("base").directory("/work").mode(mode))
    };
    let (old, new) = (bench.image("old", base(0o1777)), bench.image("new", base(0o700)));
    let app = LayerSpec::named("app").content("/work/{arch}", "x");
    let image = bench.image("image", on("old").platform(arm64.clone()).layer(app));
    let Err(RebaseError::Conflicts { conflicts, .. }) = bench.rebase(&image, &old, &new) else {
        panic!("it is refused")
    };
    assert_eq!(conflicts.len(), 1);
    assert!(matches!(conflicts[0].0, Conflict::Metadata { .. }));
    assert_eq!(conflicts[0].1, [Platform::linux_amd64(), arm64]);
}

/// Puts a layer of somebody else's over an image, without directories on the way to its files.
fn foreign(bench: &Bench, base: &Named, target: &str) -> Named {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, target: Option<&str>| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_path(path).unwrap();
        header.set_size(0);
        target.iter().for_each(|target| header.set_link_name(target).unwrap());
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    };
    add("srv/deep/file", tar::EntryType::Regular, None);
    add("srv/again", tar::EntryType::Link, Some("srv/deep/file"));
    add("srv/link", tar::EntryType::Link, Some(target));
    let tar = tar.into_inner().unwrap();
    let layout = Layout::open_or_create(bench.path("foreign")).unwrap();
    ocibuild_core::copy::copy(
        std::slice::from_ref(&base.place.root),
        base.place.source.as_ref(),
        &layout,
        &CopyOptions::new(),
    )
    .unwrap();
    let put = |media_type, bytes: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &bytes);
        layout.push(&descriptor, &BytesContent::new(bytes)).unwrap();
        descriptor
    };
    let (mut manifest, mut config) = documents(&layout, &base.place.root);
    config.rootfs.diff_ids.push(DiffId(Digest::of(&tar)));
    let entry = |by: &str, empty_layer| {
        let mut entry = History::of_layer("2024-01-01T00:00:00Z", by);
        entry.empty_layer = empty_layer;
        entry
    };
    config.history.extend([entry("ENV A=1", true), entry("COPY . /srv", false), entry("CMD x", true)]);
    config.created = Some("2024-01-01T00:00:00Z".to_owned());
    config.other.insert("docker_version".to_owned(), "20.10".into());
    let run = config.config.get_or_insert_default();
    run.cmd = Some(vec!["x".to_owned()]);
    manifest.layers.push(put(MediaType::LAYER, tar));
    manifest.config = put(MediaType::CONFIG, to_json(&config));
    let root = put(MediaType::MANIFEST, to_json(&manifest));
    let place = OpenBase { source: Arc::new(layout), root };
    Named { place, name: "foreign".to_owned(), reference: None }
}

#[test]
fn an_image_that_somebody_else_made_is_moved_as_well() {
    let bench = Bench::new();
    let base = |name: &str, srv: LayerSpec| {
        let kept = LayerSpec::named("kept").content("/etc/kept", "k");
        bench.image(name, scratch().layer(kept).layer(srv).env("BASE", name).cmd(["sh"]))
    };
    let old = base("old", LayerSpec::named("srv").content("/etc/gone", "g"));
    let new = base("new", LayerSpec::named("srv").content("/etc/other", "o"));
    let image = foreign(&bench, &old, "etc/kept");
    let moved = bench.rebase(&image, &old, &new).unwrap();
    let (manifest, config) = documents(&moved.source(), &moved.images[0].root);
    let told: Vec<&str> = config.history.iter().filter_map(|entry| entry.created_by.as_deref()).collect();
    let expected = ["ocibuild layer kept", "ocibuild layer srv", "ENV A=1", "COPY . /srv", "CMD x"];
    assert_eq!(told, expected);
    let created = config.history.last().and_then(|entry| entry.created.as_deref());
    assert_eq!(created, Some("2024-01-01T00:00:00Z"), "when it was made is not ours to say");
    assert_eq!(config.other["docker_version"], "20.10");
    let run = config.config.unwrap();
    assert_eq!((run.env.unwrap(), run.cmd.unwrap()), (vec!["BASE=new".to_owned()], vec!["x".to_owned()]));
    assert_eq!(manifest.annotations[annotation::BASE_DIGEST], new.place.root.digest.to_string());

    let link = foreign(&bench, &old, "etc/gone");
    let told = bench.conflicts(&link, &old, &new);
    assert_eq!(told, ["`/srv/link`: a name of the old base's `/etc/gone`, which the new one doesn't have"]);
    let file = base("file", LayerSpec::named("srv").content("/srv", "a file"));
    let told = bench.conflicts(&image, &old, &file);
    let expected = "`/srv`: nothing in the old base, a file in the new one, and a directory of the image's";
    assert_eq!(told, [expected]);
}
