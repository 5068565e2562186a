//! Specs that are as they should be, from files and from builders.

use std::time::Duration;

use super::*;
use crate::oci::{Compression, Platform};

/// The example of the documentation, without what is yet to come.
pub(super) const EXAMPLE: &str = r#"
version = 1
[vars]
tag = "dev"

[layers.dependencies]
manifests = ["package-lock.json"]
key = ["node-22"]
copy = [{ from = "node_modules", to = "/app/node_modules" }]

[layers.app]
compression = "gzip:6"
copy = [
  { from = "dist", to = "/app/dist", exclude = ["**/*.map"], owner = "65532:65532" },
  { from = "config/production.yaml", to = "/app/config.yaml", mode = "0600" },
  { content = "api {var.tag}\n", to = "/app/VERSION" },
  { symlink = "/app/dist/index.js", to = "/app/main.js" },
  { directory = "/var/lib/api", mode = "0700", owner = "65532:65532" },
]

[images.runtime]
base = { layout = "base.oci" }
layers = ["dependencies", "app"]
platforms = ["linux/amd64"]
tags = ["registry.example.com/team/api:{var.tag}"]
entrypoint = ["node", "/app/dist/index.js"]
workdir = "/app"
user = "65532"
env = { NODE_ENV = "production", ARCH = "{arch}" }
expose = ["3000/tcp", "53/udp", 8080]
stop-signal = "SIGINT"
healthcheck = { test = ["CMD", "node", "/app/dist/health.js"], interval = "30s", timeout = "5s", retries = 3 }
"#;

fn sound(source: &str) -> Spec {
    parse(source).unwrap_or_else(|error| panic!("{}", error.render(&Sources::of("ocibuild.toml", source))))
}

fn amd64() -> Platform {
    Platform::linux_amd64()
}

#[test]
fn the_example_is_read() {
    let spec = sound(EXAMPLE);
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
    let names: Vec<&str> = spec.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["dependencies", "app"]);
    let app = spec.layer("app").unwrap();
    assert_eq!(app.copies.len(), 5);
    assert_eq!(app.compression.unwrap().value, Compression::Gzip { level: 6 });
    let CopyKind::From(from) = &app.copies[0].what else { panic!("{:?}", app.copies[0]) };
    assert_eq!(from.exclude[0].as_literal(), Some("**/*.map"));
    assert_eq!(app.copies[0].owner.as_ref().unwrap().to_string(), "65532:65532");
    assert_eq!(app.copies[4].mode.unwrap().bits(), 0o700);
    assert_eq!(app.copies[4].to.as_literal(), Some("/var/lib/api"));

    let image = spec.image("runtime").unwrap();
    let ports: Vec<String> = image.config.expose.iter().map(|port| port.to_string()).collect();
    assert_eq!(ports, ["3000/tcp", "53/udp", "8080/tcp"]);
    let health = image.config.healthcheck.as_ref().unwrap();
    assert_eq!(health.interval.unwrap().value, Duration::from_secs(30));
    let platform = amd64();
    let lookup = spec.vars.lookup(&platform);
    assert_eq!(image.tags[0].expand(&lookup).unwrap(), "registry.example.com/team/api:dev");
    assert_eq!(image.config.env[1].1.expand(&lookup).unwrap(), "amd64");
}

#[test]
fn the_quickstart_is_read() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart/ocibuild.toml");
    let spec = sound(&std::fs::read_to_string(path).unwrap());
    assert!(spec.warnings.is_empty(), "{:?}", spec.warnings);
}

#[test]
fn values_know_their_place() {
    let spec = sound(EXAMPLE);
    let tag = &spec.image("runtime").unwrap().tags[0];
    let span = tag.span.unwrap();
    assert_eq!(&EXAMPLE[span.start..span.end], "\"registry.example.com/team/api:{var.tag}\"");
    let fault = Fault::new("gone", tag.span);
    let sources = Sources::of("f", EXAMPLE);
    let position = sources.position(fault.span.unwrap());
    assert_eq!((position.file, position.line, position.column), ("f", 25, 9));
    assert!(fault.render(&Sources::of("f", EXAMPLE)).starts_with("f:25:9: gone\n  25 | tags = "));
}

