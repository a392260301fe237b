//! Measuring, checking and making room.

use std::collections::HashMap;
use std::fs::File;
use std::time::{Duration, SystemTime};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// Commits a task with one output of some bytes, last used so many days ago.
fn keep(store: &Store, name: &str, bytes: &[u8], days: u32) -> Key {
    let key = commit(store, &json!(name), &[("model", bytes)]).unwrap().key;
    last_used(store, &key, SystemTime::now() - days * DAY);
    key
}

fn last_used(store: &Store, key: &Key, time: SystemTime) {
    File::open(store.layout.record(key)).unwrap().set_modified(time).unwrap();
}

fn unused_for(days: u32) -> Policy {
    Policy { unused_for: Some(days * DAY), ..Policy::default() }
}

fn max_bytes(bytes: u64) -> Policy {
    Policy { max_bytes: Some(bytes), ..Policy::default() }
}

/// Collects as another process would.
fn collect(cache: &Path, policy: &Policy) -> Collection {
    Store::open(cache).unwrap().collect(policy).unwrap()
}

fn gone(collection: &Collection) -> Vec<Key> {
    collection.records.iter().map(|entry| entry.key).collect()
}

#[test]
fn without_limits_only_clutter_goes() {
    let (folder, store) = open();
    let key = keep(&store, "kept", b"kept", 1000);
    keep(&store, "lost", b"orphan", 0);
    fs::remove_file(store.layout.record(&Key::of(&json!("lost")))).unwrap();
    fs::write(store.partial(&key).unwrap().path().join("epoch-1"), "12345").unwrap();
    fs::write(store.partial(&Key::of(&json!("to do"))).unwrap().path().join("epoch-1"), "67").unwrap();
    fs::write(folder.path().join("v1/corrupt/x"), "abc").unwrap();
    let amount = |files, bytes| Amount { files, bytes };
    let sizes = store.sizes().unwrap();
    assert_eq!((sizes.artifacts, sizes.unused), (amount(1, 4), amount(1, 6)));
    assert_eq!((sizes.checkpoints, sizes.corrupt, sizes.records.files), (amount(2, 7), amount(1, 3), 1));
    drop(store);

    let before = files(folder.path());
    let told = collect(folder.path(), &Policy { dry_run: true, ..Policy::default() });
    assert_eq!(files(folder.path()), before, "a dry run removes nothing");
    let done = collect(folder.path(), &Policy::default());
    for collection in [told, done] {
        assert!(collection.records.is_empty());
        assert_eq!((collection.artifacts, collection.checkpoints), (amount(1, 6), amount(1, 5)));
        assert_eq!((collection.corrupt, collection.left), (amount(1, 3), amount(1, 4)));
    }
    let store = Store::open(folder.path()).unwrap();
    hit(&store, &key);
    assert_eq!(files(folder.path()).keys().filter(|name| !name.starts_with("records")).count(), 3);
}

#[test]
fn what_was_not_used_for_long_goes_and_a_lookup_is_a_use() {
    let (folder, store) = open();
    let [old, used, young] = [("old", 40), ("used", 40), ("young", 10)]
        .map(|(name, days)| keep(&store, name, name.as_bytes(), days));
    drop(store);
    hit(&Store::open(folder.path()).unwrap(), &used);
    assert_eq!(gone(&collect(folder.path(), &unused_for(30))), [old]);
    let store = Store::open(folder.path()).unwrap();
    assert!(is_miss(&store, &old));
    hit(&store, &used);
    hit(&store, &young);
}

#[test]
fn beyond_the_size_the_longest_unused_goes_and_shared_artifacts_count_once() {
    let (folder, store) = open();
    let oldest = keep(&store, "oldest", b"shared", 9);
    let older = keep(&store, "older", b"12345678", 8);
    let newer = keep(&store, "newer", b"shared", 7);
    let newest = keep(&store, "newest", b"1234", 6);
    drop(store);
    assert_eq!(gone(&collect(folder.path(), &max_bytes(18))), []);
    let collection = collect(folder.path(), &max_bytes(12));
    assert_eq!(gone(&collection), [oldest, older], "the oldest alone would free nothing");
    assert_eq!(collection.left, Amount { files: 2, bytes: 10 });
    let store = Store::open(folder.path()).unwrap();
    hit(&store, &newer);
    hit(&store, &newest);
}

#[test]
fn what_a_live_process_uses_stays_whatever_its_clock_says() {
    let (folder, store) = open();
    let [used, unused] = ["used", "unused"].map(|name| keep(&store, name, name.as_bytes(), 100));
    drop(store);
    let live = Store::open(folder.path()).unwrap();
    hit(&live, &used);
    last_used(&live, &used, SystemTime::UNIX_EPOCH);
    let making = commit(&live, &json!("made"), &[("model", b"new")]).unwrap().key;
    last_used(&live, &making, SystemTime::now() - 100 * DAY);

    let policy = Policy { max_bytes: Some(0), ..unused_for(0) };
    let collection = collect(folder.path(), &policy);
    assert_eq!((gone(&collection), collection.spared), (vec![unused], 2));
    hit(&live, &used);
    drop(live);
    assert_eq!(gone(&collect(folder.path(), &policy)), [making, used], "once it is gone, nothing is spared");
}

