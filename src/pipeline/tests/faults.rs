//! Failing stages and damaged caches: which results are lost, and which are kept.

use super::kinds::Act;
use super::*;

fn failed(event: &Event) -> bool {
    matches!(event, Event::Failed { .. })
}

fn finished(event: &Event) -> bool {
    matches!(event, Event::Finished { .. })
}

#[test]
fn a_failed_task_skips_only_its_dependent_tasks() {
    let bench = Bench::new();
    bench.lab.set("erase", Act::Fail);
    let plan = bench.plan(SWEEP);
    let seen = bench.run_plan(&plan);
    assert_eq!(seen.counts(), [12, 0, 12, 12, 0]);
    let skipped = seen.events.iter().find_map(|event| match event {
        Event::Skipped { task, ancestor, message } => {
            Some((task.to_string(), ancestor.to_string(), message.clone()))
        }
        _ => None,
    });
    let first = ("after@clean_ratio=0.01,defense=finetune", "erased@clean_ratio=0.01,defense=finetune");
    assert_eq!(skipped, Some((first.0.into(), first.1.into(), "the test makes it fail".into())));
    assert!(
        matches!(seen.run.ending(named(&plan, first.0)), Ending::Skipped { ancestor } if *ancestor == named(&plan, first.1))
    );
    let error = seen.run.complete().unwrap_err();
    assert_eq!(error.class(), Class::StageFailed);
    let message = error.to_string();
    assert!(message.starts_with("12 tasks failed (erased@clean_ratio=0.01,defense=finetune, "), "{message}");
    assert!(message.ends_with("and 7 more), 12 dependent tasks were skipped"), "{message}");

    bench.lab.heal();
    assert_eq!(bench.run_plan(&plan).counts(), [24, 12, 0, 0, 0]);
}

#[test]
fn a_panic_is_reported_as_a_bug_of_the_kind() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
    bench.lab.set("train", Act::Panic);
    let seen = bench.run(SWEEP);
    let messages = seen.events.iter().filter_map(|event| match event {
        Event::Failed { task, class, message, hint } => {
            Some((task.to_string(), *class, message.as_str(), hint.as_deref()))
        }
        _ => None,
    });
    let message = "a bug in the stage kind `train`: it panicked: the test makes it panic";
    let hint = Some("report this bug, with the manifest");
    assert_eq!(messages.collect::<Vec<_>>(), [("backdoored".to_owned(), Class::Bug, message, hint)]);
    assert_eq!(seen.counts(), [1 + 1 + 4, 0, 1, 4 + 12 + 1 + 12, 0]);
    assert_eq!(seen.run.complete().unwrap_err().class(), Class::Bug);
}

#[test]
fn a_missing_file_fails_its_stage_with_a_hint() {
    let bench = Bench::new();
    let yaml = "
name: files
stages:
  images: {kind: dataset, with: {file: no/such/file}}
  other:  {kind: node}
  split:  {kind: split, needs: {dataset: images}}
";
    let plan = bench.plan(yaml);
    let counts = survey(&plan, &bench.store(), &mut |_, _| {}).unwrap().counts();
    assert_eq!(counts, Counts { cached: 0, to_run: 1, pending: 1, failed: 1 });
    let seen = bench.run_plan(&plan);
    assert_eq!(seen.counts(), [1, 0, 1, 1, 0]);
    let Ending::Failed(error) = seen.run.ending(named(&plan, "images")) else { panic!() };
    assert_eq!(
        error.with_hint(),
        "no/such/file: not found\nhint: the stage `images` reads it; set its path there or with `--set`"
    );
    assert_eq!(seen.run.complete().unwrap_err().class(), Class::InputMissing);
}

