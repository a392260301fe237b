//! What surrounds a manifest: data that changes while it is read, repositories of others, signals, limits.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use image::{Rgb, RgbImage};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::workspace::{Ended, Workspace};

/// Every kind of stage that reads files outside the cache.
const MANIFEST: &str = "\
name: outside
seed: 2
stages:
  images:   {kind: dataset, with: {source: image-folder, path: data}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: refool, pictures: pool, target: 0, rate: 1.0}}
  tiny:     {kind: dataset, with: {source: synthetic, train: 64, test: 32, size: 16}}
  theirs:   {kind: checkpoint, needs: {dataset: tiny}, with: {path: theirs.pth, model: wrn-10-1}}
";

/// Writes a folder of images of one color.
fn images(root: &Path, names: &[&str], color: u8) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(16, 16, Rgb([color, 1, 2])).save(path).unwrap();
    }
}

/// A workspace with the sources of [`MANIFEST`], and others of the same form: `data.b`, `pool.b`, `theirs.pth.b`.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("outside.yaml", MANIFEST);
    for (end, color) in [("", 10), (".b", 200)] {
        let classes = ["train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"];
        images(&workspace.path(&format!("data{end}")), &classes, color);
        images(&workspace.path(&format!("pool{end}")), &["0.png", "1.png"], color);
    }
    workspace
}

/// Exchanges two files or folders, as a person does.
fn exchange(workspace: &Workspace, path: &str) {
    let [ours, theirs, away] = ["", ".b", ".away"].map(|end| workspace.path(&format!("{path}{end}")));
    fs::rename(&ours, &away).unwrap();
    fs::rename(&theirs, &ours).unwrap();
    fs::rename(&away, &theirs).unwrap();
}

/// The lock of the key of a task that is ready to run.
fn lock(workspace: &Workspace, task: &str) -> PathBuf {
    let plan: Value = serde_json::from_str(&workspace.run("plan outside.yaml --json").stdout).unwrap();
    let tasks = plan["tasks"].as_array().unwrap();
    let found = tasks.iter().find(|found| found["task"]["name"] == task).unwrap();
    workspace.path("cache/v1/locks").join(found["key"].as_str().unwrap())
}

/// Runs a task whose source changes between the computation of its key and the read: in between, the run waits for the
/// lock of the key. Then the same command must compute the task, as if nothing had happened.
fn disturb(workspace: &Workspace, task: &str, executor: &str, words: &str, change: impl Fn()) {
    let lock = lock(workspace, task);
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let file = File::create(lock).unwrap();
    file.lock().unwrap();
    let mut program = workspace.program();
    program.args(["run", "outside.yaml", task, "--executor", executor]);
    let mut run = program.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("waiting") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it did not wait:\n{told}");
    }
    change();
    drop(file);
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4), "{told}");
    assert!(told.contains(words) && told.contains("run the same command again"), "{told}");
}

/// Puts B in the place of A while a run waits, and puts A back after it.
fn swap(workspace: &Workspace, task: &str, source: &str, executor: &str) {
    let words = format!("{source}` changed while it was read");
    disturb(workspace, task, executor, &words, || exchange(workspace, source));
    exchange(workspace, source);
    workspace.run(&format!("run outside.yaml {task}")).with(0, &["1 ran"]);
}

#[test]
fn data_that_changes_between_the_key_and_the_read_is_not_kept() {
    let (undisturbed, disturbed) = (workspace(), workspace());
    undisturbed.run("run outside.yaml images").with(0, &["1 ran"]);
    swap(&disturbed, "images", "data", "local");
    assert_eq!(disturbed.digests(), undisturbed.digests());
    fs::remove_dir_all(disturbed.path("cache")).unwrap();
    swap(&disturbed, "images", "data", "process");
    assert_eq!(disturbed.digests(), undisturbed.digests());

    undisturbed.run("run outside.yaml poisoned").with(0, &["1 ran"]);
    swap(&disturbed, "poisoned", "pool", "local");
    assert_eq!(disturbed.digests(), undisturbed.digests());
}

#[test]
fn data_that_changes_and_changes_back_is_not_kept() {
    let workspace = workspace();
    let twice = || {
        exchange(&workspace, "data");
        exchange(&workspace, "data");
    };
    disturb(&workspace, "images", "local", "changed while it was read; it has the same content now", twice);
    workspace.run("run outside.yaml images").with(0, &["1 ran"]);
}

#[test]
fn a_checkpoint_that_changes_between_the_key_and_the_read_is_not_kept() {
    let workspace = workspace();
    workspace.run("run tiny.yaml").with(0, &[]);
    for (epochs, file) in [(1, "theirs.pth"), (2, "theirs.pth.b")] {
        workspace.run(&format!("export tiny.yaml trained@epochs={epochs} model {epochs}.pth"));
        fs::rename(workspace.path(&format!("{epochs}.pth")), workspace.path(file)).unwrap();
    }
    workspace.run("run outside.yaml tiny").with(0, &["1 cached"]);
    swap(&workspace, "theirs", "theirs.pth", "local");
}

