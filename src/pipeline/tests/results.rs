//! The CSV: its columns, its rows, and that it can be written again.

use serde_json::json;

use super::*;
use crate::pipeline::results::table;
use crate::store::Record;

#[test]
fn rows_come_by_stage_and_cell_with_a_column_per_axis() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let told = bench.run_plan(&plan);
    let table = table(&plan, |id| told.run.record(id)).unwrap();
    let header = "pipeline,stage,clean_ratio,defense,seed,acc,acc_excl_target,asr,ra,der,n_clean,key";
    assert_eq!(table.header.join(","), header);
    assert_eq!(table.rows.len(), 13);
    assert_eq!(table.rows[0].fields[..5], ["badnets", "before", "", "", "2"]);
    assert_eq!(table.rows[1].fields[..5], ["badnets", "after", "0.01", "finetune", "2"]);
    assert_eq!(table.rows[12].fields[..5], ["badnets", "after", "0.2", "argd", "2"]);
    let record = told.run.record(table.rows[12].task.id).unwrap();
    let acc = record.metrics["acc"].as_f64().unwrap();
    assert_eq!(
        table.rows[12].fields[5..],
        [&format!("{acc:.2}"), "", "", "", "", "2000", &record.key.to_string()]
    );
}

#[test]
fn a_csv_from_the_store_is_byte_for_byte_that_of_the_run() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
    let plan = bench.plan(SWEEP);
    let told = bench.run_plan(&plan);
    let path = bench.folder.path().join("deep/er/badnets.csv");
    table(&plan, |id| told.run.record(id)).unwrap().write(&path).unwrap();
    let first = fs::read(&path).unwrap();
    assert_eq!(first.iter().filter(|&&byte| byte == b'\n').count(), 14);

    let survey = survey(&plan, &bench.store(), &mut |_| {}).unwrap();
    let again = table(&plan, |id| survey.record(id)).unwrap();
    again.complete("argd-pipe run m.yaml").unwrap();
    again.write(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn what_has_no_results_yet_is_named_with_the_command_that_computes_it() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let survey = survey(&plan, &bench.store(), &mut |_| {}).unwrap();
    let table = table(&plan, |id| survey.record(id)).unwrap();
    assert_eq!((table.rows.len(), table.missing.len()), (0, 13));
    let error = table.complete("argd-pipe run m.yaml").unwrap_err();
    assert_eq!(error.class(), Class::Stale);
    let message = error.to_string();
    assert!(
        message.starts_with("13 tasks have no results yet (before, after@clean_ratio=0.01,"),
        "{message}"
    );
    assert!(message.ends_with("and 8 more)\nhint: `argd-pipe run m.yaml` computes them"), "{message}");
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
    let told = bench.run_plan(&plan);
    let metrics =
        json!({"asr": 99.996, "ra": -0.001, "der": 50, "n_b": 3, "n_a": 12, "auc": 0.5, "acc": null});
    let record = with_metrics(&told.run, metrics);
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
fn a_manifest_without_results_has_no_table() {
    let bench = Bench::new();
    let plan = bench.plan("name: a\nstages: {a: {kind: node}}");
    assert_eq!(table(&plan, |_| None), None);
}
