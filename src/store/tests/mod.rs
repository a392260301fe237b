//! What a user of the store relies on.

mod housekeeping;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::*;

fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn draft(components: &Value, outputs: Vec<DraftOutput>) -> RecordDraft {
    let metrics = Map::from_iter([("acc".to_owned(), json!(200.0 / 3.0))]);
    let exec = Execution { seconds: 0.1 + 0.2, ..Execution::default() };
    RecordDraft { components: components.clone(), outputs, metrics, exec }
}

/// Commits a task with these outputs: port, bytes.
fn commit(store: &Store, components: &Value, outputs: &[(&str, &[u8])]) -> Result<Record, StoreError> {
    // Another test that starts a process may hold a copy of a lock's file for a moment.
    let lock = store.lock(&Key::of(components), &mut |_| ControlFlow::Continue(()))?.unwrap();
    let work = store.work(&lock)?;
    for (port, bytes) in outputs {
        fs::write(work.path().join(port), bytes).unwrap();
    }
    let written = outputs.iter().map(|(port, _)| DraftOutput::Written((*port).to_owned())).collect();
    store.commit(&lock, work, draft(components, written))
}

fn hit(store: &Store, key: &Key) -> Record {
    match store.lookup(key).unwrap() {
        Lookup::Hit(record) => *record,
        other => panic!("{other:?}"),
    }
}

fn damages(store: &Store, key: &Key) -> Vec<Damage> {
    match store.lookup(key).unwrap() {
        Lookup::Damaged(damages) => damages,
        other => panic!("{other:?}"),
    }
}

fn is_miss(store: &Store, key: &Key) -> bool {
    matches!(store.lookup(key).unwrap(), Lookup::Miss)
}

/// Every file of a store but marks and lock files: path below `v1`, bytes.
fn files(cache: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            match () {
                () if name == "locks" || name == "live" => {}
                () if path.is_dir() => walk(&path, root, found),
                () => drop(found.insert(name, fs::read(&path).unwrap())),
            }
        }
    }
    let (root, mut found) = (cache.join("v1"), BTreeMap::new());
    walk(&root, &root, &mut found);
    found
}

#[test]
fn what_was_committed_is_found_by_any_process() {
    let (folder, store) = open();
    let (components, key) = (json!({"kind": "train"}), Key::of(&json!({"kind": "train"})));
    assert!(is_miss(&store, &key));
    fs::write(store.partial(&key).unwrap().path().join("epoch-1"), "weights").unwrap();

    let record = commit(&store, &components, &[("model", b"weights"), ("report", b"{}")]).unwrap();
    assert_eq!(record.key, key);
    let model = store.object(record.output("model").unwrap());
    assert_eq!(fs::read(&model).unwrap(), b"weights");
    assert!(fs::metadata(&model).unwrap().permissions().readonly());

    let other = Store::open(folder.path()).unwrap();
    assert_eq!(hit(&other, &key), record, "what commit returned is what is read");
    assert_eq!(other.record(&key).unwrap(), Some(record));
    let left = files(folder.path())
        .into_keys()
        .filter(|name| !name.contains("objects") && !name.contains("records"));
    assert_eq!(left.collect::<Vec<_>>(), ["CACHEDIR.TAG"], "neither work nor checkpoints stay");
}

#[test]
fn the_same_bytes_are_one_artifact() {
    let (folder, store) = open();
    let first = commit(&store, &json!(1), &[("model", b"weights")]).unwrap();
    let second = commit(&store, &json!(2), &[("model", b"weights")]).unwrap();
    assert_eq!(first.outputs, second.outputs);
    let objects = files(folder.path()).into_keys().filter(|name| name.starts_with("objects")).count();
    assert_eq!(objects, 1);
    assert_eq!(hit(&store, &first.key), first, "the first still stands");
}

