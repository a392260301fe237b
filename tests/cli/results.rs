//! `results` and `diff`: tables of results, and two of them side by side.

use std::fs;

use serde_json::Value;

use super::workspace::{MANIFEST, Workspace, assert_tells};

#[test]
fn results_are_written_in_several_formats() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &[]);
    let csv = workspace.csv();
    let out = |arguments: &str| workspace.run(&format!("results tiny.yaml {arguments}")).with(0, &[]).stdout;
    workspace.write("results/tiny.csv", "");
    assert_eq!(out("--format csv"), csv);
    assert_eq!(workspace.csv(), "", "a view leaves the file alone");
    assert_tells!("results_markdown", workspace.run("results tiny.yaml --format md --filter epochs=2"));
    let json: Value = serde_json::from_str(&out("--format json --sort -epochs")).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!((&json["format_version"], rows.len()), (&1.into(), 2));
    assert_eq!((&rows[0]["epochs"], &rows[1]["epochs"]), (&2.into(), &1.into()));
    assert!(rows[0]["acc"].is_f64() && rows[0]["key"].is_string());
    assert!(!out("--filter epochs=1 --filter stage=a*").contains("  2  "));
    let wrong = workspace.run("results tiny.yaml --sort asd");
    wrong.with(2, &["have no column `asd`", "did you mean `asr`?"]);
    workspace.run("results tiny.yaml --filter epochs").with(2, &["write a column and a value"]);
    workspace.run("results tiny.yaml").with(0, &["wrote 2 rows to results/tiny.csv"]);
    assert_eq!(workspace.csv(), csv);
}

#[test]
fn rows_that_are_filtered_out_need_no_result() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml after@epochs=1").with(0, &["only some tasks ran"]);
    assert!(!workspace.path("results").exists());
    workspace.run("results tiny.yaml --filter epochs=1").with(0, &[]);
    workspace.run("results tiny.yaml").with(5, &["1 task has no results yet (after@epochs=2)"]);
    let others = ["no row has `3` in `epochs`", "values of `epochs`: `1`, `2`"];
    workspace.run("results tiny.yaml --filter epochs=3").with(2, &others);
}

#[test]
fn the_command_that_computes_what_is_missing_is_the_whole_one() {
    let workspace = Workspace::new();
    workspace.write("my m.yaml", MANIFEST);
    let set = ["my m.yaml", "--set", "stages.trained.with.batch=16", "--matrix", "epochs=1"];
    let words = "--cache-dir other run 'my m.yaml' --set stages.trained.with.batch=16 --matrix 'epochs=[1]'` computes";
    let hint = format!("help: `argd-pipe {words}");
    workspace.run_with("results --cache-dir other", &set).with(5, &[&hint]);
    workspace
        .run_with("export --cache-dir other", &[&set[..], &["images", "dataset", "images"]].concat())
        .with(5, &["--matrix 'epochs=[1]' images` computes it"]);
    workspace.run_with("run --cache-dir other", &set).with(0, &["wrote 1 row to results/tiny.csv"]);
    workspace.run_with("results --cache-dir other", &set).with(0, &["wrote 1 row to results/tiny.csv"]);
}

#[test]
fn the_rows_that_there_are_are_written_on_request() {
    let workspace = Workspace::new();
    let wrong = MANIFEST.replace("epochs: [1, 2]", "epochs: [1], rate: [0.1, 0.001]");
    workspace.write("wrong.yaml", &wrong.replace("rate: 0.1}", "rate: \"${matrix.rate}\"}"));
    workspace.run("results wrong.yaml --partial").with(5, &["2 tasks have no results yet"]);
    let hint = "`argd-pipe results wrong.yaml --partial` writes the available results (1 row)";
    workspace.run("run wrong.yaml").with(4, &["1 task failed (poisoned@rate=0.001)", hint]);
    assert!(!workspace.path("results").exists());
    workspace.run("results wrong.yaml").with(5, &["`argd-pipe run wrong.yaml` computes them"]);
    let told = ["1 task has no results yet (after@epochs=1,rate=0.001)", "wrote 1 row to results/tiny.csv"];
    workspace.run("results wrong.yaml --partial").with(0, &told);
    let csv = workspace.csv();
    assert_eq!((csv.lines().count(), csv.matches(",0.001,").count()), (2, 0), "{csv}");
}

