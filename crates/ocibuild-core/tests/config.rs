//! What a spec says of an image's config and annotations, found again in the bytes: fields, what is
//! inherited of a base, scopes of annotations, compression by image, remarks in the history.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use ocibuild_core::blob::{Source, Target as _, read_whole};
use ocibuild_core::build::Built;
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{
    Compression, ImageConfig, Index, MAX_MANIFEST_SIZE, Manifest, MediaType, from_json,
};
use ocibuild_core::plan::{BuiltinBase, PlanError};
use ocibuild_core::spec::{Fault, Sources, Spec};
use ocibuild_core::{Builder, Descriptor, Event, ImageSpec, LayerSpec, Platform};
use serde_json::{Value, json};

const LAYER: &str = "version = 1\n[layers.app]\ncopy = [{ content = \"x\", to = \"/x\" }]\n";

fn parse(text: &str) -> Spec {
    let parsed = Spec::parse(text, &BTreeMap::new());
    parsed.unwrap_or_else(|error| panic!("{}", error.render(&Sources::of("spec", text))))
}

fn builder<'a>(root: &Path) -> Builder<'a> {
    Builder::new(root, root.join("cache")).threads(1)
}

fn build_spec(root: &Path, text: &str) -> Built {
    let built = builder(root).build_spec(&parse(text)).unwrap();
    check(&built);
    built
}

