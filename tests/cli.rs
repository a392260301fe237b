//! The program as its users meet it: whole processes, their output and their exit codes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use argd_pipe::store::{FAIL_POINT_VARIABLE, FAIL_POINTS};
use insta::{assert_snapshot, with_settings};
use serde_json::Value;
use tempfile::TempDir;

/// The smallest experiment that makes results: six tasks that share two, and hardly any training.
const MANIFEST: &str = "\
name: tiny
seed: 2
matrix: {epochs: [1, 2]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 64, test: 32, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {model: wrn-10-1, epochs: \"${matrix.epochs}\"}}
  after:    {kind: evaluate, needs: {model: trained, dataset: images, trigger: poisoned}}
results: {csv: results/tiny.csv, from: [after]}
";

/// A folder to run the program in.
struct Workspace(TempDir);

impl Workspace {
    /// One with [`MANIFEST`] as `tiny.yaml`.
    fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write("tiny.yaml", MANIFEST);
        workspace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn csv(&self) -> String {
        fs::read_to_string(self.path("results/tiny.csv")).unwrap()
    }

    /// The program in this folder, untouched by the environment of the tests.
    fn program(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("argd-pipe"));
        command.current_dir(self.0.path());
        for variable in ["ARGD_PIPE_CACHE_DIR", "ARGD_PIPE_THREADS", FAIL_POINT_VARIABLE, "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the program with these arguments, separated by spaces.
    fn run(&self, arguments: &str) -> Ended {
        self.program().args(arguments.split(' ')).output().unwrap().into()
    }

    /// Artifacts or records in the cache, by `what`.
    fn kept(&self, what: &str) -> Vec<PathBuf> {
        let shards = fs::read_dir(self.path("cache/v1").join(what)).unwrap();
        let mut files: Vec<PathBuf> = shards
            .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// The first artifact of the only task of a kind.
    fn artifact(&self, kind: &str) -> PathBuf {
        let records = self.kept("records").into_iter().map(|path| fs::read_to_string(path).unwrap());
        let records: Vec<Value> = records.map(|text| serde_json::from_str(&text).unwrap()).collect();
        let record = records.iter().find(|record| record["components"]["kind"] == kind).unwrap();
        let digest = record["outputs"][0]["digest"].as_str().unwrap();
        self.path("cache/v1/objects").join(&digest[..2]).join(digest)
    }
}

/// How the program ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Ended {
    /// Checks the exit code, and that standard error has these words.
    #[track_caller]
    fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "standard error:\n{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in\n{}", self.stderr);
        }
        self
    }

    fn all(&self) -> String {
        let Self { code, stdout, stderr } = self;
        format!("exit code: {code:?}\n--- standard output\n{stdout}--- standard error\n{stderr}")
    }
}

/// Compares with a snapshot in which times and hashes are the same for everyone.
macro_rules! assert_tells {
    ($name:literal, $ended:expr) => {
        with_settings!({filters => [
            (r"\b\d+\.\ds", "[time]"),
            (r"\b\d+\.\d\d\b", "[metric]"),
            // The width of a table depends on the numbers in it.
            (r"([ ─═]){2,}", "$1"),
            (r"\b[0-9a-f]{64}\b", "[key]"),
            (r"\b[0-9a-f]{12}\b", "[short key]"),
        ]}, { assert_snapshot!($name, $ended.all()) })
    };
}

