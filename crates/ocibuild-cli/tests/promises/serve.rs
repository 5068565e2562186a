//! `ocibuild serve`: the clients that people have push to it and pull from it.

use crate::ocibuild::{Ocibuild, amd64, names, text};
use ocibuild_testkit::{Containerd, Podman, Skopeo, TempTree, Umoci, docker, hello_program, require, run};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

struct Served {
    child: Child,
    address: String,
    tree: TempTree,
    ocibuild: Ocibuild,
}

impl Served {
    /// Serves a layout that has an image under the plain name `1`.
    fn start() -> Self {
        let tree = TempTree::new().file_with_mode("hello", hello_program("served\n"), 0o755);
        let ocibuild = Ocibuild::new().within(tree.path());
        let output = format!("type=oci,dest={}", text(&tree.join("api.oci")));
        let mut build = ocibuild.command();
        build.args(["build", "--copy", "hello:/hello", "--entrypoint", "/hello", "-t", "x:1", "--output"]);
        run(build.arg(&output));
        let mut command = ocibuild.command();
        command.args(["serve", "api.oci"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim_end().to_owned(), tree, ocibuild }
    }

    /// The image that was there from the start, by its name in the registry.
    fn image(&self) -> String {
        let (name, _) = names(&self.tree.join("api.oci")).remove(0);
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let path = if name.contains(':') { name } else { format!("api:{name}") };
        format!("{}/{path}", self.address)
    }

    fn new_name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    #[track_caller]
    fn is_valid(&self, image: &str) {
        run(self.ocibuild.command().args(["validate", image]));
    }

    /// Demands that what was pushed is a whole image, in the layout and at the registry.
    #[track_caller]
    fn has(&self, name: &str) {
        self.is_valid(&self.new_name(name));
        self.is_valid(&format!("oci:{}:{name}", text(&self.tree.join("api.oci"))));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn skopeo_and_umoci_push_and_pull() {
    let (skopeo, umoci) = (require!(Skopeo::new()), require!(Umoci::new()));
    let served = Served::start();
    let pulled = served.tree.join("pulled");
    let oci = |tag: &str| format!("oci:{}:{tag}", text(&pulled));
    skopeo.copy(&format!("docker://{}", served.image()), &oci("one"));
    let bundle = umoci.unpack(&pulled, "one");
    assert!(bundle.rootfs().join("hello").exists());
    // Umoci changes the image, skopeo brings it back.
    run(umoci.command().args(["config", "--author", "me", "--image"]).arg(format!("{}:one", text(&pulled))));
    skopeo.copy(&oci("one"), &format!("docker://{}", served.new_name("team/skopeo:1")));
    served.has("team/skopeo:1");
    // As docker has it, too.
    let docker = ["--format", "v2s2"];
    skopeo.copy_with(&docker, &oci("one"), &format!("docker://{}", served.new_name("team/skopeo:2")));
    skopeo.copy(&format!("docker://{}", served.new_name("team/skopeo:2")), &oci("two"));
    let tags = run(skopeo
        .command()
        .args(["list-tags", "--tls-verify=false"])
        .arg(format!("docker://{}", served.new_name("team/skopeo"))));
    assert_eq!(tags.json()["Tags"], serde_json::json!(["1", "2"]));
    let mut delete = skopeo.command();
    run(delete
        .args(["delete", "--tls-verify=false"])
        .arg(format!("docker://{}", served.new_name("team/skopeo:2"))));
    assert!(!names(&served.tree.join("api.oci")).iter().any(|(name, _)| name == "team/skopeo:2"));
}

#[test]
fn docker_pushes_and_pulls() {
    require!(amd64());
    let docker = require!(docker());
    let served = Served::start();
    let image = served.image();
    docker.pull(&image);
    assert_eq!(docker.run(&image, &[]).text(), "served");
    let pushed = served.new_name("team/docker:1");
    run(docker.command().args(["tag", &image, &pushed]));
    run(docker.command().args(["push", "--quiet", &pushed]));
    docker.remove(&pushed);
    docker.remove(&image);
    docker.pull(&pushed);
    assert_eq!(docker.run(&pushed, &[]).text(), "served");
    docker.remove(&pushed);
}

#[test]
fn podman_pushes_and_pulls() {
    require!(amd64());
    let podman = require!(Podman::new());
    let served = Served::start();
    let image = served.image();
    podman.pull(&image);
    assert_eq!(podman.run(&image, &[]).text(), "served");
    let pushed = served.new_name("team/podman:1");
    run(podman.command().args(["push", "--quiet", "--tls-verify=false", &image, &pushed]));
    served.has("team/podman:1");
    run(podman.command().args(["rmi", "--all", "--force"]));
    podman.pull(&pushed);
    assert_eq!(podman.run(&pushed, &[]).text(), "served");
}

#[test]
fn ctr_pushes_and_pulls() {
    require!(amd64());
    let containerd = require!(Containerd::new());
    let served = Served::start();
    let image = served.image();
    run(containerd.command().args(["images", "pull", "--plain-http", &image]));
    assert_eq!(containerd.run(&image, &[]).text(), "served");
    let pushed = served.new_name("team/ctr:1");
    run(containerd.command().args(["images", "push", "--plain-http", &pushed, &image]));
    served.has("team/ctr:1");
    run(containerd.command().args(["images", "pull", "--plain-http", &pushed]));
    assert_eq!(containerd.run(&pushed, &[]).text(), "served");
}
