//! Runs that end well, or are cut short: what is shown, kept and computed again.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use argd_pipe::kernels::Level;
use argd_pipe::store::{FAIL_POINT_VARIABLE, FAIL_POINTS};
use insta::{assert_snapshot, with_settings};

use super::workspace::{Ended, MANIFEST, Workspace, assert_tells};

#[test]
fn the_help() {
    let workspace = Workspace::new();
    let commands = [
        "",
        "run ",
        "plan ",
        "status ",
        "results ",
        "diff ",
        "dag ",
        "show ",
        "log ",
        "export ",
        "model ",
        "model import ",
        "model export ",
    ];
    for command in commands {
        for (flag, length) in [("-h", "short"), ("--help", "long")] {
            let name = format!("{command}help {length}").replace(' ', "_");
            assert_snapshot!(name, workspace.run(&format!("{command}{flag}")).with(0, &[]).stdout);
        }
    }
}

#[test]
fn a_run_from_nothing_and_again() {
    let workspace = Workspace::new();
    assert_tells!("plan_before_a_run", workspace.run("plan tiny.yaml"));
    assert_tells!("first_run", workspace.run("run tiny.yaml"));
    let filters = [(r"\b[0-9a-f]{64}\b", "[key]"), (r"\b\d+\.\d\d\b", "[metric]")];
    with_settings!({filters => filters}, { assert_snapshot!("csv", workspace.csv()) });
    let (csv, objects) = (workspace.csv(), workspace.kept("objects"));

    fs::remove_dir_all(workspace.path("results")).unwrap();
    assert_tells!("second_run", workspace.run("run tiny.yaml"));
    assert_eq!(workspace.csv(), csv);
    assert_eq!(workspace.kept("objects"), objects);
    assert_tells!("plan_after_a_run", workspace.run("plan tiny.yaml"));
}

#[test]
fn seeds_are_joined_in_a_csv_of_their_own() {
    let workspace = Workspace::new();
    let of_seeds = MANIFEST.replace("seed: 2\nmatrix: {epochs: [1, 2]}", "matrix: {seed: [1, 2]}");
    workspace.write("tiny.yaml", &of_seeds.replace("\"${matrix.epochs}\"", "1"));
    let told =
        workspace.run("run tiny.yaml").with(0, &["wrote the means over the seeds to results/tiny.seeds.csv"]);
    assert!(told.stdout.contains(" ± "), "{}", told.stdout);
    let read = || fs::read_to_string(workspace.path("results/tiny.seeds.csv")).unwrap();
    let first = read();
    let lines: Vec<&str> = first.lines().collect();
    assert!(lines[0].starts_with("pipeline,stage,n,acc_mean,acc_sd,acc_excl_target_mean,"), "{first}");
    assert!(lines.len() == 2 && lines[1].starts_with("tiny,after,2,"), "{first}");

    fs::remove_dir_all(workspace.path("results")).unwrap();
    workspace.run("results tiny.yaml").with(0, &["wrote 2 rows to results/tiny.csv"]);
    assert_eq!(read(), first);
}

#[test]
fn threads_jobs_and_instructions_change_no_byte() {
    let run = |arguments: &str, level: Option<Level>| {
        let workspace = Workspace::new();
        let mut program = workspace.program();
        program.args(["run", "tiny.yaml"]).args(arguments.split(' '));
        program.envs(level.map(|level| (Level::VARIABLE, level.name())));
        Ended::from(program.output().unwrap()).with(0, &[]);
        (workspace.csv(), workspace.digests())
    };
    let one = run("-j 1 --threads 1", None);
    assert_eq!(run("-j 2 --threads 2", None), one);
    for level in Level::available() {
        assert_eq!(run("-j 1", Some(level)), one, "{level:?}");
    }
    let lacking = Workspace::new().program().args(["bench"]).env(Level::VARIABLE, "abacus").output();
    Ended::from(lacking.unwrap()).with(2, &["ARGD_PIPE_SIMD is `abacus`; this processor has", "portable"]);
}