#[test]
fn the_help() {
    let workspace = Workspace::new();
    for command in ["", "run ", "plan ", "results "] {
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
fn threads_and_jobs_change_no_byte() {
    let (one, two) = (Workspace::new(), Workspace::new());
    one.run("run tiny.yaml -j 1 --threads 1").with(0, &[]);
    two.run("run tiny.yaml -j 2 --threads 2").with(0, &[]);
    assert_eq!(one.csv(), two.csv());
    let names = |workspace: &Workspace| -> Vec<_> {
        workspace.kept("objects").iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&one), names(&two));
}

#[test]
fn results_come_from_the_cache_alone() {
    let workspace = Workspace::new();
    workspace.run("results tiny.yaml").with(5, &["have no results yet", "argd-pipe run tiny.yaml"]);
    assert!(!workspace.path("results").exists());

    workspace.run("run tiny.yaml").with(0, &[]);
    let csv = workspace.csv();
    workspace.write("results/tiny.csv", "spoilt");
    let told = workspace.run("results tiny.yaml").with(0, &["2 rows are in results/tiny.csv"]);
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
    assert_eq!(workspace.kept("records"), [] as [PathBuf; 0]);
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
fn two_programs_at_once_share_a_cache() {
    let workspace = Workspace::new();
    let start = || {
        let mut program = workspace.program();
        program.args(["run", "tiny.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running = [start(), start(), start()];
    let ended = running.map(|child| Ended::from(child.wait_with_output().unwrap()).with(0, &[]));
    let ran = |ended: &Ended| ended.stderr.matches("finished ").count();
    assert_eq!(ended.iter().map(ran).sum::<usize>(), 6, "every task runs once");
    let alone = Workspace::new();
    alone.run("run tiny.yaml").with(0, &[]);
    assert_eq!(workspace.csv(), alone.csv());
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
fn a_write_that_fails_leaves_nothing_behind() {
    let workspace = Workspace::new();
    // No file may grow beyond 4 KiB: to a program the same as a full disk, without the need for one.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{}' run tiny.yaml",
        workspace.program().get_program().display()
    );
    let ended = Command::new("sh").args(["-c", &limited]).current_dir(workspace.0.path()).output().unwrap();
    Ended::from(ended).with(4, &["images: ", "File too large", "5 skipped"]);
    for what in ["objects", "records"] {
        assert_eq!(workspace.kept(what), [] as [PathBuf; 0]);
    }
    assert_eq!(fs::read_dir(workspace.path("cache/v1/work")).unwrap().count(), 0);
    assert!(!workspace.path("results").exists());
    workspace.run("run tiny.yaml").with(0, &[]);
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
fn a_manifest_that_is_missing_or_unfit_is_told() {
    let workspace = Workspace::new();
    let files =
        [("empty.yaml", ""), ("broken.yaml", "stages: {a: [}"), ("cycle.yaml", CYCLE), ("typo.yaml", TYPO)];
    files.iter().for_each(|(name, text)| workspace.write(name, text));
    fs::write(workspace.path("bytes.yaml"), b"name: \xff").unwrap();
    fs::create_dir(workspace.path("folder.yaml")).unwrap();

    workspace.run("run gone.yaml").with(66, &["gone.yaml", "No such file"]);
    workspace.run("run folder.yaml").with(66, &["folder.yaml", "Is a directory"]);
    workspace.run("run bytes.yaml").with(3, &["bytes.yaml", "UTF-8", "byte 6"]);
    workspace.run("run empty.yaml").with(3, &["the manifest is empty", "help: "]);
    workspace.run("run broken.yaml").with(3, &["broken.yaml:1:"]);
    workspace.run("run cycle.yaml").with(3, &["cycle.yaml:", "cycle"]);
    workspace.run("run typo.yaml").with(3, &["typo.yaml:4:", "did you mean `split`?"]);
    assert!(!workspace.path("cache").exists(), "nothing is made for a manifest that is wrong");
}

const CYCLE: &str = "\
name: cycle
stages:
  a: {kind: split, needs: {dataset: b}, with: {ratio: 0.5}}
  b: {kind: split, needs: {dataset: a}, with: {ratio: 0.5}}
";

const TYPO: &str = "\
name: typo
stages:
  images: {kind: dataset, with: {source: synthetic}}
  clean: {kind: spilt, needs: {dataset: images}, with: {ratio: 0.5}}
";

#[test]
fn all_errors_of_the_stages_are_told_at_once() {
    let workspace = Workspace::new();
    workspace.write("wrong.yaml", WRONG);
    let words = ["stages.images.with.train", "stages.clean.with.ratio", "stages.rest.needs", "wrong.yaml:5:"];
    workspace.run("plan wrong.yaml").with(3, &words).with(3, &["errors in the manifest; nothing was run"]);
}

const WRONG: &str = "\
name: wrong
stages:
  images: {kind: dataset, with: {source: synthetic, train: many}}
  clean: {kind: split, needs: {dataset: images}, with: {ratio: 1.5}}
  rest: {kind: split, needs: {}, with: {ratio: 0.5}}
";

#[test]
fn an_override_that_makes_no_sense_is_told() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --set seed").with(2, &["--set", "has no `=`"]);
    workspace.run("run tiny.yaml --set sede=3").with(3, &["--set:1:1", "did you mean `seed`?"]);
    workspace
        .run("run tiny.yaml --set stages.imags.with.size=16")
        .with(3, &["--set:1:", "did you mean `images`?"]);
    workspace.run("run tiny.yaml --set matrix.epochs=[many]").with(3, &["--set:1:"]);
    workspace.run("run tiny.yaml --set matrix.epochs=[1]").with(0, &["4 ran"]);
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    let workspace = Workspace::new();
    for arguments in
        ["run", "rum tiny.yaml", "run tiny.yaml -j 0", "run tiny.yaml --threads x", "plan --frobnicate"]
    {
        workspace.run(arguments).with(2, &["error: "]);
    }
    workspace.run("-C nowhere plan tiny.yaml").with(2, &["nowhere", "No such file"]);
}

#[test]
fn data_that_is_missing_is_told_and_stops_only_what_needs_it() {
    let workspace = Workspace::new();
    let manifest =
        MANIFEST.replace("stages:", "stages:\n  other: {kind: dataset, with: {source: cifar10, path: gone}}");
    workspace.write("tiny.yaml", &manifest);
    workspace.run("plan tiny.yaml").with(66, &["other: ", "gone", "1 of the tasks cannot run"]);
    workspace.run("run tiny.yaml").with(66, &["other: ", "gone", "6 ran, 1 failed"]);
    workspace.run("results tiny.yaml").with(0, &[]);
}

#[test]
fn a_cache_that_cannot_be_used_is_told() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --cache-dir tiny.yaml").with(6, &["tiny.yaml/v1", "--cache-dir"]);
    assert_eq!(fs::read_to_string(workspace.path("tiny.yaml")).unwrap(), MANIFEST);

    workspace.run("run tiny.yaml").with(0, &[]);
    for record in workspace.kept("records") {
        fs::write(record, r#"{"format_version": 4000000000}"#).unwrap();
    }
    workspace.run("run tiny.yaml").with(6, &["was written by a newer argd-pipe", "help: update argd-pipe"]);
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
    run(&["-C", workspace.0.path().to_str().unwrap(), "run", "tiny.yaml"], nothing);
    assert!(made(&workspace.path("cache")) && workspace.path("results/tiny.csv").is_file());

    let manifest = workspace.path("tiny.yaml");
    let manifest = manifest.to_str().unwrap();
    run(&["plan", manifest], ("ARGD_PIPE_CACHE_DIR", "from-env"));
    assert!(made(&elsewhere.path().join("from-env")));
    run(&["plan", manifest, "--cache-dir", "from-option"], ("ARGD_PIPE_CACHE_DIR", "from-env-2"));
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