/// A workspace in a repository, or `None` without git.
fn repository() -> Option<Workspace> {
    let workspace = Workspace::cheap();
    workspace.write(".gitattributes", "cheap.yaml filter=evil\n");
    let commands = ["init -q", "add cheap.yaml .gitattributes", "commit -q -m x"];
    commands.iter().all(|arguments| git(&workspace, arguments)).then_some(workspace)
}

fn git(workspace: &Workspace, arguments: &str) -> bool {
    let identity = ["-c", "user.name=x", "-c", "user.email=x@y"];
    let mut command = Command::new("git");
    let command = command.current_dir(workspace.root()).args(identity).args(arguments.split(' '));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Writes a script that leaves the file `ran`.
fn script(workspace: &Workspace, name: &str, then: &str) -> PathBuf {
    let (path, ran) = (workspace.path(name), workspace.path("ran"));
    workspace.write(name, &format!("#!/bin/sh\ntouch '{}'\n{then}\n", ran.display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The state of the repository in the newest run file.
fn recorded(workspace: &Workspace) -> Value {
    let runs = fs::read_dir(workspace.path("cache/v1/runs")).unwrap().map(|entry| entry.unwrap().path());
    let newest = runs.max_by_key(|run| fs::metadata(run).unwrap().modified().unwrap()).unwrap();
    let run: Value = serde_json::from_str(&fs::read_to_string(newest.join("run.json")).unwrap()).unwrap();
    run["git"].clone()
}

#[test]
fn nothing_that_a_repository_configures_runs() {
    let Some(workspace) = repository() else { return };
    let (monitor, filter) = (script(&workspace, "monitor", "exit 1"), script(&workspace, "filter", "cat"));
    git(&workspace, &format!("config core.fsmonitor {}", monitor.display()));
    for kind in ["clean", "smudge", "process"] {
        git(&workspace, &format!("config filter.evil.{kind} {}", filter.display()));
    }
    // Other times: git must read the file to see whether it has changed.
    let touched = SystemTime::now() + Duration::from_secs(10);
    File::options().write(true).open(workspace.path("cheap.yaml")).unwrap().set_modified(touched).unwrap();
    let index = || fs::read(workspace.path(".git/index")).unwrap();
    let before = index();

    workspace.run("run cheap.yaml images").with(0, &[]);
    assert_eq!(recorded(&workspace)["dirty"], false);
    assert_eq!(recorded(&workspace)["commit"].as_str().unwrap().len(), 40);
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    workspace.write("cheap.yaml", &(super::workspace::CHEAP.to_owned() + "# changed\n"));
    workspace.run("run cheap.yaml images").with(0, &[]);
    assert_eq!(recorded(&workspace)["dirty"], true);

    assert!(!workspace.path("ran").exists(), "the repository's script ran");
    assert!(index() == before, "the index was written");
    assert!(git(&workspace, "status") && workspace.path("ran").exists(), "the test shows nothing");
}

#[test]
fn a_git_that_hangs_does_not_stop_a_run() {
    let Some(workspace) = repository() else { return };
    fs::create_dir(workspace.path("bin")).unwrap();
    script(&workspace, "bin/git", "sleep 600");
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", workspace.path("bin").display());
    let start = Instant::now();
    let run = workspace.program().args(["run", "cheap.yaml", "images"]).env("PATH", path).output().unwrap();
    assert!(run.status.success() && start.elapsed() < Duration::from_secs(10));
    assert!(workspace.path("ran").exists(), "the test shows nothing");
    assert_eq!(recorded(&workspace)["commit"].as_str().unwrap().len(), 40);
    assert_eq!(recorded(&workspace)["dirty"], Value::Null);
}

/// A running program. It ends with the test.
struct Running(Child);

impl Running {
    /// Starts a program, with nothing to read its outputs.
    fn start(mut program: Command) -> Self {
        Self(program.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

fn wait_until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_stops_a_run_that_hashes_its_sources() {
    let workspace = workspace();
    // Hashing it takes seconds, and it takes no space.
    File::create(workspace.path("theirs.pth")).unwrap().set_len(40 << 30).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let _ = fs::remove_dir_all(workspace.path("cache"));
        let mut program = workspace.program();
        program.args(["run", "outside.yaml", "theirs"]);
        let mut run = Running::start(program);
        wait_until(|| fs::read_dir(workspace.path("cache/v1/runs")).is_ok_and(|runs| runs.count() > 0));
        thread::sleep(Duration::from_millis(200));
        let stopped = Instant::now();
        run.send(signal);
        assert_eq!(run.code(), Some(75));
        assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
    }
}

/// Starts a run that trains for long, and waits until it does.
fn training(workspace: &Workspace, mut program: Command) -> Running {
    program.args(["run", "tiny.yaml", "--set", "matrix.epochs=[500]"]).current_dir(workspace.root());
    let run = Running::start(program);
    let is_training =
        |log: &PathBuf| fs::read_to_string(log).is_ok_and(|log| log.contains("started trained"));
    wait_until(|| workspace.path("cache/v1/logs").is_dir() && workspace.kept("logs").iter().any(is_training));
    run
}

#[test]
fn a_closed_terminal_stops_a_run_with_a_checkpoint() {
    let workspace = Workspace::new();
    let mut run = training(&workspace, workspace.program());
    // The kernel and the shell both send it.
    run.send(Signal::HUP);
    run.send(Signal::HUP);
    assert_eq!(run.code(), Some(75));
    let mut tasks =
        fs::read_dir(workspace.path("cache/v1/partial")).unwrap().map(|entry| entry.unwrap().path());
    assert!(tasks.any(|task| fs::read_dir(task).unwrap().count() > 0), "no checkpoint");
}

#[test]
fn a_closed_terminal_does_not_stop_a_run_with_nohup() {
    let workspace = Workspace::new();
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(workspace.program().get_program());
    let mut run = training(&workspace, nohup);
    run.send(Signal::HUP);
    thread::sleep(Duration::from_millis(500));
    assert!(run.is_running());
    run.send(Signal::INT);
    assert_eq!(run.code(), Some(75));
}

#[test]
fn a_folder_that_links_make_endless_is_refused_at_once() {
    let workspace = workspace();
    let level = |n: usize| workspace.path("data").join(format!("level-{n}"));
    (0..23).for_each(|n| fs::create_dir(level(n)).unwrap());
    for n in 0..22 {
        ["left", "right"].iter().for_each(|name| symlink(level(n + 1), level(n).join(name)).unwrap());
    }
    let start = Instant::now();
    let words = ["images: cannot hash `data/", "links lead to this folder in more than 100 ways", "help: "];
    workspace.run("run outside.yaml images").with(4, &words);
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A user without rights, because limits on processes do not hold for root, and one that no other test runs as, because
/// they count all processes of a user.
const NOBODY: u32 = 65_532;

/// Runs the program as a user that may have so many threads. `None` where the tests cannot become one.
fn limited(workspace: &Workspace, threads: usize, arguments: &str) -> Option<Ended> {
    let id = NOBODY.to_string();
    let become_nobody = ["--reuid", &id, "--regid", &id, "--clear-groups"];
    if !Command::new("setpriv")
        .args(become_nobody)
        .args(["prlimit", "--version"])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        return None;
    }
    chown(workspace.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut program = Command::new("prlimit");
    program.arg(format!("--nproc={threads}")).arg("setpriv").args(become_nobody);
    program.arg(workspace.program().get_program()).args(arguments.split(' ')).current_dir(workspace.root());
    Some(program.output().unwrap().into())
}

#[test]
fn a_limit_on_threads_is_reported() {
    let workspace = Workspace::new();
    let words = ["cannot start", "raise the limit on processes (`ulimit -u`)"];
    // The main thread, one that hashes, one that starts the task, and one that computes it.
    for threads in 1..4 {
        for executor in ["local", "process"] {
            let run = format!("run tiny.yaml images --threads 1 --executor {executor}");
            let Some(ended) = limited(&workspace, threads, &run) else { return };
            ended.with(4, &words);
        }
        limited(&workspace, threads, "plan tiny.yaml").unwrap().with(0, &[]);
    }
    // The kernel counts a thread for a moment after it has ended.
    limited(&workspace, 8, "run tiny.yaml --set matrix.epochs=[1] --threads 1").unwrap().with(0, &["4 ran"]);
}

#[test]
fn numbers_of_threads_and_bytes_that_make_no_sense_are_told() {
    let workspace = Workspace::cheap();
    let run = |arguments: &str| workspace.run(&format!("run cheap.yaml images -n {arguments}"));
    run("--threads 1000000").with(0, &["warning: 1000000 threads on", "the limit of 32 per core"]);
    let cores = thread::available_parallelism().unwrap().get();
    let more = format!("--threads {}", cores + 1);
    run(&more).with(0, &["more threads than cores make a run slower"]);
    assert!(!run(&format!("--threads {cores}")).stderr.contains("warning"));
    run("-j 0").with(2, &["'--jobs <N>': nothing would run; write 1 or more"]);
    run("--threads 0").with(2, &["nothing would run; write 1 or more"]);
    run("--memory 12").with(2, &["12 bytes are too few for any task; did you mean `12G`?"]);
}
