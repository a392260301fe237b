//! What every stage kind makes, to the byte: the program runs `golden/golden.yaml`, and its records must match
//! `golden/records.json`, which was written before the code was last restructured.
//!
//! A cache is only right as long as one key has one result. So a change of what a kind makes needs a new version
//! number, which gives it new keys; this test fails when there is none.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use argd_pipe::store::canon;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::TempDir;

const MANIFEST: &str = include_str!("golden/golden.yaml");
const RECORDS: &str = include_str!("golden/records.json");

/// What keys are a hash of, beside their bytes: this keeps them apart from hashes for other purposes.
const KEY_CONTEXT: &str = "argd-pipe 2026-11 task key v1";

/// One task's key and results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    task: String,
    kind: String,
    key: String,
    /// The canonical bytes that the key is the hash of, in hexadecimal digits.
    bytes: String,
    /// Digests by port.
    outputs: BTreeMap<String, String>,
    metrics: Map<String, Value>,
}

impl Golden {
    /// From a record in the cache.
    fn of(record: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let components = &record["components"];
        let outputs = record["outputs"].as_array().unwrap().iter();
        Self {
            task: text(&record["exec"]["task"]),
            kind: text(&components["kind"]),
            key: text(&record["key"]),
            bytes: hex(&canon::encode(components)),
            outputs: outputs.map(|output| (text(&output["port"]), text(&output["digest"]))).collect(),
            metrics: record["metrics"].as_object().unwrap().clone(),
        }
    }
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(RECORDS).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Runs the manifest in a new folder. The checkpoint that it reads is a model that it trains.
fn run_golden() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("golden.yaml"), MANIFEST).unwrap();
    for arguments in
        ["run golden.yaml trained", "export golden.yaml trained model theirs.pth", "run golden.yaml"]
    {
        let mut program = Command::new(assert_cmd::cargo::cargo_bin!("argd-pipe"));
        program.current_dir(folder.path()).args(arguments.split(' '));
        for variable in ["CACHE_DIR", "DATA_DIR", "SIMD", "THREADS"] {
            program.env_remove(format!("ARGD_PIPE_{variable}"));
        }
        let ended = program.env("XDG_CACHE_HOME", folder.path()).output().unwrap();
        assert!(ended.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    folder
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The records in a workspace's cache: those that are in `order` as they are there, then others.
fn records(workspace: &Path, order: &[Golden]) -> Vec<Golden> {
    let read = |path: PathBuf| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let paths = files(&workspace.join("cache/v1/records")).into_iter().flat_map(|shard| files(&shard));
    let mut found: Vec<Golden> = paths.map(|path| Golden::of(&read(path))).collect();
    let rank = |task: &str| order.iter().position(|golden| golden.task == task).unwrap_or(order.len());
    found.sort_by_cached_key(|golden| (rank(&golden.task), golden.task.clone()));
    found
}

/// How a task differs from what it was; `None` if it does not.
fn difference(before: &Golden, now: Option<&Golden>) -> Option<String> {
    let Golden { task, kind, .. } = before;
    let Some(now) = now else { return Some(format!("{task} (kind `{kind}`) has no record")) };
    let what = if now.bytes != before.bytes {
        format!("the bytes of its key changed: {}", first_change(&before.bytes, &now.bytes))
    } else if now.key != before.key {
        format!("the same bytes have another key: {}, not {}", now.key, before.key)
    } else if now.outputs != before.outputs {
        format!("the same key has other outputs: {:?}, not {:?}", now.outputs, before.outputs)
    } else if now.metrics != before.metrics {
        format!("the same key has other metrics: {:?}, not {:?}", now.metrics, before.metrics)
    } else {
        return None;
    };
    Some(format!("{task} (kind `{kind}`): {what}"))
}

/// Where two encodings begin to differ, in characters where they are text.
fn first_change(before: &str, now: &str) -> String {
    let (before, now) = (unhex(before), unhex(now));
    let at = before.iter().zip(&now).take_while(|(before, now)| before == now).count();
    let around = |bytes: &[u8]| {
        let text = bytes[at.saturating_sub(40)..bytes.len().min(at + 40)].escape_ascii().to_string();
        text.replace(r"\x00", "")
    };
    format!("at byte {at}, from `{}` to `{}`", around(&before), around(&now))
}

#[test]
fn results_change_only_with_a_version() {
    let before = golden();
    let workspace = run_golden();
    let now = records(workspace.path(), &before);
    let find = |task: &str| now.iter().find(|golden| golden.task == task);
    let different: Vec<String> =
        before.iter().filter_map(|golden| difference(golden, find(&golden.task))).collect();
    if different.is_empty() && now.len() == before.len() {
        return;
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("records.json");
    fs::write(&new, format!("{}\n", serde_json::to_string_pretty(&now).unwrap())).unwrap();
    // Tasks are in the order of the manifest: those after the first may differ because of their inputs.
    panic!(
        "{} of {} tasks differ, beginning with:\n{}\nRaise VERSION of the kind or undo the change. If VERSION was \
         raised, or golden.yaml has new tasks, copy {} to tests/golden/records.json.",
        different.len().max(now.len().abs_diff(before.len())),
        now.len(),
        different.first().map_or("tasks that have no golden record", String::as_str),
        new.display()
    );
}

#[test]
fn golden_keys_are_hashes_of_golden_bytes() {
    for Golden { task, key, bytes, .. } in golden() {
        let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
        assert_eq!(hasher.update(&unhex(&bytes)).finalize().to_hex().as_str(), key, "{task}");
    }
}

#[test]
fn every_kind_has_a_golden_record() {
    let kinds: BTreeSet<_> = argd_pipe::stages::all().iter().map(|stage| stage.kind().to_owned()).collect();
    assert_eq!(golden().into_iter().map(|golden| golden.kind).collect::<BTreeSet<_>>(), kinds);
}

#[test]
fn differences_name_the_task_and_the_kind() {
    let before = golden().remove(2);
    assert_eq!(difference(&before, Some(&before)), None);
    let told = |now: Golden| difference(&before, Some(&now)).unwrap();

    let digest = "0".repeat(64);
    let outputs = BTreeMap::from([("model".to_owned(), digest)]);
    let text = told(Golden { outputs, ..before.clone() });
    assert!(text.starts_with("trained (kind `train`): the same key has other outputs: "), "{text}");

    let epochs = hex(b"epochs\x03");
    let bytes = before.bytes.replacen(&format!("{epochs}02"), &format!("{epochs}03"), 1);
    let text = told(Golden { bytes, ..before.clone() });
    assert!(text.contains("the bytes of its key changed: at byte "), "{text}");
    assert!(text.contains(r"epochs\x03\x02"), "{text}");
    assert!(text.contains(r"epochs\x03\x03"), "{text}");

    assert_eq!(difference(&before, None).unwrap(), "trained (kind `train`) has no record");
}
