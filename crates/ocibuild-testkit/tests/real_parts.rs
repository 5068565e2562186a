//! Each helper against the part it wraps.

use ocibuild_testkit::{
    Bundle, Containerd, Disorderfs, Podman, Skopeo, TempTree, Umoci, auth_registry, docker, entries,
    hello_program, registry, require, run, tool,
};
use std::path::Path;
use std::process::Command;

/// Makes a layout that umoci alone has written: tag `t`, one static program as entry point.
fn umoci_image(umoci: &Umoci) -> TempTree {
    let tree = TempTree::new().file_with_mode("hello", hello_program("hello\n"), 0o755);
    let layout = tree.join("layout");
    let image = format!("{}:t", layout.display());
    run(umoci.command().args(["init", "--layout"]).arg(&layout));
    run(umoci.command().args(["new", "--image", &image]));
    run(umoci.command().args(["insert", "--image", &image]).arg(tree.join("hello")).arg("/hello"));
    run(umoci.command().args(["config", "--image", &image, "--config.entrypoint", "/hello"]));
    tree
}

/// Turns it into an archive that docker and podman load as `name`.
fn archive(skopeo: &Skopeo, image: &TempTree, name: &str) -> std::path::PathBuf {
    let archive = image.join("image.tar");
    let to = format!("docker-archive:{}:{name}", archive.display());
    skopeo.copy(&format!("oci:{}:t", image.join("layout").display()), &to);
    archive
}

#[test]
fn umoci_unpacks_and_runc_runs() {
    let umoci = require!(Umoci::new());
    require!(tool("runc"));
    let image = umoci_image(&umoci);
    let bundle: Bundle = umoci.unpack(&image.join("layout"), "t");
    assert!(entries(&bundle.rootfs()).contains_key(Path::new("hello")));
    assert_eq!(bundle.run().text(), "hello");
    assert_eq!(bundle.run_arguments(&["/hello", "again"]).text(), "hello");
}

#[test]
fn docker_loads_and_runs() {
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let docker = require!(docker());
    let image = umoci_image(&umoci);
    let archive = archive(&skopeo, &image, "testkit-docker:1");
    assert_eq!(docker.load(&archive), "testkit-docker:1");
    assert_eq!(docker.run("testkit-docker:1", &[]).text(), "hello");
    assert_eq!(docker.run_with(&["--user", "65532"], "testkit-docker:1", &[]).text(), "hello");
    assert_eq!(docker.inspect("testkit-docker:1")["Config"]["Entrypoint"][0], "/hello");
    docker.remove("testkit-docker:1");
}

#[test]
fn containerd_imports_and_runs() {
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let containerd = require!(Containerd::new());
    let image = umoci_image(&umoci);
    let archive = archive(&skopeo, &image, "testkit-containerd:1");
    let names = containerd.import(&archive);
    assert_eq!(names, ["docker.io/library/testkit-containerd:1"]);
    assert_eq!(containerd.run(&names[0], &[]).text(), "hello");
}

#[test]
fn podman_loads_and_runs() {
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let podman = require!(Podman::new());
    let image = umoci_image(&umoci);
    let archive = archive(&skopeo, &image, "localhost/testkit-podman:1");
    assert_eq!(podman.load(&archive), "localhost/testkit-podman:1");
    assert_eq!(podman.run("testkit-podman:1", &[]).text(), "hello");
    assert_eq!(podman.inspect("testkit-podman:1")["Config"]["Entrypoint"][0], "/hello");
}

#[test]
fn two_podmans_run_side_by_side() {
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let podmans = [require!(Podman::new()), require!(Podman::new())];
    let image = umoci_image(&umoci);
    let archive = archive(&skopeo, &image, "localhost/testkit-podman:2");
    std::thread::scope(|scope| {
        for podman in &podmans {
            scope.spawn(|| {
                podman.load(&archive);
                assert_eq!(podman.run("testkit-podman:2", &[]).text(), "hello");
            });
        }
    });
}

#[test]
fn registry_takes_an_image_and_gives_it_to_all() {
    let registry = require!(registry());
    let docker = require!(docker());
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let podman = require!(Podman::new());
    let image = umoci_image(&umoci);
    let from = format!("oci:{}:t", image.join("layout").display());
    let name = format!("{registry}/testkit/hello:1");
    let to = format!("docker://{name}");
    skopeo.copy(&from, &to);
    assert_eq!(skopeo.raw_manifest(&to), skopeo.raw_manifest(&from));
    assert_eq!(skopeo.config(&to)["config"]["Entrypoint"][0], "/hello");
    docker.pull(&name);
    assert_eq!(docker.run(&name, &[]).text(), "hello");
    podman.pull(&name);
    assert_eq!(podman.run(&name, &[]).text(), "hello");
}

#[test]
fn registry_asks_for_its_password() {
    let registry = require!(auth_registry());
    let umoci = require!(Umoci::new());
    let skopeo = require!(Skopeo::new());
    let image = umoci_image(&umoci);
    let from = format!("oci:{}:t", image.join("layout").display());
    let to = format!("docker://{}/testkit/hello:1", registry.address);
    let copy = |credentials: &str| {
        let mut command = skopeo.command();
        command.args(["copy", "--dest-tls-verify=false", credentials, &from, &to]);
        ocibuild_testkit::run_any(&mut command)
    };
    assert_ne!(copy("--dest-no-creds").code, Some(0));
    assert_ne!(copy("--dest-creds=somebody:else").code, Some(0));
    let credentials = format!("--dest-creds={}:{}", registry.user, registry.password);
    copy(&credentials).expect_code(0);
}

#[test]
fn disorderfs_shuffles() {
    require!(Disorderfs::find());
    let mut tree = TempTree::new();
    for number in 0..100 {
        tree = tree.file(format!("{number}"), "x");
    }
    let view = require!(Disorderfs::mount(tree.path()));
    let listing = || run(Command::new("ls").arg("-U").arg(view.path())).text();
    assert_ne!(listing(), listing());
    let sorted = run(Command::new("ls").arg(view.path())).text();
    assert_eq!(sorted.lines().count(), 100);
}