#[test]
fn a_clock_that_was_set_back_and_times_that_were_lost_make_nothing_old() {
    let (folder, store) = open();
    let future = keep(&store, "future", b"1", 0);
    last_used(&store, &future, SystemTime::now() + 400 * DAY);
    let components = json!("timeless");
    let lock = store.try_lock(&Key::of(&components)).unwrap().unwrap();
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let exec = Execution { started, ..Execution::default() };
    let timeless = RecordDraft { exec, ..draft(&components, vec![]) };
    let timeless = store.commit(&lock, store.work(&lock).unwrap(), timeless).unwrap().key;
    last_used(&store, &timeless, SystemTime::UNIX_EPOCH);
    drop((lock, store));
    assert_eq!(gone(&collect(folder.path(), &unused_for(1))), []);
}

#[test]
fn checkpoints_of_a_running_task_stay() {
    let (folder, store) = open();
    let key = Key::of(&json!("running"));
    let checkpoint = store.partial(&key).unwrap().path().join("epoch-1");
    fs::write(&checkpoint, "weights").unwrap();
    File::open(&checkpoint).unwrap().set_modified(SystemTime::now() - 9 * DAY).unwrap();
    let lock = store.try_lock(&key).unwrap().unwrap();
    assert_eq!(collect(folder.path(), &unused_for(1)).checkpoints.files, 0);
    drop(lock);
    assert_eq!(collect(folder.path(), &unused_for(1)).checkpoints.files, 1);
    assert!(!checkpoint.exists());
}

#[test]
fn logs_go_with_their_results_or_when_they_are_old() {
    let (folder, store) = open();
    let [kept, old] = [("kept", 1), ("old", 9)].map(|(name, days)| keep(&store, name, b"model", days));
    let [failed, running] = ["failed", "running"].map(|name| Key::of(&json!(name)));
    for key in [kept, old, failed, running] {
        let log = store.log(&key);
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        fs::write(&log, "said").unwrap();
        File::open(&log).unwrap().set_modified(SystemTime::now() - 9 * DAY).unwrap();
    }
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let _lock = store.try_lock(&running).unwrap().unwrap();
    assert_eq!(collect(folder.path(), &Policy::default()).logs.files, 0);
    assert_eq!(collect(folder.path(), &unused_for(5)).logs, Amount { files: 2, bytes: 8 });
    let there = [kept, old, failed, running].map(|key| store.log(&key).exists());
    assert_eq!(there, [true, false, false, true]);
}

#[test]
fn runs_go_by_their_number_and_their_age() {
    let (folder, store) = open();
    let run = |name: &str, days: u32| {
        let file = store.run_folder(name).unwrap().path().join("run.json");
        fs::write(&file, "{}").unwrap();
        File::open(&file).unwrap().set_modified(SystemTime::now() - days * DAY).unwrap();
    };
    (0..103).for_each(|number| run(&format!("20260101T000{number:03}Z-p"), if number < 10 { 9 } else { 1 }));
    let runs = || fs::read_dir(folder.path().join("v1/runs")).unwrap().count();
    let dry = Policy { dry_run: true, ..Policy::default() };
    assert_eq!((collect(folder.path(), &dry).runs, runs()), (Amount { files: 3, bytes: 6 }, 103));
    assert_eq!((collect(folder.path(), &Policy::default()).runs.files, runs()), (3, 100));
    assert!(!folder.path().join("v1/runs/20260101T000002Z-p").exists(), "the oldest go");
    assert_eq!((collect(folder.path(), &unused_for(5)).runs.files, runs()), (7, 93));
}

#[test]
fn journals_go_when_they_are_old_and_explain_nothing() {
    let (folder, store) = open();
    let key = keep(&store, "kept", b"kept", 1);
    for (pipeline, key, days) in [("kept", key, 9), ("old", Key::of(&json!("gone")), 9), ("young", key, 1)] {
        let mut journal = store.journal(pipeline);
        journal.done("task", key);
        journal.save();
        let file = File::open(store.layout.journal(pipeline)).unwrap();
        file.set_modified(SystemTime::now() - days * DAY).unwrap();
    }
    drop(store);
    let there =
        || ["kept", "old", "young"].map(|pipeline| Layout::below(folder.path()).journal(pipeline).exists());
    assert_eq!(collect(folder.path(), &Policy::default()).journals.files, 0);
    assert_eq!(collect(folder.path(), &unused_for(5)).journals.files, 1);
    assert_eq!(there(), [true, false, true]);
}

