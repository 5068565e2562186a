//! Where credentials are found, whom they are sent to, and that nobody sees them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocibuild_testkit::{Output, require, run_any, tool};
use serde_json::json;

use crate::bench::{Bench, SPEC};
use crate::recorder::{Recorder, Reply};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A registry without images that takes one `Authorization`.
fn registry(wanted: &str) -> Recorder {
    let wanted = wanted.to_owned();
    Recorder::start(move |asked, _| match asked.header("authorization") {
        Some(value) if value == wanted && asked.path == "/v2/" => Reply::new(200),
        Some(value) if value == wanted => Reply::new(404),
        _ => Reply::new(401)
            .header("WWW-Authenticate", "Basic realm=\"r\"")
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#),
    })
}

/// A registry without images whose token server gives `granted` for `wanted`, which is looked for in
/// the header and the body of what it is asked.
fn token_registry(wanted: &str, granted: &str) -> Recorder {
    let (wanted, granted) = (wanted.to_owned(), granted.to_owned());
    Recorder::start(move |asked, _| {
        if asked.path.starts_with("/token") {
            let said = asked.header("authorization").unwrap_or_default();
            let body = String::from_utf8_lossy(&asked.body);
            return match said == wanted || body.contains(&wanted) {
                true => Reply::new(200).body(json!({ "token": granted }).to_string()),
                false => Reply::new(401).body(r#"{"details":"incorrect username or password"}"#),
            };
        }
        if asked.header("authorization") == Some(&format!("Bearer {granted}")) {
            return Reply::new(404);
        }
        let host = asked.header("host").unwrap();
        Reply::new(401)
            .header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"s\""))
    })
}

fn presented(recorder: &Recorder) -> Vec<String> {
    let asked = recorder.asked();
    let mut all: Vec<String> =
        asked.iter().filter_map(|asked| asked.header("authorization")).map(str::to_owned).collect();
    all.dedup();
    all
}

/// A config of docker's form with one entry.
fn config(key: &str, user: &str, password: &str) -> String {
    json!({ "auths": { key: { "auth": STANDARD.encode(format!("{user}:{password}")) } } }).to_string()
}

/// The program, looking for a tag that no registry here has: exit code 4 says that it was let in.
fn inspect(bench: &Bench, host: &str) -> Command {
    bench.command(&["inspect", &format!("{host}/team/app:v1")])
}

