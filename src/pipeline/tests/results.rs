//! The CSV: its columns, its rows, and identical bytes when it is written again.

use miette::Diagnostic;
use serde_json::json;

use super::*;
use crate::pipeline::results::{Summary, Table, table};
use crate::store::Record;

#[test]
fn rows_are_in_order_of_stage_and_cell_with_a_column_per_axis() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let seen = bench.run_plan(&plan);
    let table = table(&plan, |id| seen.run.record(id)).unwrap();
    let header = "pipeline,stage,clean_ratio,defense,seed,acc,acc_excl_target,asr,ra,der,n_clean,key";
    assert_eq!(table.header.join(","), header);
    assert_eq!(table.rows.len(), 13);
    assert_eq!(table.rows[0].fields[..5], ["badnets", "before", "", "", "2"]);
    assert_eq!(table.rows[1].fields[..5], ["badnets", "after", "0.01", "finetune", "2"]);
    assert_eq!(table.rows[12].fields[..5], ["badnets", "after", "0.2", "argd", "2"]);
    let record = seen.run.record(table.rows[12].task.id).unwrap();
    let acc = record.metrics["acc"].as_f64().unwrap();
    assert_eq!(
        table.rows[12].fields[5..],
        [&format!("{acc:.2}"), "", "", "", "", "2000", &record.key.to_string()]
    );
}

#[test]
fn a_csv_from_the_store_equals_that_of_the_run() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
    let plan = bench.plan(SWEEP);
    let seen = bench.run_plan(&plan);
    let path = bench.folder.path().join("deep/er/badnets.csv");
    table(&plan, |id| seen.run.record(id)).unwrap().write(&path).unwrap();
    let first = fs::read(&path).unwrap();
    assert_eq!(first.iter().filter(|&&byte| byte == b'\n').count(), 14);

    let survey = survey(&plan, &bench.store(), &mut |_, _| {}).unwrap();
    let again = table(&plan, |id| survey.record(id)).unwrap();
    again.complete("argd-pipe run m.yaml").unwrap();
    again.write(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn tasks_without_results_are_named_with_the_command_that_computes_them() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let survey = survey(&plan, &bench.store(), &mut |_, _| {}).unwrap();
    let table = table(&plan, |id| survey.record(id)).unwrap();
    assert_eq!((table.rows.len(), table.missing.len()), (0, 13));
    let error = table.complete("argd-pipe run m.yaml").unwrap_err();
    assert_eq!(error.class(), Class::Stale);
    let message = error.to_string();
    assert!(
        message.starts_with("13 tasks have no results yet (before, after@clean_ratio=0.01,"),
        "{message}"
    );
    assert!(message.ends_with("and 8 more)"), "{message}");
    assert_eq!(error.help().unwrap().to_string(), "`argd-pipe run m.yaml` computes them");
}

/// A run's records with other metrics.
fn with_metrics(run: &Run, metrics: serde_json::Value) -> Record {
    let mut record = run.endings().last().unwrap().record().unwrap().clone();
    record.metrics = metrics.as_object().unwrap().clone();
    record
}

#[test]
fn percentages_have_two_decimals_and_counts_none() {
    let bench = Bench::new();
    let yaml = r#"
name: fields
matrix: {seed: [7], key: ["a,b"]}
stages:
  d: {kind: dataset}
  m: {kind: train, needs: {dataset: d}}
  e: {kind: evaluate, needs: {model: m, dataset: d}, with: {text: "${matrix.key}"}}
results: {csv: r.csv, from: [e]}
"#;
    let plan = bench.plan(yaml);
    let seen = bench.run_plan(&plan);
    let metrics =
        json!({"asr": 99.996, "ra": -0.001, "der": 50, "n_b": 3, "n_a": 12, "auc": 0.5, "acc": null});
    let record = with_metrics(&seen.run, metrics);
    let table = table(&plan, |_| Some(&record)).unwrap();
    let csv = String::from_utf8(table.to_csv().unwrap()).unwrap();
    let expected = format!(
        "pipeline,stage,matrix.key,seed,acc,acc_excl_target,asr,ra,der,auc,n_a,n_b,key\n\
         fields,e,\"a,b\",7,,,100.00,0.00,50.00,0.50,12,3,{}\n",
        record.key
    );
    assert_eq!(csv, expected);
}

#[test]
fn a_table_of_detectors_has_their_columns_only() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let seen = bench.run_plan(&plan);
    let record = with_metrics(&seen.run, json!({"flagged": "0 3", "anomaly_index": 3.217, "flags": 2}));
    let table = table(&plan, |_| Some(&record)).unwrap();
    let header = "pipeline,stage,clean_ratio,defense,seed,anomaly_index,flagged,flags,key";
    assert_eq!(table.header.join(","), header);
    assert_eq!(table.rows[0].fields[5..8], ["3.22", "0 3", "2"]);
}