#[test]
fn an_input_can_be_passed_on() {
    let (_folder, store) = open();
    let upstream = commit(&store, &json!("upstream"), &[("dataset", b"images")]).unwrap();
    let digest = *upstream.output("dataset").unwrap();
    let components = json!("split");
    let lock = store.try_lock(&Key::of(&components)).unwrap().unwrap();
    let passed_on = vec![DraftOutput::PassedOn { port: "whole".into(), digest }];
    let record = store.commit(&lock, store.work(&lock).unwrap(), draft(&components, passed_on)).unwrap();
    assert_eq!(record.outputs, [OutputRecord { port: "whole".into(), size: 6, digest }]);
    assert_eq!(hit(&store, lock.key()), record);
}

#[test]
fn an_output_that_is_missing_fails_the_commit() {
    let (folder, store) = open();
    let components = json!("forgetful");
    let lock = store.try_lock(&Key::of(&components)).unwrap().unwrap();
    let wanted = vec![DraftOutput::Written("model".into())];
    let failed = store.commit(&lock, store.work(&lock).unwrap(), draft(&components, wanted));
    assert!(matches!(failed, Err(StoreError::OutputMissing { port, .. }) if port == "model"));
    assert!(is_miss(&store, lock.key()));
    assert_eq!(files(folder.path()).into_keys().collect::<Vec<_>>(), ["CACHEDIR.TAG"]);
}

#[test]
fn a_commit_that_cannot_write_leaves_a_miss_and_no_litter() {
    let (folder, store) = open();
    let key = Key::of(&json!("unlucky"));
    let in_the_way = folder.path().join("v1/records").join(key.shard());
    fs::write(&in_the_way, "").unwrap();
    let error = commit(&store, &json!("unlucky"), &[("model", b"weights")]).unwrap_err().to_string();
    assert!(error.contains(in_the_way.to_str().unwrap()), "{error}");
    fs::remove_file(&in_the_way).unwrap();
    assert!(is_miss(&store, &key));
    assert!(files(folder.path()).into_keys().all(|name| !name.starts_with("work")));
}