#[test]
fn results_come_from_the_cache_alone() {
    let workspace = Workspace::new();
    workspace.run("results tiny.yaml").with(5, &["have no results yet", "argd-pipe run tiny.yaml"]);
    assert!(!workspace.path("results").exists());

    workspace.run("run tiny.yaml").with(0, &[]);
    let csv = workspace.csv();
    // The header is right, and the rows are gone.
    workspace.write("results/tiny.csv", &csv[..=csv.find('\n').unwrap()]);
    let told = workspace.run("results tiny.yaml").with(0, &["wrote 2 rows to results/tiny.csv"]);
    assert_eq!(workspace.csv(), csv);
    assert!(told.stdout.contains("after") && told.stdout.contains("cached"), "{}", told.stdout);

    let without = MANIFEST.replace("results:", "#");
    workspace.write("tiny.yaml", &without);
    workspace.run("results tiny.yaml").with(3, &["the manifest has no `results`", "help: add"]);
}

#[test]
fn a_dry_run_runs_nothing() {
    let workspace = Workspace::new();
    let told = workspace.run("run tiny.yaml --dry-run").with(0, &["1 to run, 5 pending"]);
    assert_eq!(told.stdout, workspace.run("plan tiny.yaml").stdout);
    assert!(!workspace.path("cache").exists());
}

#[test]
fn an_artifact_that_is_lost_or_changed_is_computed_again() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &[]);
    let (csv, objects) = (workspace.csv(), workspace.kept("objects"));
    let images = workspace.artifact("dataset");

    fs::remove_file(&images).unwrap();
    workspace.run("run tiny.yaml").with(0, &["damaged images", "is missing", "1 ran, 5 cached"]);

    fs::remove_file(&images).unwrap();
    fs::write(&images, "something else").unwrap();
    workspace.run("run tiny.yaml").with(0, &["damaged images", "it was set aside as", "1 ran, 5 cached"]);

    assert_eq!(workspace.csv(), csv);
    assert_eq!(workspace.kept("objects"), objects);
}

#[test]
fn a_crash_while_committing_costs_no_more_than_the_task() {
    let undisturbed = Workspace::new();
    undisturbed.run("run tiny.yaml").with(0, &[]);
    for point in FAIL_POINTS {
        let workspace = Workspace::new();
        let crashed = workspace.program().args(["run", "tiny.yaml"]).env(FAIL_POINT_VARIABLE, point).output();
        assert_eq!(crashed.unwrap().status.code(), None, "{point} was passed");
        workspace.run("run tiny.yaml").with(0, &[]);
        assert_eq!(workspace.csv(), undisturbed.csv(), "after a crash at {point}");
        assert_eq!(
            fs::read_dir(workspace.path("cache/v1/work")).unwrap().count(),
            0,
            "after a crash at {point}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let workspace = Workspace::new();
    let mut program = workspace.program();
    let mut child =
        program.args(["plan", "tiny.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Ended::from(child.wait_with_output().unwrap()).with(0, &["6 tasks"]);
}

#[test]
fn folders_are_where_the_options_say() {
    let workspace = Workspace::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], variable: (&str, &str)| {
        let mut program = workspace.program();
        program.current_dir(elsewhere.path()).args(arguments).env(variable.0, variable.1);
        Ended::from(program.output().unwrap()).with(0, &[])
    };
    let made = |path: &Path| path.join("v1/CACHEDIR.TAG").is_file();
    let nothing = ("UNUSED", "");
    run(&["-C", workspace.root().to_str().unwrap(), "run", "tiny.yaml"], nothing);
    assert!(made(&workspace.path("cache")) && workspace.path("results/tiny.csv").is_file());

    let manifest = workspace.path("tiny.yaml");
    let manifest = manifest.to_str().unwrap();
    run(&["run", manifest, "images"], ("ARGD_PIPE_CACHE_DIR", "from-env"));
    assert!(made(&elsewhere.path().join("from-env")));
    run(&["run", manifest, "images", "--cache-dir", "from-option"], ("ARGD_PIPE_CACHE_DIR", "from-env-2"));
    assert!(made(&elsewhere.path().join("from-option")) && !elsewhere.path().join("from-env-2").exists());
}

#[test]
fn colour_is_for_those_who_want_it() {
    let workspace = Workspace::new();
    let plain = workspace.run("run tiny.yaml").with(0, &[]);
    assert!(!plain.all().contains('\x1b'));
    workspace.run("run tiny.yaml -v --color always").with(0, &["\x1b["]);
    assert!(!workspace.run("run tiny.yaml -v --color never").all().contains('\x1b'));
}