/// Two defenses and an evaluation before them, for three seeds.
const SEEDS: &str = r#"
name: seeds
matrix: {seed: [1, 2, 3], defense: [finetune, nad]}
stages:
  d: {kind: dataset}
  m: {kind: train, needs: {dataset: d}}
  s: {kind: train, needs: {dataset: d}, with: {text: "${matrix.defense}"}}
  before: {kind: evaluate, needs: {model: m, dataset: d}}
  after: {kind: evaluate, needs: {model: s, dataset: d, baseline: before}}
results: {csv: results/r.csv, from: [before, after]}
"#;

/// The table of [`SEEDS`] with metrics by task.
fn table_of_seeds(plan: &Plan, metrics: impl Fn(&str) -> serde_json::Value) -> Table {
    let seen = Bench::new().run_plan(plan);
    let records: Vec<Record> =
        plan.tasks().map(|task| with_metrics(&seen.run, metrics(&task.label.to_string()))).collect();
    table(plan, |id| Some(&records[id.0])).unwrap()
}

#[test]
fn seeds_are_joined_and_compared_with_fine_tuning_seed_by_seed() {
    let plan = Bench::new().plan(SEEDS);
    let table = table_of_seeds(&plan, |task| match task {
        "after@seed=1,defense=finetune" => json!({"acc": 80.0, "asr": 10.0, "n_clean": 9}),
        "after@seed=2,defense=finetune" => json!({"acc": 90.0, "asr": 30.0, "n_clean": 9}),
        "after@seed=3,defense=finetune" => json!({"acc": 85.0, "asr": 20.0, "n_clean": 9}),
        "after@seed=1,defense=nad" => json!({"acc": 81.0, "asr": 5.0, "n_clean": 9}),
        "after@seed=2,defense=nad" => json!({"acc": 93.0, "asr": 5.0, "n_clean": 9}),
        "after@seed=3,defense=nad" => json!({"acc": 87.0, "asr": 5.0, "n_clean": 9}),
        _ => json!({"acc": 50.0, "flagged": "none", "flags": 0}),
    });
    let summary = Summary::of(&plan, &table).unwrap();
    let csv = String::from_utf8(summary.to_csv(plan.name()).unwrap()).unwrap();
    let expected = "pipeline,stage,defense,n,acc_mean,acc_sd,asr_mean,asr_sd,flags_mean,flags_sd,acc_vs_finetune_mean,\
                    acc_vs_finetune_sd,asr_vs_finetune_mean,asr_vs_finetune_sd\n\
                    seeds,before,,3,50.00,0.00,,,0.00,0.00,,,,\n\
                    seeds,after,finetune,3,85.00,5.00,20.00,10.00,,,,,,\n\
                    seeds,after,nad,3,87.00,6.00,5.00,0.00,,,2.00,1.00,-15.00,10.00\n";
    assert_eq!(csv, expected);
    assert_eq!(Summary::path(&plan.results().unwrap().csv).to_str(), Some("results/r.seeds.csv"));
}

#[test]
fn rows_that_are_not_valid_are_marked_and_left_out_of_the_means() {
    let plan = Bench::new().plan(SEEDS);
    let table = table_of_seeds(&plan, |task| match task {
        "before@seed=2" => json!({"acc": 10.0, "valid": false}),
        "before@seed=1" | "before@seed=3" => json!({"acc": 60.0, "valid": true}),
        _ if task.contains("seed=2") => json!({"acc": 0.0, "valid": false}),
        _ if task.contains("nad") => json!({"acc": 70.0, "valid": true}),
        _ => json!({"acc": 75.0, "valid": true}),
    });
    let valid = table.header.iter().position(|name| name == "valid").unwrap();
    let marks: Vec<&str> = table.rows.iter().map(|row| row.fields[valid].as_str()).collect();
    assert_eq!(marks, ["true", "false", "true", "true", "true", "false", "false", "true", "true"]);
    let summary = Summary::of(&plan, &table).unwrap();
    let csv = String::from_utf8(summary.to_csv(plan.name()).unwrap()).unwrap();
    let expected = "pipeline,stage,defense,n,n_invalid,acc_mean,acc_sd,acc_vs_finetune_mean,acc_vs_finetune_sd\n\
                    seeds,before,,2,1,60.00,0.00,,\n\
                    seeds,after,finetune,2,1,75.00,0.00,,\n\
                    seeds,after,nad,2,1,70.00,0.00,-5.00,0.00\n";
    assert_eq!(csv, expected);
}

#[test]
fn without_a_seed_axis_there_is_no_summary() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let table = table(&plan, |_| None).unwrap();
    assert_eq!(Summary::of(&plan, &table), None);
}

#[test]
fn a_manifest_without_results_has_no_table() {
    let bench = Bench::new();
    let plan = bench.plan("name: a\nstages: {a: {kind: node}}");
    assert_eq!(table(&plan, |_| None), None);
}
