//! Registries that want to be reached in a way of their own: real ones, with TLS, passwords and client
//! certificates from a throw-away authority.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ocibuild_testkit::{
    Output, TempTree, auth_registry, hello_program, registry, require, run, run_any, skip, tool,
};

use crate::debian::Debian;

/// `htpasswd -Bbn tester hidden`
pub(crate) const HTPASSWD: &str = "tester:$2b$04$hFmLdG0KYmAalm1dGV2Qee05N0ksjG44vMwTTN7H5nP6S0oEdRqkq\n";

fn bench() -> TempTree {
    TempTree::new().directory("home").file_with_mode("work/hello", hello_program("hello\n"), 0o755)
}

/// The program, with nothing of the environment but where programs are.
fn ocibuild(tree: &TempTree, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocibuild"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", tree.join("home")).current_dir(tree.join("work")).args(words);
    command
}

fn build(tree: &TempTree, tag: &str, flags: &[&str]) -> Output {
    let words = ["build", "--copy", "hello:/hello", "--entrypoint", "/hello", "-t", tag, "--push"];
    run_any(&mut ocibuild(tree, &[&words, flags].concat()))
}

/// Makes an authority, a server's certificate for this machine, and a client's.
pub(crate) fn make_certificates(openssl: &Path, directory: &Path) {
    let make = |name: &str, rest: &str| {
        let words = format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem{rest}"
        );
        run(Command::new(openssl).args(words.split(' ')).current_dir(directory));
    };
    let signed = " -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key";
    make("authority", "");
    make("server", &format!(" -addext subjectAltName=IP:127.0.0.1{signed}"));
    make("client", &format!(" -addext extendedKeyUsage=clientAuth{signed}"));
    make("stranger", "");
}

/// A registry by https with a password, which may ask for a client's certificate.
fn guarded(certificates: &Path, asks_for_client: bool) -> Option<Debian> {
    let path = |name: &str| certificates.join(name).display().to_string();
    let mut tls =
        format!("  tls:\n    certificate: {}\n    key: {}\n", path("server.pem"), path("server.key"));
    if asks_for_client {
        tls += &format!("    clientcas:\n      - {}\n", path("authority.pem"));
    }
    Debian::start(|directory| {
        let file = directory.join("htpasswd");
        fs::write(&file, HTPASSWD).unwrap();
        format!("{tls}auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
    })
}

fn log_in(tree: &TempTree, host: &str, password: &str, flags: &[&str]) -> Output {
    let words = ["login", host, "-u", "tester", "--password-stdin"];
    let mut command = ocibuild(tree, &[&words, flags].concat());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes());
    let output = child.wait_with_output().unwrap();
    let code = output.status.code();
    Output { command: "ocibuild login".to_owned(), code, stdout: output.stdout, stderr: output.stderr }
}

#[test]
fn a_registry_with_certificates_of_its_own_is_pushed_to() {
    let openssl = require!(tool("openssl"));
    let certificates = TempTree::new();
    make_certificates(&openssl, certificates.path());
    let Some(debian) = guarded(certificates.path(), true) else {
        return skip(ocibuild_testkit::this_function!(), "it needs docker-registry");
    };
    let tree = bench();
    let tag = format!("{}/access/app:1", debian.host);
    let own = tree.join(format!("home/.config/containers/certs.d/{}", debian.host));
    let give = |from: &str, to: &str| {
        fs::create_dir_all(&own).unwrap();
        fs::copy(certificates.join(from), own.join(to)).unwrap();
    };
    // Without anything it is taken for one that speaks http.
    let said = build(&tree, &tag, &["-q"]).expect_code(4).errors();
    assert!(
        said.contains("was answered 400") && said.contains(&format!("certs.d/{}", debian.host)),
        "{said}"
    );
    give("stranger.pem", "ca.crt");
    let said = build(&tree, &tag, &["-q"]).expect_code(4).errors();
    assert!(said.contains("UnknownIssuer") && said.contains("--ca FILE"), "{said}");
    give("authority.pem", "ca.crt");
    let said = build(&tree, &tag, &["-q"]).expect_code(4).errors();
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    give("client.pem", "client.cert");
    let said = build(&tree, &tag, &["-q"]).expect_code(4).errors();
    assert!(said.contains("client.key"), "{said}");
    give("client.key", "client.key");
    let said = build(&tree, &tag, &["-q"]).expect_code(5).errors();
    assert!(said.contains("without credentials: 401"), "{said}");
    log_in(&tree, &debian.host, "wrong", &[]).expect_code(5);
    log_in(&tree, &debian.host, "hidden", &[]).expect_code(0);
    let pushed = build(&tree, &tag, &["-q"]).expect_code(0).text();
    run(&mut ocibuild(&tree, &["validate", &tag]));
    run(&mut ocibuild(&tree, &["validate", &pushed]));
    run(&mut ocibuild(&tree, &["logout", &debian.host]));
    build(&tree, &tag, &["-q"]).expect_code(5);
}

