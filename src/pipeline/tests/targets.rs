//! Parts of a plan: the tasks that targets pick, forced and withheld tasks, and the end of a run that fails fast.

use std::collections::BTreeSet;

use miette::Diagnostic;

use super::kinds::Act;
use super::*;

fn picked(plan: &Plan, targets: &[&str]) -> Result<Vec<String>, TargetError> {
    let targets: Vec<Target> = targets.iter().map(|text| text.parse().unwrap()).collect();
    Ok(plan.picked(&targets)?.into_iter().map(|id| plan.task(id).label.to_string()).collect())
}

#[test]
fn targets_pick_by_stage_and_axes() {
    let plan = Bench::new().plan(SWEEP);
    assert_eq!(picked(&plan, &["backdoored"]).unwrap(), ["backdoored"]);
    assert_eq!(picked(&plan, &["erased"]).unwrap().len(), 12);
    assert_eq!(picked(&plan, &["erased@defense=argd"]).unwrap().len(), 4);
    let one = "after@clean_ratio=0.05,defense=argd";
    assert_eq!(picked(&plan, &[one]).unwrap(), [one]);
    assert_eq!(picked(&plan, &["*@defense=*a*"]).unwrap().len(), 2 * 2 * 4, "nad and argd");
    assert_eq!(picked(&plan, &["teacher", "teacher@clean_ratio=0.?5"]).unwrap().len(), 4);
    assert_eq!(picked(&plan, &["teacher@clean_ratio=0.10"]).unwrap(), ["teacher@clean_ratio=0.1"]);
    assert_eq!(picked(&plan, &["erased@*"]).unwrap().len(), 12);
}

#[test]
fn a_target_that_picks_nothing_is_reported_with_the_valid_names() {
    let plan = Bench::new().plan(SWEEP);
    let message = |target: &str| {
        let error = picked(&plan, &[target]).unwrap_err();
        format!("{error}\n{}", error.help().unwrap())
    };
    let stage = message("erasd");
    assert!(
        stage.starts_with("`erasd`: unknown stage `erasd`\ndid you mean `erased`? stages: `images`"),
        "{stage}"
    );
    let axis = message("teacher@defense=nad");
    assert!(axis.contains("`teacher` has no axis `defense`\naxes of `teacher`: `clean_ratio`"), "{axis}");
    let value = message("erased@defense=agrd");
    assert!(value.contains("no task has the value `agrd` of `defense`\ndid you mean `argd`?"), "{value}");
    let several = plan.picked_one(&"erased".parse().unwrap()).err().unwrap();
    assert_eq!(several.to_string(), "`erased`: the name matches 12 tasks");
    assert!(several.help().unwrap().to_string().ends_with("and 7 more"));
}

#[test]
fn a_narrowed_plan_has_the_same_tasks_with_the_same_keys() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let whole = bench.run_plan(&plan);
    let target = plan.picked(&["after@defense=nad,clean_ratio=0.2".parse().unwrap()]).unwrap();
    let kept = plan.with_upstream(&target);
    assert_eq!(kept.len(), 8, "images to after, and before, which is the baseline");
    let narrowed = bench.plan(SWEEP).narrowed(&kept);
    let seen = bench.run_plan(&narrowed);
    assert_eq!(seen.counts(), [0, 8, 0, 0, 0]);
    for task in narrowed.tasks() {
        let of_whole = named(&plan, &task.label.to_string());
        assert_eq!(seen.run.record(task.id()), whole.run.record(of_whole));
        assert!(task.needs().all(|need| need < task.id()));
    }
}

#[test]
fn downstream_has_all_dependent_tasks() {
    let plan = Bench::new().plan(SWEEP);
    let teacher = BTreeSet::from([named(&plan, "teacher@clean_ratio=0.1")]);
    assert_eq!(plan.with_downstream(&teacher).len(), 1 + 3 + 3);
}

#[test]
fn a_forced_task_runs_and_its_dependent_tasks_only_if_its_output_differs() {
    let bench = Bench::new();
    bench.run(SWEEP);
    bench.lab.ran();
    let mut plan = bench.plan(SWEEP);
    plan.set_policy(named(&plan, "backdoored"), Policy::Always);
    assert_eq!(bench.run_plan(&plan).counts(), [1, SWEEP_TASKS - 1, 0, 0, 0]);
    assert_eq!(bench.lab.ran(), [("train", 1)]);
    bench.lab.set("train", Act::Waver);
    let seen = bench.run_plan(&plan);
    assert_eq!(seen.counts()[0], SWEEP_TASKS - 2 - 4, "all except images, poisoned and the splits");
    assert!(seen.run.record(named(&plan, "backdoored")).unwrap().nondeterministic);
}

#[test]
fn a_withheld_task_is_taken_from_the_store_or_reported() {
    let bench = Bench::new();
    let mut plan = bench.plan(SWEEP);
    let only = named(&plan, "backdoored");
    let others: Vec<TaskId> = plan.tasks().map(Task::id).filter(|&id| id != only).collect();
    others.iter().for_each(|&id| plan.set_policy(id, Policy::Never));
    let seen = bench.run_plan(&plan);
    assert_eq!(seen.counts(), [0, 0, 0, SWEEP_TASKS, 0]);
    assert_eq!(seen.tasks(|event| matches!(event, Event::Withheld { .. })), ["images"]);
    let error = seen.run.complete().unwrap_err();
    assert_eq!(error.class(), Class::Stale);
    assert!(error.to_string().starts_with("1 task has no result (images), and `--only`"), "{error}");
    assert_eq!(bench.lab.ran(), []);

    bench.run("name: up\nseed: 2\nstages: {images: {kind: dataset, with: {text: synthetic}}, poisoned: {kind: poison, needs: {dataset: images}}}");
    bench.lab.ran();
    bench.run_plan(&plan);
    assert_eq!(bench.lab.ran(), [("train", 1)]);
}

#[test]
fn a_run_that_fails_fast_starts_no_other_task() {
    let settings = Settings { jobs: 1, threads: 1, memory: None, fail_fast: true };
    let bench = Bench { settings, ..Bench::new() };
    bench.lab.set("split", Act::Fail);
    let seen = bench.run(SWEEP);
    let [ran, cached, failed, skipped, unfinished] = seen.counts();
    assert_eq!((cached, failed, skipped), (0, 1, 1 + 3 + 3));
    assert_eq!(ran + unfinished, SWEEP_TASKS - failed - skipped);
    let error = seen.run.complete().unwrap_err();
    assert_eq!(error.class(), Class::StageFailed);
    assert!(error.to_string().contains(&format!("{unfinished} did not start")), "{error}");
}
