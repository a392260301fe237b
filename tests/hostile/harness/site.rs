//! A workspace that something happens to, and the undisturbed one that it is compared with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::workspace::{Ended, Workspace, copy};

/// Hardly any training, but checkpoints, results that two tasks share, and outputs of every kind.
const MANIFEST: &str = "\
name: tiny
seed: 2
matrix: {ratio: [0.5, 1]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 32, test: 16, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {model: wrn-10-1, epochs: 3, batch: 16}}
  clean:    {kind: split, needs: {dataset: images}, with: {ratio: \"${matrix.ratio}\"}}
  erased:   {kind: finetune, needs: {model: trained, dataset: clean}, with: {epochs: 1}}
  after:    {kind: evaluate, needs: {model: erased, dataset: images, trigger: poisoned}}
results: {csv: results/tiny.csv, from: [after]}
";

/// The tasks of [`MANIFEST`].
pub const TASKS: usize = 9;

/// The command that everything is about.
pub const RUN: &str = "run tiny.yaml";

/// Exports, by a task and its output, to [`EXPORTED`].
pub const EXPORTS: [&str; 4] = [
    "export tiny.yaml trained model exported.safetensors",
    "export tiny.yaml trained model exported.pth",
    "export tiny.yaml poisoned trigger exported.png",
    "export tiny.yaml images dataset exported",
];

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// A workspace that something happens to.
pub struct Site(pub Workspace);

impl Site {
    /// A workspace with nothing but a manifest, and a file that nobody may touch.
    pub fn new() -> Self {
        let site = Self(Workspace::new());
        site.0.write("tiny.yaml", MANIFEST);
        site.0.write("bystander", "untouched");
        site
    }

    /// Another workspace with the same files.
    pub fn copy(&self) -> Self {
        let copied = Self::new();
        for folder in ["cache", "results"].iter().filter(|folder| self.0.path(folder).exists()) {
            copy(&self.0.path(folder), &copied.0.path(folder));
        }
        copied
    }

    /// The program with these arguments, separated by spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut program = self.0.program();
        program.args(arguments.split(' '));
        program
    }

    /// Runs the program to its end. It does not hang, and it does not panic.
    #[track_caller]
    pub fn run(&self, arguments: &str) -> Ended {
        ended(self.command(arguments), arguments)
    }

    /// Checks that a run ends now as if nothing had happened, and leaves nothing behind.
    #[track_caller]
    pub fn ends_like(&self, undisturbed: &Undisturbed) -> Ended {
        let ended = self.run(RUN).with(0, &[]);
        assert_eq!(self.0.csv(), undisturbed.csv, "the table");
        assert_eq!(self.0.digests(), undisturbed.site.0.digests(), "the artifacts");
        self.run("cache verify").with(0, &["checked 9 records"]);
        self.run(RUN).with(0, &["9 cached"]);
        assert_eq!(names(&self.0.path("cache/v1/work")), [""; 0], "work that is left");
        let untouched = fs::read_to_string(self.0.path("bystander")).unwrap();
        assert_eq!(untouched, "untouched");
        ended
    }

    /// Checks what is left after a collection: no mark of a dead process, and nothing in the workspace that does not belong
    /// there.
    #[track_caller]
    pub fn is_clean(&self, left: Left) {
        let cache = self.0.path("cache/v1");
        // A collection leaves files under temporary names alone for an hour: their process may be alive.
        let hours_ago = SystemTime::now() - Duration::from_secs(7200);
        for path in tree(&cache).into_keys().filter(|path| is_temporary(path)) {
            File::open(cache.join(path)).unwrap().set_modified(hours_ago).unwrap();
        }
        self.run("cache gc").with(0, &[]);
        assert_eq!(names(&self.0.path("cache/v1/live")), [""; 0], "marks of processes that are left");
        let mut there: Vec<String> = tree(self.0.root()).into_keys().collect();
        if left == Left::Temporary {
            there.retain(|path| path.starts_with("cache/") || !is_temporary(path));
        }
        let temporary = there.iter().filter(|path| is_temporary(path));
        assert_eq!(temporary.collect::<Vec<_>>(), [""; 0], "files under temporary names are left");
        let belongs = |path: &&String| {
            ["cache/v1/", "results/tiny.", ".own/"].iter().any(|known| path.starts_with(known))
        };
        let others: Vec<&String> = there.iter().filter(|path| !belongs(path)).collect();
        assert_eq!(others, ["bystander", "tiny.yaml"]);
    }

    /// Checks that no key was computed twice: its log has one end at most.
    #[track_caller]
    pub fn computed_once(&self) {
        for log in self.0.kept("logs") {
            let text = fs::read_to_string(log).unwrap();
            assert!(text.matches("] finished").count() <= 1, "computed twice:\n{text}");
        }
    }
}

/// What may be left of a command that ended early.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// Files under temporary names, outside of the cache.
    Temporary,
}

/// Whether a file, or a folder that it is in, has a temporary name.
fn is_temporary(path: &str) -> bool {
    path.split('/').any(|name| name.starts_with(".new."))
}

/// A complete run that nothing happened to.
pub struct Undisturbed {
    pub site: Site,
    pub csv: String,
    /// How long it took.
    pub duration: Duration,
    /// The files of each of [`EXPORTS`].
    exported: Vec<BTreeMap<String, Vec<u8>>>,
}

impl Undisturbed {
    pub fn new() -> Self {
        let site = Site::new();
        let start = Instant::now();
        site.run(RUN).with(0, &["9 ran"]);
        let (duration, csv) = (start.elapsed(), site.0.csv());
        let exported = EXPORTS.map(|export| {
            site.run(export).with(0, &[]);
            take_exported(&site)
        });
        Self { site, csv, duration, exported: exported.into() }
    }

    /// Checks what an interrupted or failed export left: everything or nothing, and the next try succeeds.
    #[track_caller]
    pub fn exported_whole(&self, export: &str, site: &Site, ended: Option<i32>) {
        let at = EXPORTS.iter().position(|other| *other == export).unwrap();
        let first = take_exported(site);
        assert!(first.is_empty() || first == self.exported[at], "half an export: {:?}", first.keys());
        assert!(ended != Some(0) || !first.is_empty(), "nothing was exported");
        if !site.0.path("results/tiny.csv").exists() {
            return;
        }
        site.run(export).with(0, &[]);
        assert!(take_exported(site) == self.exported[at], "another export");
    }
}

/// Takes the exported files out of a workspace.
fn take_exported(site: &Site) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(site.0.root());
    files.retain(|path, _| path.starts_with("exported"));
    for name in names(site.0.root()).iter().filter(|name| name.starts_with("exported")) {
        let path = site.0.path(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    files
}

/// Runs a command to its end, within the limit.
#[track_caller]
pub fn ended(mut command: Command, name: &str) -> Ended {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    end_of(child, name)
}

/// Waits for the end of a command, within the limit.
#[track_caller]
pub fn end_of(child: Child, name: &str) -> Ended {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(LIMIT) else {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("`{name}` hangs");
    };
    let ended: Ended = output.unwrap().into();
    for bug in ["panicked", "this is a bug"] {
        assert!(!ended.stderr.contains(bug), "`{name}`:\n{}", ended.stderr);
    }
    ended
}

/// The names in a folder, in order; none if it does not exist.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files below a folder, by their path in it.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            let below = tree(&path).into_iter();
            files.extend(below.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}