#[test]
fn a_registry_that_is_called_insecure_is_not_verified() {
    let openssl = require!(tool("openssl"));
    let certificates = TempTree::new();
    make_certificates(&openssl, certificates.path());
    let Some(debian) = guarded(certificates.path(), false) else {
        return skip(ocibuild_testkit::this_function!(), "it needs docker-registry");
    };
    let tree = bench();
    let tag = format!("{}/access/app:1", debian.host);
    log_in(&tree, &debian.host, "hidden", &["--insecure", &debian.host]).expect_code(0);
    build(&tree, &tag, &["-q", "--insecure", "r.example.com"]).expect_code(4);
    build(&tree, &tag, &["-q", "--insecure", &debian.host]).expect_code(0);
    run(ocibuild(&tree, &["validate", &tag]).env("OCIBUILD_INSECURE", &debian.host));
}

#[test]
fn an_authority_is_trusted_that_is_named() {
    let openssl = require!(tool("openssl"));
    let certificates = TempTree::new();
    make_certificates(&openssl, certificates.path());
    let Some(debian) = guarded(certificates.path(), false) else {
        return skip(ocibuild_testkit::this_function!(), "it needs docker-registry");
    };
    let tree = bench();
    // Any certificate in its directory says that the registry speaks TLS.
    let own = tree.join(format!("home/.config/containers/certs.d/{}", debian.host));
    fs::create_dir_all(&own).unwrap();
    fs::copy(certificates.join("stranger.pem"), own.join("other.crt")).unwrap();
    let authority = certificates.join("authority.pem").display().to_string();
    log_in(&tree, &debian.host, "hidden", &[]).expect_code(4);
    log_in(&tree, &debian.host, "hidden", &["--ca", &authority]).expect_code(0);
    let tag = format!("{}/access/app:1", debian.host);
    build(&tree, &tag, &["-q", "--ca", &authority]).expect_code(0);
    let said = build(&tree, &tag, &["-q", "--ca", "none.pem"]).expect_code(3).errors();
    assert!(said.contains("none.pem"), "{said}");
    let key = certificates.join("client.key").display().to_string();
    let said = build(&tree, &tag, &["-q", "--ca", &key]).expect_code(4).errors();
    assert!(said.contains("cannot use the given CA certificates"), "{said}");
}

#[test]
fn a_mirror_has_what_the_registry_would() {
    let mirror = require!(registry());
    let tree = bench();
    build(&tree, &format!("{mirror}/access-hub/team/app:1"), &["-q"]).expect_code(0);
    // Nobody is there at all.
    let image = "127.0.0.1:1/team/app:1";
    let rule = format!("127.0.0.1:1={mirror}/access-hub");
    run_any(&mut ocibuild(&tree, &["validate", image])).expect_code(4);
    run(&mut ocibuild(&tree, &["validate", image, "--mirror", &rule]));
    run(ocibuild(&tree, &["validate", image]).env("OCIBUILD_MIRROR", format!("r.io=s.io,{rule}")));
    build(&tree, image, &["-q", "--mirror", &rule]).expect_code(4);
    let said = run_any(&mut ocibuild(&tree, &["validate", image, "--mirror", "nowhere"])).expect_code(2);
    assert!(said.errors().contains("HOST=MIRROR"), "{said}");
}

#[test]
fn a_login_is_one_for_others_and_theirs_for_us() {
    let skopeo = require!(tool("skopeo"));
    let registry = require!(auth_registry());
    let (host, user, password) = (&registry.address, &registry.user, &registry.password);
    let tree = bench();
    let (theirs, ours) = (tree.join("theirs.json"), tree.join("ours.json"));
    let tag = format!("{host}/access/others:1");
    let words = ["login", "--tls-verify=false", "-u", user, "-p", password, "--authfile"];
    run(Command::new(&skopeo).args(words).arg(&theirs).arg(host));
    let push = ["build", "-q", "--copy", "hello:/hello", "--entrypoint", "/hello", "-t", &tag, "--push"];
    run(ocibuild(&tree, &push).env("REGISTRY_AUTH_FILE", &theirs));
    // A path's login, as only podman and its kin have them.
    let words = ["login", "-u", user, "--password-stdin", &format!("{host}/access")];
    let mut login = ocibuild(&tree, &words);
    login.env("REGISTRY_AUTH_FILE", &ours).stdin(Stdio::piped());
    let mut child = login.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let image = format!("docker://{tag}");
    let inspect = |file: &Path| {
        let words = ["inspect", "--tls-verify=false", "--authfile"];
        run_any(Command::new(&skopeo).args(words).arg(file).arg(&image)).code == Some(0)
    };
    assert!(inspect(&ours) && inspect(&theirs));
    run(ocibuild(&tree, &["logout", host]).env("REGISTRY_AUTH_FILE", &theirs));
    assert!(!inspect(&theirs));
}