#[test]
fn means_over_seeds_do_not_outlive_the_results_that_they_are_of() {
    let workspace = Workspace::new();
    let means = workspace.path("results/tiny.seeds.csv");
    workspace
        .run("run tiny.yaml --set matrix.epochs=[1] --matrix seed=1..2")
        .with(0, &["wrote the means over the seeds to results/tiny.seeds.csv"]);
    workspace.run("run tiny.yaml images").with(0, &["only some tasks ran"]);
    assert!(means.exists());
    let run = "run tiny.yaml --set matrix.epochs=[1] --overwrite";
    workspace.run(run).with(0, &["removed results/tiny.seeds.csv", "wrote 1 row to results/tiny.csv"]);
    assert!(!means.exists());
    assert!(!workspace.run(run).with(0, &[]).stderr.contains("removed"));
}

#[test]
fn two_tables_are_compared_row_by_row() {
    let workspace = Workspace::new();
    let table = |rows: &str| format!("pipeline,stage,defense,seed,acc,asr,key\n{rows}");
    workspace.write(
        "old.csv",
        &table("p,before,,1,90.00,100.00,a\np,after,nad,1,85.00,5.00,b\np,after,ft,1,80.00,9.00,c\n"),
    );
    workspace.write(
        "new.csv",
        &table("p,after,nad,1,86.25,5.00,d\np,before,,1,90.00,100.00,a\np,after,argd,1,87.00,2.00,e\n"),
    );
    let told = workspace.run("diff old.csv new.csv");
    insta::assert_snapshot!("diff", told.all());
    let json: Value = serde_json::from_str(&workspace.run("diff old.csv new.csv --json").stdout).unwrap();
    assert_eq!(json["comparison"]["pairs"][1]["changes"][0]["difference"], 1.25);
    workspace.run("diff old.csv old.csv").with(0, &["rows: 3 are the same"]);
    workspace.run("diff old.csv gone.csv").with(66, &["gone.csv"]);
    workspace.write("other.csv", MANIFEST);
    workspace.run("diff old.csv other.csv").with(2, &["other.csv", "help: give two files"]);
}

#[test]
fn runs_are_compared_with_each_other_and_with_tables() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &[]);
    workspace.run("run tiny.yaml --matrix epochs=2,3 --set stages.trained.with.batch=16").with(0, &[]);
    workspace.run("run tiny.yaml images").with(0, &["only some tasks ran"]);
    let runs = fs::read_dir(workspace.path("cache/v1/runs")).unwrap();
    let mut runs: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
    runs.sort();
    let [first, second, part] = &runs[..] else { panic!("{runs:?}") };

    let words = ["1 only in the first, 1 only in the second"];
    let told = workspace.run(&format!("diff {first} {second}")).with(0, &words);
    assert!(told.stdout.contains("only in the first"), "{}", told.stdout);
    let json: Value = serde_json::from_str(
        &workspace.run(&format!("diff {first} cache/v1/runs/{second}/run.json --json")).with(0, &[]).stdout,
    )
    .unwrap();
    let comparison = &json["comparison"];
    assert_eq!(comparison["by"], serde_json::json!(["stage", "epochs"]));
    assert_eq!(comparison["pairs"][0]["row"], serde_json::json!(["after", "2"]));
    assert_eq!(comparison["removed"], serde_json::json!([["after", "1"]]));
    assert_eq!(comparison["added"], serde_json::json!([["after", "3"]]));

    // The table was last written by the second run.
    let same = ["rows: 2 are the same"];
    workspace.run(&format!("diff {second} results/tiny.csv")).with(0, &same);
    workspace.run(&format!("diff results/tiny.csv cache/v1/runs/{second}")).with(0, &same);
    workspace
        .run(&format!("diff {second} {part}"))
        .with(2, &["the run stopped before producing results", "help: give two files"]);
    workspace.run(&format!("diff {second} 20000101T000000Z-tiny")).with(66, &["20000101T000000Z-tiny"]);
    workspace.write("other.json", "{}");
    workspace.run(&format!("diff {second} other.json")).with(2, &["it is not the file of a run"]);
}
