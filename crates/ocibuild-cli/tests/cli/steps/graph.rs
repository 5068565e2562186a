//! `ocibuild graph`, and `plan` with steps.

use std::collections::BTreeSet;

use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::steps::project;

#[test]
fn the_graph_says_what_would_run_and_runs_nothing() {
    let bench = project();
    let output = bench.ok(&["graph"]);
    assert_data_eq!(
        output.text(),
        str![[r#"
image service *          made
└─ layer app *           made
   └─ step compile *     likely runs
      └─ step install *  runs
step test                likely runs
└─ step compile *        (above)

critical path (*): step install → step compile → layer app → image service
3 steps would run
"#]]
    );
    assert!(!bench.tree.join("cache/steps").exists());
    bench.ok(&["build"]);
    let text = bench.ok(&["graph", "service"]).text();
    assert_data_eq!(
        text,
        str![[r#"
image service          hit
└─ layer app           hit
   └─ step compile     not needed
      └─ step install  not needed

nothing would run: all of it is in a cache
"#]]
    );
    let text = bench.ok(&["graph", "test"]).text();
    assert!(text.starts_with("step test *         runs\n└─ step compile     hit\n"), "{text}");
}

#[test]
fn all_forms_have_the_same_in_them() {
    let bench = project();
    bench.ok(&["run", "install"]);
    let json: Value = serde_json::from_slice(&bench.ok(&["graph", "--format", "json"]).stdout).unwrap();
    let nodes = json["nodes"].as_array().unwrap();
    let ids: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let expected = ["image:service", "layer:app", "step:compile", "step:install", "step:test"];
    assert_eq!(ids, BTreeSet::from(expected));
    assert_eq!(json["edges"].as_array().unwrap().len(), 4);
    let install = nodes.iter().find(|node| node["name"] == "install").unwrap();
    assert_eq!((install["outlook"].as_str(), install["cache"].as_str()), (Some("hit"), Some("local")));
    assert!(install["last_seconds"].as_f64().is_some());
    assert_eq!(
        json["critical_path"]["nodes"],
        serde_json::json!(["step:compile", "layer:app", "image:service"])
    );
    let dot = bench.ok(&["graph", "--format", "dot"]).text();
    let svg = bench.ok(&["graph", "--format", "svg"]).text();
    assert_eq!(dot.matches(" -> ").count(), 4);
    assert_eq!((svg.matches("<path").count(), svg.matches("<rect").count()), (4, 5));
    assert!(expected.iter().all(|id| dot.contains(id) && svg.contains(&id.replace(':', " "))), "{svg}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>") && !svg.contains("http://www.w3.org/1999"));
}

#[test]
fn a_plan_has_the_steps() {
    let bench = project();
    let text = bench.ok(&["plan"]).text();
    let rows: Vec<&str> = text.split_once("\nsteps\n").unwrap().1.lines().map(str::trim).collect();
    assert_eq!(rows[1].split_whitespace().collect::<Vec<_>>(), ["install", "run", "-", "-"]);
    assert!(rows[2].starts_with("compile  likely run"), "{text}");
    let json: Value = serde_json::from_slice(&bench.ok(&["plan", "--format", "json"]).stdout).unwrap();
    assert_eq!(
        (json["steps"][0]["outlook"].as_str(), json["steps"][1]["outlook"].as_str()),
        (Some("runs"), Some("depends"))
    );
}

#[test]
fn a_name_of_nothing_is_told_with_those_that_are() {
    let output = project().run(&["graph", "tests"]).expect_code(2);
    assert_eq!(
        output.errors().trim_end(),
        "error: the spec has neither an image nor a step `tests`\n  \
         hint: it has images `service`; steps `install`, `compile`, `test`"
    );
}