fn check(built: &Built) {
    for image in &built.images {
        let options = ValidateOptions::default().advice(true);
        let violations = validate(&built.source(), &image.root, &options).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

fn bytes(built: &Built, descriptor: &Descriptor) -> Vec<u8> {
    read_whole(&built.source() as &dyn Source, descriptor, MAX_MANIFEST_SIZE).unwrap()
}

fn manifest(built: &Built, descriptor: &Descriptor) -> Manifest {
    from_json(&bytes(built, descriptor)).unwrap()
}

fn index(built: &Built, image: usize) -> Index {
    from_json(&bytes(built, &built.images[image].root)).unwrap()
}

fn config(built: &Built, image: usize) -> ImageConfig {
    from_json(&bytes(built, &manifest(built, &built.images[image].root).config)).unwrap()
}

/// The config as others see it.
fn config_json(built: &Built, image: usize) -> Value {
    serde_json::from_slice(&bytes(built, &manifest(built, &built.images[image].root).config)).unwrap()
}

/// Builds a base with every field, and writes it to `base`.
fn write_base(root: &Path) {
    let text = format!(
        "{LAYER}[images.base]\nlayers = [\"app\"]\nauthor = \"base\"\nentrypoint = [\"/base\"]\ncmd = [\"serve\"]\n\
         env = {{ PATH = \"/bin\", A = \"1\" }}\nuser = \"1\"\nworkdir = \"/srv\"\nexpose = [80]\n\
         volumes = [\"/data\"]\nlabels = {{ a = \"1\" }}\nstop-signal = \"SIGINT\"\nstop-timeout = \"30s\"\n\
         shell = [\"/bin/bash\", \"-c\"]\non-build = [\"RUN make\", \"COPY . /src\"]\n\
         healthcheck = {{ test = [\"CMD\", \"/check\"], interval = \"30s\", timeout = \"5s\", \
         start-period = \"1m\", start-interval = \"2s\", retries = 3 }}\n"
    );
    let built = build_spec(root, &text);
    let layout = Layout::open_or_create(root.join("base")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
}

fn on_base(rest: &str) -> String {
    format!("{LAYER}[images.own]\nbase = {{ layout = \"base\" }}\nlayers = [\"app\"]\n{rest}")
}

#[test]
fn every_field_stands_in_the_config() {
    let root = tempfile::tempdir().unwrap();
    write_base(root.path());
    let layout = Layout::open(root.path().join("base")).unwrap();
    let read = |descriptor: &Descriptor| read_whole(&layout, descriptor, MAX_MANIFEST_SIZE).unwrap();
    let manifest: Manifest = from_json(&read(&layout.resolve("base").unwrap())).unwrap();
    let config: Value = serde_json::from_slice(&read(&manifest.config)).unwrap();
    let expected = json!({
        "Entrypoint": ["/base"], "Cmd": ["serve"], "Env": ["PATH=/bin", "A=1"], "User": "1",
        "WorkingDir": "/srv", "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
        "Labels": { "a": "1" }, "StopSignal": "SIGINT", "StopTimeout": 30,
        "Shell": ["/bin/bash", "-c"], "OnBuild": ["RUN make", "COPY . /src"],
        "Healthcheck": {
            "Test": ["CMD", "/check"], "Interval": 30_000_000_000_u64, "Timeout": 5_000_000_000_u64,
            "StartPeriod": 60_000_000_000_u64, "StartInterval": 2_000_000_000_u64, "Retries": 3,
        },
    });
    assert_eq!(config["config"], expected);
    assert_eq!(config["author"], "base");
}

#[test]
fn all_but_triggers_is_inherited_and_the_triggers_are_named() {
    let root = tempfile::tempdir().unwrap();
    write_base(root.path());
    let warnings = |rest: &str| {
        let told = Mutex::new(Vec::new());
        let observer = |event: &Event| {
            if let Event::Warning(warning) = event {
                told.lock().unwrap().push(warning.message.clone());
            }
        };
        let built = builder(root.path()).observer(&observer).build_spec(&parse(&on_base(rest))).unwrap();
        check(&built);
        (config_json(&built, 0), told.into_inner().unwrap())
    };
    let (config, told) = warnings("");
    assert_eq!(config["config"]["OnBuild"], Value::Null);
    assert_eq!(config["config"]["Shell"], json!(["/bin/bash", "-c"]));
    assert_eq!((&config["config"]["StopTimeout"], &config["author"]), (&json!(30), &json!("base")));
    let expected = "the base of image `own` has triggers, which are neither run nor inherited: `RUN make`, `COPY . /src`";
    assert_eq!(told, [expected]);

    let (config, told) = warnings("inherit = false\n");
    assert_eq!((config.get("config"), config.get("author")), (None, None), "{config}");
    assert_eq!(config["history"].as_array().unwrap().len(), 2, "files and history come along");
    assert!(told.is_empty(), "{told:?}");

    let (config, told) = warnings("inherit = [\"env\", \"author\"]\nuser = \"2\"\non-build = [\"RUN x\"]\n");
    let expected = json!({ "Env": ["PATH=/bin", "A=1"], "User": "2", "OnBuild": ["RUN x"] });
    assert_eq!((&config["config"], &config["author"]), (&expected, &json!("base")));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn empty_lists_take_the_commands_of_a_base_away() {
    let root = tempfile::tempdir().unwrap();
    write_base(root.path());
    let of = |rest: &str| config(&build_spec(root.path(), &on_base(rest)), 0).config.unwrap();
    let config = of("entrypoint = []\n");
    assert_eq!((config.entrypoint, config.cmd), (None, None));
    let config = of("cmd = []\nshell = []\nhealthcheck = { test = [\"NONE\"] }\n");
    assert_eq!(
        (config.entrypoint.unwrap(), config.cmd, config.shell),
        (vec!["/base".to_owned()], None, None)
    );
    assert_eq!(config.healthcheck.unwrap().test, ["NONE"]);
}

#[test]
fn a_builtin_base_is_inherited_by_the_same_rules() {
    let root = tempfile::tempdir().unwrap();
    let brought = |_: &str, _: u32| {
        let layer = LayerSpec::named("tiny").content("/base", "x").into_layer().ok()?;
        let mut config = ocibuild_core::oci::Config::default();
        config.env = Some(vec!["A=1".to_owned()]);
        config.cmd = Some(vec!["serve".to_owned()]);
        Some(BuiltinBase::new(layer, config))
    };
    let of = |rest: &str| {
        let text = format!(
            "{LAYER}[images.a]\nbase = {{ builtin = \"tiny@1\" }}\nlayers = [\"app\"]\ncompression = \"none\"\n{rest}"
        );
        let built = builder(root.path()).builtins(brought).build_spec(&parse(&text)).unwrap();
        check(&built);
        let layers = manifest(&built, &built.images[0].root).layers;
        assert!(layers.iter().all(|layer| layer.media_type == MediaType::LAYER), "{layers:?}");
        config(&built, 0).config.unwrap_or_default()
    };
    let config = of("");
    assert_eq!(
        (config.env.unwrap(), config.cmd.unwrap()),
        (vec!["A=1".to_owned()], vec!["serve".to_owned()])
    );
    let config = of("cmd = []\ninherit = [\"cmd\"]\n");
    assert_eq!((config.env, config.cmd), (None, None));
}

const SCOPED: &str = "[images.a.annotations]\nall = \"1\"\n\"by.arch\" = \"{arch}\"\nboth = \"common\"\n\
    manifest = { m = \"2\", both = \"manifest\" }\nindex = { i = \"3\", both = \"index\" }\n\
    descriptor = { d = \"{arch}\" }\n";

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn annotations_stand_where_their_scope_says() {
    let root = tempfile::tempdir().unwrap();
    let platforms = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";
    let built =
        build_spec(root.path(), &format!("{LAYER}[images.a]\nlayers = [\"app\"]\n{platforms}{SCOPED}"));
    let index = index(&built, 0);
    assert_eq!(index.annotations, map(&[("all", "1"), ("i", "3"), ("both", "index")]));
    for (descriptor, arch) in index.manifests.iter().zip(["amd64", "arm64"]) {
        assert_eq!(descriptor.annotations, map(&[("d", arch)]));
        let expected = map(&[("all", "1"), ("by.arch", arch), ("both", "manifest"), ("m", "2")]);
        assert_eq!(manifest(&built, descriptor).annotations, expected);
    }
    assert!(built.images[0].root.annotations.is_empty());
}

#[test]
fn one_platform_has_its_descriptor_in_the_layout_and_nothing_for_the_index() {
    let root = tempfile::tempdir().unwrap();
    let text = format!("{LAYER}[images.a]\nlayers = [\"app\"]\n{SCOPED}");
    let plan = builder(root.path()).plan(&parse(&text)).unwrap();
    let [warning] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    let sources = Sources::of("spec", &text);
    let place = warning.span.map(|span| sources.position(span));
    assert_eq!(place.map(|place| (place.line, place.column)), Some((11, 11)));
    assert!(warning.message.contains("an image for one platform has none"), "{warning:?}");
    let built = build_spec(root.path(), &text);
    let layout = Layout::open_or_create(root.path().join("out")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
    let listed = layout.descriptors().unwrap();
    assert_eq!(listed[0].annotations, map(&[("d", "amd64"), ("org.opencontainers.image.ref.name", "a")]));
}

#[test]
fn an_annotation_of_the_index_is_the_same_from_all_platforms() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        "{LAYER}[images.a]\nlayers = [\"app\"]\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
         annotations.index = {{ a = \"1\", b = \"{{arch}}\" }}\n"
    );
    let Err(PlanError::Spec(error)) = builder(root.path()).plan(&parse(&text)) else {
        panic!("it was planned")
    };
    let told = error.render(&Sources::of("spec", &text));
    let expected = "spec:7:36: an annotation of the index differs between the platforms\n";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn our_own_annotations_may_be_overruled_but_only_by_what_belongs_there() {
    let root = tempfile::tempdir().unwrap();
    write_base(root.path());
    let zeros = "0".repeat(64);
    let built = build_spec(
        root.path(),
        &on_base(&format!(
            "[images.own.annotations]\n\"org.opencontainers.image.created\" = \"2026-01-31T12:00:00Z\"\n\
             manifest = {{ \"org.opencontainers.image.base.digest\" = \"sha256:{zeros}\" }}\n"
        )),
    );
    let annotations = manifest(&built, &built.images[0].root).annotations;
    assert_eq!(annotations["org.opencontainers.image.created"], "2026-01-31T12:00:00Z");
    assert_eq!(annotations["org.opencontainers.image.base.digest"], format!("sha256:{zeros}"));

    // What comes from a variable is checked when it is known.
    let text = on_base("[images.own.annotations]\n\"org.opencontainers.image.created\" = \"{arch}\"\n");
    let Err(PlanError::Spec(error)) = builder(root.path()).plan(&parse(&text)) else {
        panic!("it was planned")
    };
    assert!(
        error.render(&Sources::of("spec", &text)).starts_with("spec:8:38: `amd64` is not what"),
        "{error}"
    );
}

#[test]
fn an_images_compression_is_the_default_of_its_layers() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        "{LAYER}[layers.own]\ncompression = \"gzip:9\"\ncopy = [{{ content = \"y\", to = \"/y\" }}]\n\
         [images.a]\nlayers = [\"app\", \"own\"]\ncompression = \"none\"\n\
         [images.b]\nlayers = [\"app\", \"own\"]\n\
         [images.c]\nlayers = [\"own\", \"app\"]\ncompression = \"none\"\n"
    );
    let plan = builder(root.path()).plan(&parse(&text)).unwrap();
    let planned: Vec<(&str, Compression)> =
        plan.layers.iter().map(|layer| (layer.label.as_str(), layer.compression)).collect();
    let expected = [
        ("app (none)", Compression::None),
        ("own", "gzip:9".parse().unwrap()),
        (&*format!("app ({})", Compression::default()), Compression::default()),
    ];
    assert_eq!(planned, expected);
    let built = build_spec(root.path(), &text);
    let types = |image: usize| {
        manifest(&built, &built.images[image].root).layers.into_iter().map(|layer| layer.media_type)
    };
    assert!(types(0).eq([MediaType::LAYER, MediaType::LAYER_GZIP]));
    assert!(types(1).eq([MediaType::LAYER_GZIP, MediaType::LAYER_GZIP]));
    assert!(types(2).eq([MediaType::LAYER_GZIP, MediaType::LAYER]));
    let diff_ids = |image: usize| config(&built, image).rootfs.diff_ids;
    assert_eq!(diff_ids(0), diff_ids(1), "only the blobs differ");
}

#[test]
fn a_layers_remark_stands_in_the_history() {
    let root = tempfile::tempdir().unwrap();
    let spec = ImageSpec::scratch(Platform::linux_amd64())
        .layer(LayerSpec::named("one").content("/1", "1").comment("what is one"))
        .layer(LayerSpec::named("two").content("/2", "2"));
    let built = builder(root.path()).build(&spec).unwrap();
    check(&built);
    let config = config(&built, 0);
    let told: Vec<_> = config
        .history
        .iter()
        .map(|entry| (entry.created_by.as_deref().unwrap(), entry.comment.as_deref(), entry.empty_layer))
        .collect();
    assert_eq!(
        told,
        [("ocibuild layer one", Some("what is one"), false), ("ocibuild layer two", None, false)]
    );
}

#[test]
fn what_is_doubtful_is_warned_of() {
    let text = format!(
        "{LAYER}[images.a]\nlayers = [\"app\"]\nhealthcheck = {{ test = [\"CMD\", \"a\"], start-interval = \"5s\" }}\n\
         shell = [\"{{arch}}\"]\n\"annotations\" = {{ \"org.opencontainers.image.titel\" = \"x\" }}\n"
    );
    let spec = parse(&text);
    let sources = Sources::of("spec", &text);
    let told: Vec<(usize, &str)> = spec
        .warnings
        .iter()
        .map(|warning| (sources.position(warning.span.unwrap()).line, warning.message.as_str()))
        .collect();
    let expected = [
        (6, "`start-interval` means nothing without `start-period`"),
        (7, "`{arch}` stays as it is here"),
        (8, "the specification reserves `org.opencontainers.image.…` and has no `titel`"),
    ];
    assert_eq!(told, expected);
}

/// What is told of how containers of an image start.
#[track_caller]
fn told(root: &Path, image: &str, layers: &str) -> Vec<String> {
    let text = format!("version = 1\n{layers}\n[images.i]\n{image}\n");
    let built = build_spec(root, &text);
    let sources = Sources::of("spec", &text);
    let place = |fault: &Fault| fault.span.map(|span| sources.position(span).line);
    assert!(built.warnings.iter().all(|fault| place(fault).is_some() && fault.hint.is_some()));
    built.warnings.iter().map(|fault| fault.message.clone()).collect()
}

const NOTHING: [String; 0] = [];

#[test]
fn a_program_that_is_nowhere_is_told_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path);
    std::fs::create_dir_all(path("dist/bin")).unwrap();
    std::fs::write(path("dist/bin/server"), "x").unwrap();
    std::os::unix::fs::symlink("bin", path("dist/current")).unwrap();
    let lacks = |program: &str| [format!("containers are to start `{program}`, which isn't in the image")];
    let one = "[layers.l]\ncopy = [{ from = \"dist/bin/server\", to = \"/app/server\" }]";
    let all = "[layers.l]\ncopy = [{ from = \"dist\", to = \"/app/\" }]";
    let locked = &all.replace("copy", "manifests = [\"lock\"]\ncopy");
    std::fs::write(path("lock"), "").unwrap();
    let linked =
        "[layers.l]\ncopy = [{ from = \"dist\", to = \"/opt/x\" }, { symlink = \"/opt/x\", to = \"/srv\" }]";
    let cases = [
        (one, "entrypoint = [\"/app/server\"]", None),
        (one, "entrypoint = [\"/app/servr\"]", Some("/app/servr")),
        (one, "entrypoint = [\"server\"]", None),
        (one, "cmd = [\"/bin/sh\"]", Some("/bin/sh")),
        (one, "entrypoint = [\"/app/server\"]\ncmd = [\"/nope\"]", None),
        (one, "entrypoint = [\"/app/../app/servr\"]", None),
        (one, "entrypoint = [\"/data/run\"]\nvolumes = [\"/data\"]", None),
        (all, "entrypoint = [\"/app/bin/server\"]", None),
        (all, "entrypoint = [\"//app/./bin/server\"]", None),
        (all, "entrypoint = [\"/app/current/server\"]", None),
        (all, "entrypoint = [\"/app/dist/bin/server\"]", Some("/app/dist/bin/server")),
        (locked, "entrypoint = [\"/app/dist/bin/server\"]", Some("/app/dist/bin/server")),
        // Reused.
        (locked, "entrypoint = [\"/app/dist/bin/server\"]", Some("/app/dist/bin/server")),
        (linked, "entrypoint = [\"/srv/bin/server\"]", None),
        (linked, "entrypoint = [\"/opt/bin/server\"]", Some("/opt/bin/server")),
        // Windows has other paths.
        (one, "platforms = [\"windows/amd64\"]\nentrypoint = [\"/nope\"]", None),
    ];
    for (layers, image, program) in cases {
        let found = told(root.path(), &format!("layers = [\"l\"]\n{image}"), layers);
        assert_eq!(found, program.map(lacks).into_iter().flatten().collect::<Vec<_>>(), "{image}");
    }
    let two = "layers = [\"{arch}\"]".replace("{arch}", "l");
    let two = format!("{two}\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\nentrypoint = [\"/app/amd64\"]");
    let found = told(root.path(), &two, "[layers.l]\ncopy = [{ content = \"\", to = \"/app/{arch}\" }]");
    assert_eq!(found, [format!("{} (linux/arm64)", lacks("/app/amd64")[0])]);
}

#[test]
fn a_program_of_the_base_is_found_behind_its_links() {
    let root = tempfile::tempdir().unwrap();
    let base = "version = 1\n[layers.l]\ncopy = [{ content = \"\", to = \"/usr/bin/sh\" }, { symlink = \"usr/bin\", to = \"/bin\" }]\n\
        [images.base]\nlayers = [\"l\"]\nentrypoint = [\"/gone\"]\n";
    let built = build_spec(root.path(), base);
    assert_eq!(built.warnings.len(), 1);
    let layout = Layout::open_or_create(root.path().join("base")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
    let layer = "[layers.l]\ncopy = [{ content = \"\", to = \"/bin/own\" }]";
    let image = |rest: &str| format!("base = {{ layout = \"base\" }}\nlayers = [\"l\"]\n{rest}");
    // What is inherited is the base's matter, and what is beside it are arguments.
    for rest in [
        "",
        "cmd = [\"/nope\"]",
        "entrypoint = [\"/bin/sh\"]",
        "entrypoint = [\"/bin/own\"]",
        "entrypoint = [\"/usr/bin/own\"]",
    ] {
        assert_eq!(told(root.path(), &image(rest), layer), NOTHING, "{rest}");
    }
    assert_eq!(told(root.path(), &image("entrypoint = [\"/bin/bash\"]"), layer).len(), 1);
    assert_eq!(told(root.path(), &image("inherit = false\ncmd = [\"/nope\"]"), layer).len(), 1);
}

#[test]
fn a_user_that_the_image_does_not_know_is_told() {
    let root = tempfile::tempdir().unwrap();
    let passwd = "root:x:0:0::/:/bin/sh\\napp:x:7:7::/:/bin/sh\\n";
    let layer = "[layers.l]\ncopy = [{ content = \"\", to = \"/x\" }]";
    let with = format!("[layers.l]\ncopy = [{{ content = \"{passwd}\", to = \"/etc/passwd\" }}]");
    let image = |user: &str| format!("layers = [\"l\"]\nuser = \"{user}\"");
    let lacks = |what: &str| format!("containers are to run with the {what}, which the image doesn't have");
    assert_eq!(told(root.path(), &image("app"), layer), [lacks("user `app`")]);
    assert_eq!(told(root.path(), &image("7:app"), layer), [lacks("group `app`")]);
    for user in ["7", "7:7"] {
        assert_eq!(told(root.path(), &image(user), layer), NOTHING, "{user}");
    }
    assert_eq!(told(root.path(), &image("nobody"), &with), NOTHING, "what a layer writes isn't looked into");
    let built = build_spec(root.path(), &format!("version = 1\n{with}\n[images.i]\nlayers = [\"l\"]\n"));
    let layout = Layout::open_or_create(root.path().join("base")).unwrap();
    built.write_layout(&built.images, &layout, &Default::default()).unwrap();
    let on = |user: &str| format!("base = {{ layout = \"base\" }}\n{}", image(user));
    assert_eq!(told(root.path(), &on("app"), layer), NOTHING);
    assert_eq!(told(root.path(), &on("ap"), layer), [lacks("user `ap`")]);
    assert_eq!(told(root.path(), &on("app:app"), layer), [lacks("group `app`")]);
}