#[test]
fn a_builder_makes_the_spec_of_a_file() {
    let file = sound(
        r#"
        version = 1
        [layers.app]
        manifests = ["Cargo.lock"]
        copy = [
          { from = "target/release/server", to = "/app/server", mode = "0755", owner = "1:2" },
          { from = "assets", to = "/app/assets", include = ["**/*.png"], dir-mode = "0700" },
          { content = "{{x}}", to = "/app/x" },
          { symlink = "/app/server", to = "/bin/server" },
          { directory = "/data" },
        ]
        compression = "none"
        [images.image]
        base = "scratch"
        layers = ["app"]
        platforms = ["linux/amd64"]
        tags = ["registry.example.com/app:1"]
        entrypoint = ["/app/server"]
        cmd = ["--port", "8080"]
        user = "65532"
        workdir = "/app"
        env = { A = "b" }
        expose = [8080]
        labels = { "org.example" = "x" }
        annotations = { "org.example" = "y", index = { i = "1" }, manifest = { m = "2" }, descriptor = { d = "3" } }
        author = "me"
        compression = "gzip:2"
        inherit = ["env", "stop-timeout"]
        volumes = ["/data"]
        stop-signal = "SIGINT"
        stop-timeout = "1m30s"
        shell = ["/bin/bash", "-c"]
        on-build = ["RUN make", "copy . /src"]
        healthcheck = { test = ["CMD", "/check"], interval = "30s", timeout = "5s", start-period = "1m", start-interval = "2s", retries = 3 }
        "#,
    );
    let layer = LayerSpec::named("app")
        .manifests(["Cargo.lock"])
        .copy("target/release/server", "/app/server")
        .mode(0o755)
        .owner(1, 2)
        .copy("assets", "/app/assets")
        .include("**/*.png")
        .dir_mode(0o700)
        .content("/app/x", "{x}")
        .symlink("/bin/server", "/app/server")
        .directory("/data")
        .compression(Compression::None);
    let built = ImageSpec::scratch(amd64())
        .layer(layer)
        .tag("registry.example.com/app:1")
        .entrypoint(["/app/server"])
        .cmd(["--port", "8080"])
        .user("65532")
        .workdir("/app")
        .env("A", "b")
        .expose(8080)
        .label("org.example", "x")
        .annotation("org.example", "y")
        .annotation_of(Scope::Index, "i", "1")
        .annotation_of(Scope::Manifest, "m", "2")
        .annotation_of(Scope::Descriptor, "d", "3")
        .author("me")
        .compression(Compression::Gzip { level: 2 })
        .inherit(Inherit::Only(vec![Field::Env.into(), Field::StopTimeout.into()]))
        .volume("/data")
        .stop_signal("SIGINT")
        .stop_timeout(Duration::from_secs(90))
        .shell(["/bin/bash", "-c"])
        .on_build("RUN make")
        .on_build("copy . /src")
        .healthcheck(
            Healthcheck::new(vec!["CMD".to_owned(), "/check".to_owned()])
                .interval(Duration::from_secs(30))
                .timeout(Duration::from_secs(5))
                .start_period(Duration::from_secs(60))
                .start_interval(Duration::from_secs(2))
                .retries(3),
        );
    assert_eq!(built.into_spec().unwrap(), file);
}

#[test]
fn builders_are_held_to_the_same_rules() {
    let layer = LayerSpec::named("a b").mode(0o755).copy("../x", "app").mode(0o10000).owner(u32::MAX, 0);
    let image = ImageSpec::scratch(amd64()).layer(layer).layer(LayerSpec::named("empty")).expose(0).tag("A");
    let error = image.workdir("{os}").into_spec().unwrap_err();
    let expected = "\
flags: `0` is not a port
  hint: write a number from 1 to 65535, with `/udp` if it isn't TCP: \"3000/tcp\", \"53/udp\"

flags: layer `a b`: `mode` comes before any copy

flags: layer `a b`: `0o10000` is not a mode
  hint: write octal digits, such as \"0755\"

flags: layer `empty`: layer `empty` copies nothing
  hint: add `copy = [{ from = \"…\", to = \"/…\" }]`

flags: layer `a b`: `a b` is not a name
  hint: use letters and digits, after the first also `.`, `_`, `-`, at most 128

flags: layer `a b`, copy 1: `app` is not an absolute path
  hint: write \"/app\"

flags: layer `a b`, copy 1: `4294967295:0` is not an owner: the highest number stands for none

flags: layer `a b`, copy 1: `../x` leads out of the root
  hint: set `root` to a directory that holds it, and write the path from there

flags: image `image`: `A` is not an image reference: a repository is written in lowercase
  hint: write \"a\"

flags: image `image`: `{os}` is not an absolute path
  hint: write \"/{os}\"
";
    assert_eq!(error.render(&Sources::of("flags", "")), expected);
    assert!(ImageSpec::scratch(amd64()).into_spec().is_err(), "nothing on scratch");
    assert!(ImageSpec::scratch(amd64()).base_layout("base.oci").into_spec().is_ok());
}