#[test]
fn lock_files_go_unless_they_are_held() {
    let (folder, store) = open();
    let [held, free] = ["held", "free"].map(|name| Key::of(&json!(name)));
    let lock = store.try_lock(&held).unwrap().unwrap();
    drop(store.try_lock(&free).unwrap().unwrap());
    let there = || [held, free].map(|key| store.layout.lock(&key.to_string()).exists());
    let dry = Policy { dry_run: true, ..Policy::default() };
    assert_eq!((collect(folder.path(), &dry).locks.files, there()), (1, [true, true]));
    assert_eq!((collect(folder.path(), &Policy::default()).locks.files, there()), (1, [true, false]));
    assert!(store.try_lock(&held).unwrap().is_none(), "it is held as before");
    drop(lock);
    assert_eq!((collect(folder.path(), &Policy::default()).locks.files, there()), (1, [false, false]));
}

#[test]
fn beside_a_record_of_the_future_nothing_goes() {
    let (folder, store) = open();
    let key = keep(&store, "future", b"1", 100);
    fs::write(store.layout.record(&key), r#"{"format_version": 2}"#).unwrap();
    let before = files(folder.path());
    let error = store.collect(&unused_for(1)).unwrap_err();
    assert!(matches!(error, StoreError::CannotCollect { .. }), "{error}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn runs_and_collectors_at_once_never_lose_what_they_use() {
    let folder = tempfile::tempdir().unwrap();
    let run = |round: usize| {
        let store = Store::open(folder.path()).unwrap();
        for name in 0..6 {
            let components = json!(name);
            let key = Key::of(&components);
            let lock = store.lock(&key, &mut |_| ControlFlow::Continue(())).unwrap().unwrap();
            if is_miss(&store, &key) {
                let work = store.work(&lock).unwrap();
                fs::write(work.path().join("model"), format!("{}", name % 3)).unwrap();
                let written = vec![DraftOutput::Written("model".into())];
                store.commit(&lock, work, draft(&components, written)).unwrap();
            }
            drop(lock);
            let record = store.record(&key).unwrap();
            let record = record.unwrap_or_else(|| panic!("round {round}: the record of {name} was taken"));
            let artifact = fs::read(store.object(record.output("model").unwrap()));
            assert_eq!(artifact.unwrap(), format!("{}", name % 3).as_bytes(), "round {round}: {name}");
        }
    };
    let everything = Policy { max_bytes: Some(0), ..unused_for(0) };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..25).for_each(run));
        }
        scope.spawn(|| {
            (0..50).for_each(|_| drop(Store::open(folder.path()).unwrap().collect(&everything).unwrap()))
        });
    });
    assert!(Store::open(folder.path()).unwrap().verify(&|_| {}).unwrap().damages.is_empty());
}

#[test]
fn verify_sets_bad_files_aside_and_names_what_is_lost() {
    let (folder, store) = open();
    let [sound, flipped, missing] =
        ["sound", "flipped", "missing"].map(|name| keep(&store, name, name.as_bytes(), 0));
    let truncated = keep(&store, "truncated", b"truncated", 0);
    let verified = store.verify(&|_| {}).unwrap();
    assert_eq!((verified.records, verified.artifacts.files), (4, 4));
    assert!(verified.damages.is_empty() && verified.lost.is_empty());

    let object = |name: &str| store.object(&Digest::of(name.as_bytes()));
    let mut bytes = fs::read(object("flipped")).unwrap();
    bytes[3] ^= 1;
    fs::remove_file(object("flipped")).unwrap();
    fs::write(object("flipped"), bytes).unwrap();
    fs::remove_file(object("missing")).unwrap();
    let record = store.layout.record(&truncated);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    let mut journal = store.journal("p");
    journal.done("cut off", truncated);
    journal.save();

    let verified = store.verify(&|_| {}).unwrap();
    let names: HashMap<Key, Option<String>> =
        verified.lost.iter().map(|lost| (lost.key, lost.task.clone())).collect();
    let keys = [flipped, missing, truncated];
    assert_eq!((names.len(), keys.iter().filter(|key| names.contains_key(key)).count()), (3, 3));
    assert_eq!(names[&truncated].as_deref(), Some("p/cut off"), "the journal knows");
    assert!(names[&flipped].is_some());
    let faults: Vec<&Fault> = verified.damages.iter().map(|damage| &damage.fault).collect();
    assert_eq!(faults.len(), 3, "{:?}", verified.damages);
    assert!(faults.contains(&&Fault::Content) && faults.contains(&&Fault::Missing));
    assert_eq!(fs::read_dir(folder.path().join("v1/corrupt")).unwrap().count(), 2);
    hit(&store, &sound);
    assert!([flipped, missing, truncated].iter().all(|key| is_miss(&store, key)));
    assert!(store.verify(&|_| {}).unwrap().damages.is_empty(), "once is enough");
}