/// A `docker-credential-NAME` in a directory of its own; gives `PATH` with that directory.
fn helper(bench: &Bench, name: &str, script: &str) -> String {
    let log = bench.tree.join("helper.log");
    let program = format!("bin/docker-credential-{name}");
    bench.tree.write(&program, format!("#!/bin/sh\necho \"$1\" >> '{}'\n{script}\n", log.display()));
    fs::set_permissions(bench.tree.join(&program), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", bench.tree.join("bin").display(), std::env::var("PATH").unwrap())
}

fn answer(user: &str, secret: &str) -> String {
    let answer = json!({ "ServerURL": "x", "Username": user, "Secret": secret });
    format!("read server\necho '{answer}'")
}

#[test]
fn each_place_is_looked_at() {
    let registry = registry(&basic("me", "hidden"));
    let host = &registry.host;
    let entry = config(host, "me", "hidden");
    type Place<'a> = (&'a str, &'a dyn Fn(&Bench, &mut Command));
    let write = |bench: &Bench, path: &str, text: &str| bench.tree.write(path, text);
    let path_entry = config(&format!("{host}/team"), "me", "hidden");
    let places: [Place<'_>; 10] = [
        ("variables", &|_, command| {
            command.envs([("OCIBUILD_REGISTRY_USERNAME", "me"), ("OCIBUILD_REGISTRY_PASSWORD", "hidden")]);
        }),
        ("DOCKER_AUTH_CONFIG", &|_, command| {
            command.env("DOCKER_AUTH_CONFIG", &entry);
        }),
        ("REGISTRY_AUTH_FILE", &|bench, command| {
            write(bench, "auth.json", &entry);
            command.env("REGISTRY_AUTH_FILE", bench.tree.join("auth.json"));
        }),
        ("XDG_RUNTIME_DIR", &|bench, command| {
            write(bench, "run/containers/auth.json", &entry);
            command.env("XDG_RUNTIME_DIR", bench.tree.join("run"));
        }),
        ("podman's own", &|bench, _| write(bench, "home/.config/containers/auth.json", &entry)),
        ("DOCKER_CONFIG", &|bench, command| {
            write(bench, "docker/config.json", &entry);
            command.env("DOCKER_CONFIG", bench.tree.join("docker"));
        }),
        ("docker's own", &|bench, _| write(bench, "home/.docker/config.json", &entry)),
        ("a path's entry", &|bench, _| write(bench, "home/.docker/config.json", &path_entry)),
        ("credHelpers", &|bench, command| {
            let text = json!({ "credHelpers": { host: "test" }, "credsStore": "none" }).to_string();
            write(bench, "home/.docker/config.json", &text);
            command.env("PATH", helper(bench, "test", &answer("me", "hidden")));
        }),
        ("credsStore", &|bench, command| {
            write(bench, "home/.docker/config.json", r#"{ "credsStore": "test" }"#);
            command.env("PATH", helper(bench, "test", &answer("me", "hidden")));
        }),
    ];
    for (name, set_up) in places {
        let bench = Bench::new();
        let mut command = inspect(&bench, host);
        set_up(&bench, &mut command);
        let output = run_any(&mut command);
        assert_eq!(output.code, Some(4), "{name}: {output}");
    }
    let bench = Bench::new();
    let said = run_any(&mut inspect(&bench, host)).expect_code(5).errors();
    assert!(said.contains("without credentials: 401 UNAUTHORIZED: who are you"), "{said}");
    assert!(said.contains(&format!("`ocibuild login {host}`")), "{said}");
}

#[test]
fn tokens_of_each_kind_are_presented() {
    let bearer = token_registry("nobody", "t0ken");
    let bench = Bench::new();
    run_any(inspect(&bench, &bearer.host).env("OCIBUILD_REGISTRY_TOKEN", "t0ken")).expect_code(4);
    assert_eq!(presented(&bearer), ["Bearer t0ken"]);
    let text = json!({ "auths": { &bearer.host: { "registrytoken": "t0ken" } } }).to_string();
    run_any(inspect(&bench, &bearer.host).env("DOCKER_AUTH_CONFIG", text)).expect_code(4);
    assert!(!bearer.lines().iter().any(|line| line.contains("/token")));

    let identity = token_registry("grant_type=refresh_token&refresh_token=ident1ty", "granted");
    let text = json!({ "auths": { &identity.host: { "identitytoken": "ident1ty" } } }).to_string();
    run_any(inspect(&bench, &identity.host).env("DOCKER_AUTH_CONFIG", text)).expect_code(4);
    let text = json!({ "credHelpers": { &identity.host: "test" } }).to_string();
    let path = helper(&bench, "test", &answer("<token>", "ident1ty"));
    run_any(inspect(&bench, &identity.host).env("DOCKER_AUTH_CONFIG", text).env("PATH", path)).expect_code(4);
    assert_eq!(presented(&identity), ["Bearer granted"]);
}

#[test]
fn the_first_place_that_has_some_counts() {
    let registry = registry("never");
    let host = &registry.host;
    let bench = Bench::new();
    bench.tree.write("auth.json", config(host, "me", "3"));
    bench.tree.write("run/containers/auth.json", config(host, "me", "4"));
    bench.tree.write("home/.config/containers/auth.json", config(host, "me", "5"));
    bench.tree.write("docker/config.json", config(host, "me", "6"));
    bench.tree.write("home/.docker/config.json", config(host, "me", "7"));
    let variables = [
        ("OCIBUILD_REGISTRY_PASSWORD", "1".to_owned()),
        ("DOCKER_AUTH_CONFIG", config(host, "me", "2")),
        ("REGISTRY_AUTH_FILE", bench.tree.join("auth.json").display().to_string()),
        ("XDG_RUNTIME_DIR", bench.tree.join("run").display().to_string()),
        ("nothing", String::new()),
        ("DOCKER_CONFIG", bench.tree.join("docker").display().to_string()),
    ];
    for first in 0..=variables.len() {
        let mut command = inspect(&bench, host);
        command.envs(variables[first..].iter().map(|(name, value)| (name, value)));
        if first == 0 {
            command.env("OCIBUILD_REGISTRY_USERNAME", "me");
        }
        match first {
            5 => fs::remove_file(bench.tree.join("home/.config/containers/auth.json")).unwrap(),
            4 => assert!(bench.tree.join("home/.config/containers/auth.json").exists()),
            _ => {}
        }
        let before = registry.asked().len();
        run_any(&mut command).expect_code(5);
        let expected = basic("me", &(first + 1).to_string());
        let asked = registry.asked();
        let sent = asked[before..].iter().filter_map(|asked| asked.header("authorization"));
        let mut sent: Vec<_> = sent.collect();
        sent.dedup();
        assert_eq!(sent, [expected.as_str()], "{first}");
    }
}

#[test]
fn a_place_without_the_registry_is_passed_over() {
    let registry = registry(&basic("me", "hidden"));
    let bench = Bench::new();
    bench.tree.write("home/.config/containers/auth.json", config("other.example.com", "me", "no"));
    bench.tree.write("home/.docker/config.json", config(&registry.host, "me", "hidden"));
    run_any(&mut inspect(&bench, &registry.host)).expect_code(4);
}

#[test]
fn credentials_in_variables_go_to_who_is_meant() {
    let (one, other) = (registry(&basic("me", "hidden")), registry(&basic("me", "hidden")));
    let login = [("OCIBUILD_REGISTRY_USERNAME", "me"), ("OCIBUILD_REGISTRY_PASSWORD", "hidden")];
    let bench = Bench::with_spec(SPEC);
    let tags = [&one, &other].map(|registry| format!("{}/team/app:1", registry.host));
    let said = run_any(bench.command(&["build", "--push", "-t", &tags[0], "-t", &tags[1]]).envs(login));
    let said = said.expect_code(2).errors();
    assert!(said.contains(&one.host) && said.contains("OCIBUILD_REGISTRY=HOST"), "{said}");
    assert!(presented(&one).is_empty() && presented(&other).is_empty());
    let said = run_any(bench.command(&["diff", &tags[0], &tags[1]]).envs(login)).expect_code(2).errors();
    assert!(said.contains("OCIBUILD_REGISTRY=HOST"), "{said}");
    assert!(presented(&one).is_empty() && presented(&other).is_empty());
    // Nothing that the one registry of a run lacks is refused: the double takes no upload.
    run_any(bench.command(&["build", "--push", "-t", &tags[0]]).envs(login)).expect_code(4);
    assert_eq!(presented(&one), [basic("me", "hidden")]);
    // What it is for can be said, and then it is for nobody else.
    let run = |meant: &str| {
        let code = run_any(inspect(&bench, &other.host).envs(login).env("OCIBUILD_REGISTRY", meant)).code;
        code.unwrap()
    };
    assert_eq!(run(&one.host), 5);
    assert_eq!(run(&format!("{}/teams", other.host)), 5);
    assert_eq!(run(&format!("{}/team", other.host)), 4);
    assert_eq!(run(&other.host), 4);
    // Half a login, or two, are no login.
    for half in [&login[..1], &login[1..], &[login[0], ("OCIBUILD_REGISTRY_TOKEN", "t")]] {
        let said = run_any(inspect(&bench, &other.host).envs(half.to_vec())).expect_code(2).errors();
        assert!(said.contains("`OCIBUILD_REGISTRY_") && !said.contains("hidden"), "{said}");
    }
}

#[test]
fn credentials_in_variables_are_for_no_base() {
    let (base, pushed) = (registry(&basic("me", "hidden")), registry(&basic("me", "hidden")));
    let login = [("OCIBUILD_REGISTRY_USERNAME", "me"), ("OCIBUILD_REGISTRY_PASSWORD", "hidden")];
    let name = format!("{}/team/base:1", base.host);
    let image = "layers = [\"app\"]\n";
    let bench = Bench::with_spec(&SPEC.replace(image, &format!("{image}base = \"{name}\"\n")));
    let tag = format!("{}/team/app:1", pushed.host);
    for words in [&["build"][..], &["lock"], &["check"], &["build", "--push", "-t", &tag]] {
        let said = run_any(bench.command(words).envs(login)).expect_code(5).errors();
        assert!(said.contains("without credentials") && presented(&base).is_empty(), "{words:?}: {said}");
    }
    // Unless it is said that they are.
    run_any(bench.command(&["lock"]).envs(login).env("OCIBUILD_REGISTRY", &base.host)).expect_code(4);
    assert_eq!(presented(&base), [basic("me", "hidden")]);
}

#[test]
fn a_refusal_names_where_the_credentials_are_from() {
    let registry = registry("never");
    let bench = Bench::new();
    let said = |set_up: &dyn Fn(&mut Command)| {
        let mut command = inspect(&bench, &registry.host);
        set_up(&mut command);
        run_any(&mut command).expect_code(5).errors()
    };
    bench.tree.write("home/.docker/config.json", config(&registry.host, "me", "hidden"));
    let file = format!("config.json`, entry `{}`: 401 UNAUTHORIZED: who are you", registry.host);
    assert!(said(&|_| {}).contains(&file));
    bench.tree.write("home/.docker/config.json", r#"{"credsStore": "test"}"#);
    let path = helper(&bench, "test", &answer("me", "hidden"));
    assert!(
        said(&|command| {
            command.env("PATH", &path);
        })
        .contains("the helper `docker-credential-test` (`")
    );
    let token = |command: &mut Command| {
        command.env("OCIBUILD_REGISTRY_TOKEN", "hidden");
    };
    assert!(said(&token).contains("`OCIBUILD_REGISTRY_TOKEN`"));
    let inline = |command: &mut Command| {
        command.env("DOCKER_AUTH_CONFIG", config(&registry.host, "me", "hidden"));
    };
    assert!(said(&inline).contains("`DOCKER_AUTH_CONFIG`, entry"));
}

#[test]
fn helpers_that_fail_are_told_of() {
    let registry = registry("never");
    let bench = Bench::new();
    let entry = json!({ "credHelpers": { &registry.host: "test" } }).to_string();
    bench.tree.write("home/.docker/config.json", entry);
    let run = |path: &str| {
        let mut command = inspect(&bench, &registry.host);
        run_any(command.env("PATH", path).env("OCIBUILD_HELPER_TIMEOUT", "1")).expect_code(5).errors()
    };
    let said = run("/nowhere");
    assert!(said.contains("no program `docker-credential-test`") && said.contains("`PATH`"), "{said}");
    let said = run(&helper(&bench, "test", "echo the keychain is locked >&2; exit 7"));
    assert!(said.contains("exit status: 7: the keychain is locked"), "{said}");
    let began = Instant::now();
    let said = run(&helper(&bench, "test", "sleep 600"));
    assert!(said.contains("took more than 1 seconds"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(presented(&registry).is_empty());
    // One that is for all, and isn't there, is as good as none.
    bench.tree.write("home/.docker/config.json", r#"{"credsStore": "test"}"#);
    assert!(run("/nowhere").contains("without credentials"));
}

#[test]
fn a_file_that_is_faulty_counts_only_where_it_is_needed() {
    let registry = registry(&basic("me", "hidden"));
    let bench = Bench::new();
    bench.tree.write("home/.docker/config.json", "{\n\"auths\": {\"x\": 3}}");
    let said = run_any(&mut inspect(&bench, &registry.host)).expect_code(5).errors();
    assert!(said.contains("config.json`, line 2: a value of the wrong type"), "{said}");
    bench.tree.write("home/.config/containers/auth.json", config(&registry.host, "me", "hidden"));
    run_any(&mut inspect(&bench, &registry.host)).expect_code(4);
}

/// Runs a command with something on standard input.
fn fed(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end without reading it.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let code = output.status.code();
    Output { command: "ocibuild login".to_owned(), code, stdout: output.stdout, stderr: output.stderr }
}

fn log_in(bench: &Bench, host: &str, password: &str) -> Output {
    fed(&mut bench.command(&["login", host, "-u", "me", "--password-stdin"]), &format!("{password}\n"))
}

#[test]
fn a_login_is_checked_and_kept() {
    let registry = registry(&basic("me", "hidden"));
    let host = &registry.host;
    let bench = Bench::new();
    let file = bench.tree.join("home/.docker/config.json");
    let said = log_in(&bench, host, "wrong").expect_code(5).errors();
    assert!(said.contains("of the user `me`: 401") && !said.contains("wrong"), "{said}");
    assert!(!file.exists());
    let output = log_in(&bench, host, "hidden").expect_code(0);
    let said = output.errors();
    assert!(said.contains("plain text") && said.contains(&format!("logged in to {host} as me")), "{said}");
    assert_eq!(output.text(), "");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    run_any(&mut inspect(&bench, host)).expect_code(4);
    let said = bench.ok(&["logout", host]).errors();
    assert!(said.contains("logged out of"), "{said}");
    run_any(&mut inspect(&bench, host)).expect_code(5);
    assert!(bench.ok(&["logout", host]).errors().contains("there was no login"));
}

#[test]
fn a_login_leaves_the_rest_of_the_file_alone() {
    let registry = registry(&basic("me", "hidden"));
    let bench = Bench::new();
    let before = "{\n\t\"psFormat\": \"x\",\n\t\"auths\": {\n\t\t\"z.io\": {\"auth\":  \"YTpi\"}\n\t},\n\t\"aliases\": {\"b\": \"1\"}\n}";
    bench.tree.write("dotfiles/config.json", before);
    bench.tree.write("home/.docker/.keep", "");
    let (link, file) = (bench.tree.join("home/.docker/config.json"), bench.tree.join("dotfiles/config.json"));
    std::os::unix::fs::symlink("../../dotfiles/config.json", &link).unwrap();
    log_in(&bench, &format!("http://{}/v2/", registry.host), "hidden").expect_code(0);
    assert!(link.is_symlink());
    let entry = format!(
        ",\n\t\t\"{}\": {{\n\t\t\t\"auth\": \"{}\"\n\t\t}}\n\t}},\n\t\"aliases\"",
        registry.host,
        STANDARD.encode("me:hidden")
    );
    let expected = format!("{}\n", before.replace("\n\t},\n\t\"aliases\"", &entry));
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    bench.ok(&["logout", &registry.host]);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{before}\n"));
    bench.tree.write("dotfiles/config.json", "{");
    log_in(&bench, &registry.host, "hidden").expect_code(5);
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
}

#[test]
fn a_login_goes_where_it_will_be_looked_for() {
    let registry = registry(&basic("me", "hidden"));
    let host = &registry.host;
    let bench = Bench::new();
    let mut command = bench.command(&["login", host, "-u", "me", "--password-stdin", "-q"]);
    let file = bench.tree.join("ci/auth.json");
    assert_eq!(fed(command.env("REGISTRY_AUTH_FILE", &file), "hidden").expect_code(0).errors(), "");
    assert!(file.exists() && !bench.tree.join("home/.docker").exists());
    run_any(inspect(&bench, host).env("REGISTRY_AUTH_FILE", &file)).expect_code(4);
    // A path's login is for that path.
    log_in(&bench, &format!("{host}/other"), "hidden").expect_code(0);
    run_any(&mut inspect(&bench, host)).expect_code(5);
    log_in(&bench, &format!("{host}/team"), "hidden").expect_code(0);
    run_any(&mut inspect(&bench, host)).expect_code(4);
    // What comes before it is told of.
    bench.tree.write("home/.config/containers/auth.json", config(host, "me", "other"));
    let said = log_in(&bench, host, "hidden").expect_code(0).errors();
    assert!(said.contains("isn't used") && said.contains("containers/auth.json"), "{said}");
    let said = bench.ok(&["logout", host]).errors();
    assert!(said.contains("still") && said.contains("containers/auth.json"), "{said}");
}

#[test]
fn a_helper_keeps_the_login() {
    let registry = registry(&basic("me", "hidden"));
    let host = &registry.host;
    let bench = Bench::new();
    bench.tree.write("home/.docker/config.json", r#"{"credsStore": "test"}"#);
    let kept = bench.tree.join("kept").display().to_string();
    let script = format!(
        "case $1 in\nstore) cat > '{kept}';;\n\
         get) cat '{kept}' 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;\n\
         erase) cat > '{kept}.erased'; rm -f '{kept}';;\nesac"
    );
    let path = helper(&bench, "test", &script);
    let mut login = bench.command(&["login", host, "-u", "me", "--password-stdin"]);
    let said = fed(login.env("PATH", &path), "hidden\r\n").expect_code(0).errors();
    assert!(!said.contains("plain text"), "{said}");
    let stored: serde_json::Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(stored, json!({ "ServerURL": host, "Username": "me", "Secret": "hidden" }));
    let text = fs::read_to_string(bench.tree.join("home/.docker/config.json")).unwrap();
    assert!(text.contains(&format!("\"{host}\": {{}}")) && !text.contains("hidden"), "{text}");
    run_any(inspect(&bench, host).env("PATH", &path)).expect_code(4);
    let said = run_any(bench.command(&["logout", host]).env("PATH", &path)).expect_code(0).errors();
    assert!(said.contains("logged out") && !said.contains("still"), "{said}");
    assert_eq!(fs::read_to_string(format!("{kept}.erased")).unwrap(), format!("{host}\n"));
    run_any(inspect(&bench, host).env("PATH", &path)).expect_code(5);
    let mut login = bench.command(&["login", &format!("{host}/team"), "-u", "me", "--password-stdin"]);
    let said = fed(login.env("PATH", &path), "hidden").expect_code(2).errors();
    assert!(said.contains("knows no paths"), "{said}");
}

#[test]
fn what_can_be_no_login_is_refused() {
    let bench = Bench::new();
    let words: [(&[&str], &str, &str); 7] = [
        (&["login", "127.0.0.1:1", "-u", "me"], "", "no terminal"),
        (&["login", "127.0.0.1:1", "--password-stdin"], "x", "--username"),
        (&["login", "127.0.0.1:1", "-u", "me", "--password-stdin"], "\n", "password is empty"),
        (&["login", "127.0.0.1:1", "-u", "a:b", "--password-stdin"], "x", "no `:`"),
        (&["login", "registry", "-u", "me", "--password-stdin"], "x", "name a registry"),
        (&["login", "r.io/A", "-u", "me", "--password-stdin"], "x", "lowercase"),
        (&["login"], "", "REGISTRY"),
    ];
    for (words, input, expected) in words {
        let said = fed(&mut bench.command(words), input).expect_code(2).errors();
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    log_in(&bench, "127.0.0.1:1", "hidden").expect_code(4);
    assert!(!bench.tree.join("home").exists());
}

#[test]
fn a_password_typed_at_a_terminal_is_not_shown() {
    let script = require!(tool("script"));
    let registry = registry(&basic("me", "hidd\u{e9}n"));
    let bench = Bench::new();
    let program = format!("{} login {}", env!("CARGO_BIN_EXE_ocibuild"), registry.host);
    let mut terminal = Command::new(script);
    terminal.args(["-qec", &program, "/dev/null"]).env_clear().env("HOME", bench.tree.join("home"));
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Each answer when its question is there: what is typed before is thrown away.
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = Vec::new();
    let mut until = |text: &str, shown: &mut Vec<u8>| {
        let mut byte = [0];
        while !String::from_utf8_lossy(shown).contains(text) {
            if std::io::Read::read(&mut stdout, &mut byte).unwrap_or(0) == 0 {
                break;
            }
            shown.push(byte[0]);
        }
    };
    let mut say = |bytes: &[u8]| std::io::Write::write_all(&mut stdin, bytes).unwrap();
    until("Username: ", &mut shown);
    say(b"me\n");
    until("Password: ", &mut shown);
    // With a mistake that is taken back.
    say("hidd\u{e9}x\u{7f}n\n".as_bytes());
    until("logged in to", &mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(shown.contains("logged in to") && !shown.contains("hidd"), "{shown}");
}

const FORMS: [&[&str]; 5] = [&["-q"], &[], &["-v"], &["--progress", "json"], &["--progress", "json", "-v"]];

/// Demands that nothing shows a secret, as it is or in the forms it is sent in.
#[track_caller]
fn shows_none(text: &str, secrets: &[&str]) {
    for secret in secrets {
        let coded = [
            (*secret).to_owned(),
            STANDARD.encode(secret).trim_end_matches('=').to_owned(),
            STANDARD.encode(format!("me:{secret}")).trim_end_matches('=').to_owned(),
            secret.replace('/', "%2F"),
        ];
        for form in coded {
            assert!(!text.contains(&form), "{form} is in:\n{text}");
        }
    }
}

#[test]
fn no_secret_is_shown_at_any_verbosity() {
    const SECRETS: [&str; 4] = ["Tr0ub4dor/3", "t0p/s3cr3t/t0ken", "1dent1ty/t0ken", "gr4nted/t0ken"];
    let [password, bearer, identity, granted] = SECRETS;
    let accepting = [
        registry(&basic("me", password)),
        token_registry(&basic("me", password), granted),
        token_registry("never", bearer),
        token_registry(&identity.replace('/', "%2F"), granted),
    ];
    let refusing = [registry("never"), token_registry("never", granted)];
    let bench = Bench::with_spec(SPEC);
    let mut codes = Vec::new();
    for registry in accepting.iter().chain(&refusing) {
        let host = &registry.host;
        let entry = |entry: serde_json::Value| json!({ "auths": { host: entry } }).to_string();
        let mut places: Vec<Vec<(&str, String)>> = vec![
            vec![
                ("OCIBUILD_REGISTRY_USERNAME", "me".to_owned()),
                ("OCIBUILD_REGISTRY_PASSWORD", password.to_owned()),
            ],
            vec![("OCIBUILD_REGISTRY_TOKEN", bearer.to_owned())],
            vec![("DOCKER_AUTH_CONFIG", entry(json!({ "username": "me", "password": password })))],
            vec![("DOCKER_AUTH_CONFIG", entry(json!({ "identitytoken": identity })))],
            // What can't be understood may be quoted.
            vec![("DOCKER_AUTH_CONFIG", entry(json!({ "username": 3, "password": password })))],
            vec![("DOCKER_AUTH_CONFIG", entry(json!({ "auth": password })))],
            vec![("DOCKER_AUTH_CONFIG", format!("{{\"auths\": {password}"))],
            vec![("OCIBUILD_REGISTRY_TOKEN", format!("{bearer}\n"))],
            vec![("OCIBUILD_REGISTRY_PASSWORD", password.to_owned())],
            vec![("HTTPS_PROXY", format!("ftp://me:{password}@p.io:1"))],
        ];
        let scripts = [
            answer("me", password),
            answer("<token>", identity),
            format!("{}; echo it is {password} >&2; exit 1", answer("me", password)),
            format!("echo '{{\"Secret\": \"{password}\"'"),
        ];
        for (number, script) in scripts.iter().enumerate() {
            let name = format!("test{number}");
            let config = json!({ "credHelpers": { host: name } }).to_string();
            places.push(vec![("DOCKER_AUTH_CONFIG", config), ("PATH", helper(&bench, &name, script))]);
        }
        let tag = format!("{host}/team/app:1");
        for (place, form) in places.iter().flat_map(|place| FORMS.map(|form| (place, form))) {
            let build = ["build", "--push", "-t", &tag, "--metadata-file", "metadata.json"];
            let commands = [&["inspect", &tag][..], &build];
            // What a push says of credentials is one thing for all that want tokens, and takes time.
            let pushes = std::ptr::eq(registry, &accepting[1]) || std::ptr::eq(registry, &refusing[1]);
            for words in &commands[..1 + usize::from(pushes)] {
                let output = run_any(bench.command(&[form, words].concat()).envs(place.clone()));
                codes.extend(output.code);
                shows_none(&format!("{output}"), &SECRETS);
                let metadata = fs::read_to_string(bench.path("metadata.json")).unwrap_or_default();
                shows_none(&metadata, &SECRETS);
            }
        }
        for form in FORMS {
            let words = [form, &["login", host, "-u", "me", "--password-stdin"]].concat();
            let output = fed(&mut bench.command(&words), password);
            codes.extend(output.code);
            shows_none(&format!("{output}"), &SECRETS);
        }
        bench.ok(&["logout", host]);
    }
    // All ways there are were gone.
    for code in [0, 2, 4, 5] {
        assert!(codes.contains(&code), "none ended with {code}");
    }
}