#[test]
fn names_in_braces_stand_for_values() {
    let source = r#"
        version = 1
        [vars]
        libc = "gnu"
        [vars."linux/arm64"]
        libc = "musl"
        [vars."linux/arm/v7"]
        libc = "musleabihf"
        [images.a]
        base = { layout = "x" }
        labels = { a = "{os}-{arch}{variant}-{var.libc}-{{{var.given}}}" }
    "#;
    let given = BTreeMap::from([("given".to_owned(), "{os}".to_owned())]);
    let mut spec = Spec::parse(source, &given).unwrap();
    let label = spec.images[0].config.labels[0].1.clone();
    let expand = |spec: &Spec, platform: &str| label.expand(&spec.vars.lookup(&platform.parse().unwrap()));
    assert_eq!(expand(&spec, "linux/amd64").unwrap(), "linux-amd64-gnu-{{os}}");
    assert_eq!(expand(&spec, "linux/arm64").unwrap(), "linux-arm64-musl-{{os}}");
    assert_eq!(expand(&spec, "linux/arm64/v8").unwrap(), "linux-arm64v8-musl-{{os}}");
    assert_eq!(expand(&spec, "linux/arm/v7").unwrap(), "linux-armv7-musleabihf-{{os}}");
    spec.vars.given.insert("libc".to_owned(), "none".to_owned());
    assert_eq!(expand(&spec, "linux/arm64").unwrap(), "linux-arm64-none-{{os}}");
    spec.vars.given.clear();
    let error = expand(&spec, "linux/amd64").unwrap_err();
    assert_eq!(error.to_string(), "variable `given` has no value for linux/amd64");

    let platform = amd64();
    let lookup = spec.vars.lookup(&platform);
    let fault = label.resolve(&lookup, check::c_string).unwrap_err();
    assert_eq!((fault.message, fault.span), (error.to_string(), label.span));
    assert_eq!(fault.hint.unwrap(), "define it under `[vars]` or `[vars.\"linux/amd64\"]`");
    spec.vars.given.insert("given".to_owned(), "\0".to_owned());
    let fault = label.resolve(&spec.vars.lookup(&platform), check::c_string).unwrap_err();
    assert_eq!(fault.message, "a NUL character can't be passed to a program");
}

#[test]
fn warnings_leave_a_spec_sound() {
    let source = r#"version = 1
[layers.app]
copy = [{ content = "", to = "/a" }]
[layers.unused]
copy = [{ content = "", to = "/a" }]
[vars]
tag = "x"
[images.a]
layers = ["app"]
platforms = ["linux/amd46"]
entrypoint = ["/a", "{var.tag}", "${HOME}"]
"#;
    let given = BTreeMap::from([("tga".to_owned(), String::new())]);
    let spec = Spec::parse(source, &given).unwrap();
    let told: Vec<&str> = spec.warnings.iter().map(|warning| warning.message.as_str()).collect();
    let expected = [
        "layer `unused` is in no image",
        "`amd46` is not a known architecture",
        "`{var.…}` stays as it is here",
        "nothing uses the given variable `tga`",
    ];
    assert_eq!(told, expected);
    assert_eq!(spec.warnings[3].hint.as_deref(), Some("did you mean `tag`?"));
}