#[test]
fn damage_is_found_told_set_aside_and_healed() {
    let (folder, store) = open();
    let (components, key) = (json!("task"), Key::of(&json!("task")));
    let outputs: [(&str, &[u8]); 2] = [("model", b"weights"), ("report", b"{}")];
    let record = commit(&store, &components, &outputs).unwrap();
    let model = store.object(record.output("model").unwrap());
    let record_file = folder.path().join(format!("v1/records/{}/{key}.json", key.shard()));

    let spoil = |path: &Path, bytes: &[u8]| {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let remove = |path: &Path, _: &[u8]| fs::remove_file(path).unwrap();
    type Harm<'a> = &'a dyn Fn(&Path, &[u8]);
    let cases: [(&Path, Harm, &[u8], Fault); 4] = [
        (&model, &remove, b"", Fault::Missing),
        (&model, &spoil, b"weight", Fault::Size { recorded: 7, found: 6 }),
        (&model, &spoil, b"wEights", Fault::Content),
        (&record_file, &spoil, b"{}", Fault::Record("its first bytes are not those of a record".into())),
    ];
    for (path, harm, bytes, fault) in cases {
        harm(path, bytes);
        let found = damages(&store, &key);
        assert_eq!(found.iter().map(|damage| &damage.fault).collect::<Vec<_>>(), [&fault]);
        assert!(found[0].to_string().contains(path.to_str().unwrap()), "{}", found[0]);
        if let Some(place) = &found[0].set_aside {
            assert_eq!(fs::read(place).unwrap(), bytes);
        }
        assert!(!path.exists());
        assert!(is_miss(&store, &key), "the record of {fault:?} is still there");
        assert_eq!(commit(&store, &components, &outputs).unwrap(), record);
        assert_eq!(hit(&store, &key), record);
    }
}

#[test]
fn a_record_of_the_future_is_neither_used_nor_overwritten() {
    let (folder, store) = open();
    let record = commit(&store, &json!("task"), &[("model", b"weights")]).unwrap();
    let path = folder.path().join(format!("v1/records/{}/{}.json", record.key.shard(), record.key));
    fs::write(&path, r#"{"format_version": 2, "shape": "unknown"}"#).unwrap();
    let error = store.lookup(&record.key).unwrap_err();
    assert!(matches!(error, StoreError::NewerFormat { found: 2, .. }));
    assert!(miette::Diagnostic::help(&error).unwrap().to_string().starts_with("update argd-pipe"));
    assert!(commit(&store, &json!("task"), &[("model", b"weights")]).is_err());
    assert!(fs::read_to_string(&path).unwrap().contains("unknown"));
}

#[test]
fn a_key_with_two_results_is_marked() {
    let (_folder, store) = open();
    let first = commit(&store, &json!("task"), &[("model", b"one")]).unwrap();
    assert!(!commit(&store, &json!("task"), &[("model", b"one")]).unwrap().nondeterministic);
    let second = commit(&store, &json!("task"), &[("model", b"two")]).unwrap();
    assert!(!first.nondeterministic && second.nondeterministic);
    assert_eq!(hit(&store, &first.key), second);
}

#[test]
fn a_cache_that_is_not_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    fs::write(&path, "").unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(miette::Diagnostic::help(&error).unwrap().to_string().contains("--cache-dir"));
}

#[test]
fn two_at_once_share_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let committed = AtomicUsize::new(0);
    let tasks: Vec<Value> = (0..20).map(Value::from).collect();
    let run_all = || {
        let store = Store::open(folder.path()).unwrap();
        for components in &tasks {
            let key = Key::of(components);
            let lock = store.lock(&key, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
            if is_miss(&store, &key) {
                let work = store.work(&lock).unwrap();
                fs::write(work.path().join("model"), components.to_string()).unwrap();
                let written = vec![DraftOutput::Written("model".into())];
                store.commit(&lock, work, draft(components, written)).unwrap();
                committed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(run_all))));
    assert_eq!(committed.into_inner(), tasks.len());
    let store = Store::open(folder.path()).unwrap();
    assert!(tasks.iter().all(|components| hit(&store, &Key::of(components)).components == *components));
}

const CRASH_IN: &str = "ARGD_PIPE_TEST_CRASH_IN";

/// Not a test by itself: what [`a_crash_at_any_step_leaves_a_miss_or_all`] runs in a process of its own.
#[test]
fn commit_and_crash() {
    let Some(folder) = std::env::var_os(CRASH_IN) else { return };
    let store = Store::open(Path::new(&folder)).unwrap();
    let key = Key::of(&json!("crash"));
    fs::write(store.partial(&key).unwrap().path().join("epoch-1"), "weights").unwrap();
    let _ = commit(&store, &json!("crash"), &[("model", b"weights"), ("report", b"{}")]);
}

#[test]
fn a_crash_at_any_step_leaves_a_miss_or_all() {
    let committed_from = FAIL_POINTS.iter().position(|step| *step == "record-renamed").unwrap();
    for (i, step) in FAIL_POINTS.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::commit_and_crash"])
            .env(CRASH_IN, folder.path())
            .env(FAIL_POINT_VARIABLE, step)
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "did not crash at {step}");

        let key = Key::of(&json!("crash"));
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(is_miss(&store, &key), i < committed_from, "after a crash at {step}");
        let checkpoint = folder.path().join(format!("v1/partial/{key}/epoch-1"));
        assert_eq!(checkpoint.exists(), *step != "partial-removed", "after a crash at {step}");
        if i >= committed_from {
            hit(&store, &key);
        }

        commit(&store, &json!("crash"), &[("model", b"weights"), ("report", b"{}")]).unwrap();
        assert!(!hit(&store, &key).nondeterministic);
        let files = files(folder.path());
        let count = |part: &str| files.keys().filter(|name| name.starts_with(part)).count();
        assert_eq!(
            (count("objects"), count("records"), count("work"), count("partial")),
            (2, 1, 0, 0),
            "{step}"
        );
    }
}
