//! A folder to run the program in, and how the program ended.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use argd_pipe::store::FAIL_POINT_VARIABLE;
use serde_json::Value;
use tempfile::TempDir;

/// The smallest experiment that makes results: six tasks that share two, and hardly any training.
pub const MANIFEST: &str = "\
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

/// Tasks that take no time and need no training: one set of images, and a split of a split per ratio.
pub const CHEAP: &str = "\
name: cheap
seed: 2
matrix: {ratio: [0.25, 0.5]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 64, test: 32, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  part:     {kind: split, needs: {dataset: images, poison: poisoned}, with: {ratio: \"${matrix.ratio}\"}}
  rest:     {kind: split, needs: {dataset: part}, with: {ratio: 0.5}}
";

/// Compares with a snapshot in which times and hashes are the same for everyone.
macro_rules! assert_tells {
    ($name:literal, $ended:expr) => {
        insta::with_settings!({filters => [
            (r"\b(\d+m )?\d+(\.\d)?s\b", "[time]"),
            (r"\b\d+\.\d\d\b", "[metric]"),
            // The width of a table depends on the numbers in it.
            (r"([ ─═]){2,}", "$1"),
            (r"\b[0-9a-f]{64}\b", "[key]"),
            (r"\b[0-9a-f]{12}\b", "[short key]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[moment]"),
            (r"on \S+, (by argd-pipe|process) \S+", "on [host], $1 [number]"),
            (r"on \d+ threads", "on [number] threads"),
            (r"whole process: \S+ MB", "whole process: [size]"),
            (r"cache/v1/logs/\w\w/", "cache/v1/logs/[..]/"),
        ]}, { insta::assert_snapshot!($name, $ended.all()) })
    };
}
pub(crate) use assert_tells;

/// A folder to run the program in.
pub struct Workspace(TempDir);

impl Workspace {
    /// One with [`MANIFEST`] as `tiny.yaml`.
    pub fn new() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write("tiny.yaml", MANIFEST);
        workspace
    }

    /// One with [`CHEAP`] as `cheap.yaml`.
    pub fn cheap() -> Self {
        let workspace = Self(tempfile::tempdir().unwrap());
        workspace.write("cheap.yaml", CHEAP);
        workspace
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file in the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The results.
    pub fn csv(&self) -> String {
        fs::read_to_string(self.path("results/tiny.csv")).unwrap()
    }

    /// The program in this folder, untouched by the environment of the tests.
    pub fn program(&self) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("argd-pipe"));
        command.current_dir(self.0.path());
        for variable in ["CACHE_DIR", "DATA_DIR", "SIMD", "THREADS"] {
            command.env_remove(format!("ARGD_PIPE_{variable}"));
        }
        command.env_remove(FAIL_POINT_VARIABLE).env_remove("RUST_BACKTRACE");
        command.env("XDG_CACHE_HOME", self.own());
        // SAFETY: between fork and exec only `signal` is called, which is safe there.
        unsafe { command.pre_exec(hear_signals) };
        command
    }

    /// The cache folder of the user, for [`Self::program`].
    pub fn own(&self) -> PathBuf {
        self.path(".own")
    }

    /// Runs the program with these arguments, separated by spaces.
    pub fn run(&self, arguments: &str) -> Ended {
        self.run_with(arguments, &[])
    }

    /// Runs the program with arguments separated by spaces, and some that may have spaces in them.
    pub fn run_with(&self, arguments: &str, others: &[&str]) -> Ended {
        self.program().args(arguments.split(' ')).args(others).output().unwrap().into()
    }

    /// Artifacts or records in the cache, by `what`.
    pub fn kept(&self, what: &str) -> Vec<PathBuf> {
        let shards = fs::read_dir(self.path("cache/v1").join(what)).unwrap();
        let mut files: Vec<PathBuf> = shards
            .flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// The digests of all artifacts.
    pub fn digests(&self) -> Vec<OsString> {
        self.kept("objects").iter().map(|path| path.file_name().unwrap().to_owned()).collect()
    }

    /// The first artifact of the only task of a kind.
    pub fn artifact(&self, kind: &str) -> PathBuf {
        let records = self.kept("records").into_iter().map(|path| fs::read_to_string(path).unwrap());
        let records: Vec<Value> = records.map(|text| serde_json::from_str(&text).unwrap()).collect();
        let record = records.iter().find(|record| record["components"]["kind"] == kind).unwrap();
        let digest = record["outputs"][0]["digest"].as_str().unwrap();
        self.path("cache/v1/objects").join(&digest[..2]).join(digest)
    }
}

/// A shell in which the tests run in the background, or `nohup`, ignores signals that tests send, and children inherit it.
fn hear_signals() -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // SAFETY: it sets the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

/// Copies a file, or a folder with everything in it; their times are those of now.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// How the program ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
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
    pub fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "standard error:\n{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in\n{}", self.stderr);
        }
        self
    }

    /// All that a user sees.
    pub fn all(&self) -> String {
        let Self { code, stdout, stderr } = self;
        format!("exit code: {code:?}\n--- standard output\n{stdout}--- standard error\n{stderr}")
    }
}