#[test]
fn images_stay_in_the_order_of_the_file() {
    let source = "version = 1\n[images.b]\nbase = { layout = \"x\" }\n[images.a.env]\nZ = \"1\"\nA = \"2\"\n\
                  [images.a]\nbase = { layout = \"x\" }\n";
    let spec = sound(source);
    let names: Vec<&str> = spec.images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    let env: Vec<&str> = spec.images[1].config.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(env, ["Z", "A"]);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_taken() {
    let source = "\u{feff}version = 1\r\n[images.a]\r\nbase = { layout = \"x\" }\r\nuser = \"a b\"\r\n";
    assert_eq!(
        said(source),
        "ocibuild.toml:4:8: `a b` is not a user\n  4 | user = \"a b\"\n    |        ^^^^^\n  hint: write \
         \"USER\", \"UID\", \"USER:GROUP\" or \"UID:GID\", such as \"65532:65532\"\n"
    );
}

#[test]
fn a_large_file_is_refused() {
    let source = format!("version = 1\n#{}", "x".repeat(4 << 20));
    assert!(said(&source).contains("but a spec has at most 4194304"));
}

#[test]
fn many_faults_are_cut_short() {
    let source = format!("version = 1\n{}", "a = 1\n".repeat(10_000));
    let text = said(&source);
    assert!(text.ends_with("\nocibuild.toml: 9900 more faults\n"), "{}", &text[text.len() - 60..]);
}

#[test]
fn nested_values_leave_the_stack_alone() {
    let keys = "a.".repeat(78) + "a";
    let tables = format!("{keys} = {{").repeat(78) + "b = 1" + &"}".repeat(78);
    let arrays = "a = ".to_owned() + &"[".repeat(1 << 20);
    let dotted = "a.".repeat(1 << 20) + "a = 1";
    let headers = "[".to_owned() + &"a.".repeat(15) + "a]\n" + &("a.".repeat(15) + "a = {").repeat(15);
    let work = move || {
        for source in [tables, arrays, dotted, headers] {
            assert!(parse(&source).is_err());
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn values_are_written_as_read() {
    assert_eq!("0755".parse::<Mode>().unwrap().to_string(), "0755");
    assert_eq!("1777".parse::<Mode>().unwrap().bits(), 0o1777);
    assert_eq!("755".parse::<Mode>().unwrap().bits(), 0o755);
    for text in ["", "7", "0888", "+755", "0x1ff", "77777"] {
        assert!(text.parse::<Mode>().is_err(), "{text}");
    }
    let durations = [("500ms", 500), ("1m30s", 90_000), ("2h", 7_200_000), ("1s1ms", 1001)];
    for (text, millis) in durations {
        assert_eq!(check::duration(text).unwrap(), Duration::from_millis(millis), "{text}");
    }
    for text in ["", "1", "s", "-1s", "1.5s", "1s ", "1 s", "99999999999999999999s"] {
        assert!(check::duration(text).is_err(), "{text}");
    }
    for text in ["root", "0", "65532:65532", "app:staff", "_apt", "user.name"] {
        assert!(check::user(text).is_ok(), "{text}");
    }
    for text in ["", ":", "a:", ":b", "a:b:c", "4294967295", "-a", "a\n"] {
        assert!(check::user(text).is_err(), "{text}");
    }
    for text in ["SIGTERM", "SIGRTMIN+3", "SIGRTMAX-1", "9"] {
        assert!(check::stop_signal(text).is_ok(), "{text}");
    }
}

#[test]
fn a_layer_of_bytes_stands_alone() {
    let bytes: &[u8] = b"TZif2\x00\xff";
    let layer = LayerSpec::named("zones").bytes("/zone", bytes).mode(0o644).into_layer().unwrap();
    assert_eq!(layer.copies[0].what, CopyKind::Bytes(bytes.into()));
    assert!(LayerSpec::named("none").into_layer().is_err());
    assert!(LayerSpec::named("bad").bytes("/x", bytes).mode(0o10000).into_layer().is_err());
    let image =
        |to: &str| ImageSpec::on(Base::Scratch).layer(LayerSpec::named("a").bytes(to, bytes)).into_spec();
    assert!(image("/zone").is_ok());
    assert!(image("/zones/").is_err(), "there is no name it could keep");
}
