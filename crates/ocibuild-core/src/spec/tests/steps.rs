//! Steps: as written, by builders, below defaults and over other files.

use std::time::Duration;

use super::*;
use crate::oci::Platform;

fn sound(text: &str) -> Spec {
    parse(text).unwrap_or_else(|error| panic!("{}", error.render(&Sources::of("spec", text))))
}

fn warnings(step: &str) -> Vec<String> {
    let spec =
        sound(&format!("version = 1\n[steps.a]\nrun = 'a'\n{step}\n[steps.b]\nrun = 'b'\ninputs = ['b']\n"));
    spec.warnings.into_iter().map(|fault| fault.message).collect()
}

#[test]
fn braces_of_the_shell_stay_and_names_stand_for_values() {
    let vars = Vars { given: BTreeMap::from([("v".to_owned(), "1".to_owned())]), ..Vars::default() };
    let platform = Platform::linux_amd64();
    for (text, expected) in [
        ("cc -o out/{arch} {var.v}.c", "cc -o out/amd64 1.c"),
        ("{os}{arch}{variant}!", "linuxamd64!"),
        ("echo ${arch} ${os} ${X:-{arch}} ${X}", "echo ${arch} ${os} ${X:-amd64} ${X}"),
        ("awk '{ print $1 }' {a,b}", "awk '{ print $1 }' {a,b}"),
        ("f() { g; }; {{arch}} {{}} }{", "f() { g; }; {amd64} {{}} }{"),
        ("docker inspect -f '{{.Os}}'", "docker inspect -f '{{.Os}}'"),
        ("{ARCH} {arch } {var.} {var.a b} {foo}", "{ARCH} {arch } {var.} {var.a b} {foo}"),
        ("{é{arch}", "{éamd64"),
        ("", ""),
    ] {
        let template = Template::lenient(text);
        assert_eq!(template.expand(&vars.lookup(&platform)).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_builder_makes_the_steps_of_a_file() {
    let file = sound(
        r#"
        version = 1
        [steps.install]
        run = ["npm", "ci"]
        inputs = ["package.json", "!x"]
        outputs = ["node_modules"]
        cache-dirs = ["~/.npm"]
        secrets = [{ id = "npm", env = "NPM_TOKEN" }, { id = "key", file = "k", as = "env", target = "K", optional = true }]
        tools = ["node --version"]
        timeout = "5m"
        retries = 2
        platforms = "any"
        network = true
        [steps.compile]
        run = "tsc && true"
        inputs = []
        needs = ["install"]
        outputs = ["dist"]
        env = { A = "{{b}}" }
        pass-env = ["CI", { name = "SHA", unkeyed = true }]
        workdir = "web"
        platforms = ["linux/amd64"]
        always = true
        network = false
        sandbox = true
        [steps.here]
        run = ["make"]
        always = true
        in-place = true
        [layers.app]
        copy = [{ step = "compile", from = "dist", to = "/app", exclude = ["*.map"] }]
        [images.image]
        layers = ["app"]
        platforms = ["linux/amd64"]
        "#,
    );
    let optional = Secret {
        form: Some(SecretForm::Env.into()),
        target: Some("K".to_owned().into()),
        is_optional: true,
        ..Secret::file("key", "k")
    };
    let built = ImageSpec::scratch(Platform::linux_amd64())
        .step(
            StepSpec::named("install")
                .run(["npm", "ci"])
                .input("package.json")
                .input("!x")
                .output("node_modules")
                .cache_dir("~/.npm")
                .secret(Secret::env("npm", "NPM_TOKEN"))
                .secret(optional)
                .tool("node --version")
                .timeout(Duration::from_secs(300))
                .retries(2)
                .for_any_platform(),
        )
        .step(
            StepSpec::named("compile")
                .script("tsc && true")
                .no_inputs()
                .needs("install")
                .output("dist")
                .env("A", "{b}")
                .pass_env(PassEnv::keyed("CI"))
                .pass_env(PassEnv::unkeyed("SHA"))
                .workdir("web")
                .for_platforms([Platform::linux_amd64()])
                .always()
                .no_network()
                .sandbox(),
        )
        .step(StepSpec::named("here").run(["make"]).always().in_place())
        .layer(LayerSpec::named("app").copy_step("compile", "dist", "/app").exclude("*.map"))
        .into_spec()
        .unwrap();
    assert_eq!(built, file);
    assert!(built.step("here").is_some() && built.step("there").is_none());
}

#[test]
fn builders_of_steps_are_held_to_the_same_rules() {
    let error = ImageSpec::scratch(Platform::linux_amd64())
        .step(StepSpec::named("a").output("../x").input("x"))
        .layer(LayerSpec::named("app").copy_step("b", "{x}", "/app").ignore_file(None))
        .into_spec()
        .unwrap_err();
    let found: Vec<(&str, &str)> =
        error.faults.iter().map(|fault| (fault.place.as_str(), fault.message.as_str())).collect();
    assert_eq!(
        found,
        [
            ("step `a`", "the command is empty"),
            ("step `a`", "`../x` leads out of the root"),
            ("layer `app`, copy 1", "unknown step `b`"),
            ("layer `app`, copy 1", "an ignore file doesn't count for what a step makes"),
        ]
    );
}

#[test]
fn steps_need_no_images_and_nobody_to_use_them() {
    let spec = sound("version = 1\n[steps.test]\nrun = 'make test'\ninputs = ['src']\n");
    assert!(spec.images.is_empty() && spec.warnings.is_empty(), "{spec:?}");
    assert!(said("version = 1\n[steps]\n").contains("the spec has no images"));
}

#[test]
fn a_step_that_would_run_only_once_is_told_of() {
    assert_eq!(warnings(""), ["step `a` has no inputs: once it has run, it never runs again"]);
    for meant in ["inputs = []", "always = true", "needs = ['b']"] {
        assert_eq!(warnings(meant), [""; 0], "{meant}");
    }
}

#[test]
fn the_whole_way_of_a_cycle_is_told_unless_it_is_long() {
    let ring = |count: usize| -> String {
        let step =
            |index: usize| format!("[steps.s{index}]\nrun = 'x'\nneeds = ['s{}']\n", (index + 1) % count);
        format!("version = 1\n{}", (0..count).map(step).collect::<String>())
    };
    let told = |text: &str| -> Vec<String> {
        parse(text).unwrap_err().faults.into_iter().map(|fault| fault.message).collect()
    };
    assert_eq!(told(&ring(3)), ["steps need each other: `s0` needs `s1` needs `s2` needs `s0`"]);
    let long = told(&ring(3000));
    assert_eq!(long.len(), 1);
    assert!(
        long[0].contains("`s5` needs … needs `s2994`") && long[0].ends_with("`s2999` needs `s0`"),
        "{long:?}"
    );
}

#[test]
fn defaults_of_copies_give_a_step_what_it_can_have() {
    let with = |defaults: &str, copy: &str| {
        sound(&format!(
            "version = 1\n{defaults}[steps.a]\nrun = 'a'\ninputs = []\noutputs = ['out']\n\
             [layers.l]\ncopy = [{{ step = 'a', from = 'out', to = '/'{copy} }}]\n[images.i]\nlayers = ['l']\n"
        ))
    };
    let defaults = "[defaults.copies]\nowner = '1:2'\nignore-file = 'x'\npreserve = ['mtime', 'mode']\nexclude = ['*.map']\n\
                    [defaults.layers]\nignore-file = 'y'\n";
    let expected = with("", ", owner = '1:2', preserve = ['mode'], exclude = ['*.map']");
    assert_eq!(with(defaults, "").layers[0].copies, expected.layers[0].copies);
}