#[test]
fn a_file_that_changes_while_its_stage_runs_gives_no_result() {
    let bench = Bench::new();
    let file = bench.folder.path().join("data");
    let yaml =
        format!("name: files\nstages: {{images: {{kind: dataset, with: {{file: '{}'}}}}}}", file.display());
    let write = |text: &'static str| {
        let file = file.clone();
        move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::write(&file, text).unwrap();
        }
    };
    let changed = format!("`{}` changed while it was read", file.display());
    let changed_back = format!("{changed}; it has the same content now");
    for (last, message) in [("B", changed), ("A", changed_back)] {
        write("A")();
        let (first, last) = (write("B"), write(last));
        bench.lab.meanwhile(move || {
            first();
            last();
        });
        let seen = bench.run(&yaml);
        let Ending::Failed(error) = seen.run.endings().next().unwrap() else { panic!() };
        assert_eq!((error.to_string(), error.class()), (message, Class::StageFailed));
    }
    let gone = file.clone();
    bench.lab.meanwhile(move || fs::remove_file(&gone).unwrap());
    assert_eq!(bench.run(&yaml).tasks(failed), ["images"]);
    bench.lab.heal();
    write("A")();
    assert_eq!(bench.run(&yaml).tasks(finished), ["images"], "nothing was kept under the key of A");
}

#[test]
fn a_deleted_object_is_reported_and_only_it_is_computed_again() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let first = bench.run_plan(&plan);
    bench.lab.ran();
    let backdoored = named(&plan, "backdoored");
    fs::remove_file(bench.object(&first.run, backdoored, "model")).unwrap();
    let second = bench.run_plan(&plan);
    assert_eq!(second.tasks(|event| matches!(event, Event::Damaged { .. })), ["backdoored"]);
    assert_eq!(second.tasks(finished), ["backdoored"]);
    assert_eq!(second.counts(), [1, SWEEP_TASKS - 1, 0, 0, 0]);
    assert_eq!(bench.lab.ran(), [("train", 1)]);
    assert_eq!(second.run.record(backdoored).unwrap().outputs, first.run.record(backdoored).unwrap().outputs);
}

#[test]
fn an_object_with_a_changed_byte_is_never_used() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let first = bench.run_plan(&plan);
    let teacher = named(&plan, "teacher@clean_ratio=0.05");
    let object = bench.object(&first.run, teacher, "model");
    let mut bytes = fs::read(&object).unwrap();
    bytes[3] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, bytes).unwrap();
    let second = bench.run_plan(&plan);
    assert_eq!(second.tasks(finished), ["teacher@clean_ratio=0.05"]);
    assert_eq!(second.run.record(teacher).unwrap().outputs, first.run.record(teacher).unwrap().outputs);
}

#[test]
fn an_artifact_that_is_passed_on_is_repaired_with_the_task_that_made_it() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let first = bench.run_plan(&plan);
    let images = bench.object(&first.run, named(&plan, "images"), "dataset");
    assert_eq!(images, bench.object(&first.run, named(&plan, "clean@clean_ratio=0.01"), "dataset"));
    fs::remove_file(images).unwrap();
    let second = bench.run_plan(&plan);
    assert_eq!(second.tasks(finished), ["images"]);
    second.run.complete().unwrap();
}

#[test]
fn a_recomputation_that_gives_other_bytes_runs_the_dependent_tasks() {
    let bench = Bench::new();
    let yaml = "
name: chain
stages:
  a: {kind: dataset}
  b: {kind: split, needs: {dataset: a}}
  c: {kind: node}
";
    let plan = bench.plan(yaml);
    let first = bench.run_plan(&plan);
    fs::remove_file(bench.object(&first.run, named(&plan, "a"), "dataset")).unwrap();
    bench.lab.set("dataset", Act::Waver);
    let second = bench.run_plan(&plan);
    assert_eq!(second.tasks(finished), ["a", "b"]);
}

#[test]
fn a_failed_task_has_no_record() {
    let bench = Bench::new();
    bench.lab.set("node", Act::Fail);
    let yaml = "name: one\nstages: {a: {kind: node}}";
    assert_eq!(bench.run(yaml).tasks(failed), ["a"]);
    assert_eq!(bench.run(yaml).tasks(failed), ["a"]);
    assert_eq!(bench.lab.ran(), [("node", 2)]);
}

#[test]
fn a_run_reports_the_gravest_class_of_its_failures() {
    let bench = Bench::new();
    bench.lab.set("node", Act::Panic);
    bench.lab.set("twins", Act::Fail);
    let seen = bench.run("name: two\nstages: {a: {kind: node}, b: {kind: twins}}");
    assert_eq!(seen.run.complete().unwrap_err().class(), Class::Bug);
}
