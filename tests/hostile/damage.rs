//! Caches that are damaged, planted, read-only or shared by two users.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::workspace::{Ended, Workspace};

/// The record of a task, as it is in its file.
fn record(workspace: &Workspace, task: &str) -> (PathBuf, Value) {
    let read = |path: PathBuf| {
        let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path, record)
    };
    let mut records = workspace.kept("records").into_iter().map(read);
    records.find(|(_, record)| record["exec"]["task"] == task).unwrap()
}

/// Writes a record with a right check sum, as anybody can.
fn plant(path: &Path, record: &Value) {
    let mut record = record.as_object().unwrap().clone();
    record.remove("check");
    let text = Value::Object(record).to_string();
    let checked = format!(",{}\n", &text[1..]);
    fs::write(path, format!("{{\"check\":\"{}\"{checked}", blake3::hash(checked.as_bytes()).to_hex()))
        .unwrap();
}

/// Waits until the digests of files that were written before can be remembered.
fn settle() {
    thread::sleep(Duration::from_millis(2100));
}

#[test]
fn a_record_of_another_computation_is_damage() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let digests = workspace.digests();
    let (path, right) = record(&workspace, "part@ratio=0.25");
    let (_, other) = record(&workspace, "part@ratio=0.5");
    let mut planted = other;
    planted["key"] = right["key"].clone();
    let words = ["damaged part@ratio=0.25: ", "it is the record of another computation; it was set aside"];

    plant(&path, &planted);
    workspace.run("run cheap.yaml").with(0, &words).with(0, &["1 ran, 5 cached"]);
    assert_eq!(workspace.digests(), digests);
    plant(&path, &planted);
    workspace.run("show cheap.yaml part@ratio=0.25").with(0, &words);
    plant(&path, &planted);
    workspace.run("cache verify").with(6, &["corrupt: ", "to compute again: cheap/part@ratio=0.25"]);
    plant(&path, &planted);
    assert!(workspace.run("cache ls").with(0, &[]).stdout.contains("damaged"));
    let key = right["key"].as_str().unwrap();
    workspace.run(&format!("cache verify --recompute {key}")).with(2, &["the cache has no result"]);
    workspace.run("cache gc").with(0, &["removed a damaged record"]);
    workspace.run("run cheap.yaml").with(0, &["1 ran, 5 cached"]);
    assert_eq!(workspace.digests(), digests);
}

#[test]
fn absurd_numbers_and_names_in_a_record_do_no_harm() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let (path, right) = record(&workspace, "part@ratio=0.25");
    let absurd = |change: &dyn Fn(&mut Value)| {
        let mut planted = right.clone();
        change(&mut planted);
        plant(&path, &planted);
    };
    absurd(&|record| {
        record["exec"]["started"] = json!(u64::MAX);
        record["exec"]["seconds"] = json!(1e300);
        record["exec"]["peak_bytes"] = json!(u64::MAX);
    });
    workspace.run("show cheap.yaml part@ratio=0.25").with(0, &[]);
    workspace.run("cache ls").with(0, &[]);
    workspace.run("run cheap.yaml --memory 1G -j 2").with(0, &["6 cached"]);

    absurd(&|record| record["outputs"][0]["size"] = json!(u64::MAX));
    for command in ["cache ls", "cache size", "cache gc --dry-run --max-size 1"] {
        workspace.run(command).with(0, &[]);
    }
    workspace.run("run cheap.yaml").with(0, &["bytes, not 18446744073709551615", "1 ran, 5 cached"]);
    absurd(&|record| record["outputs"][0]["size"] = json!(1));
    workspace.run("cache verify").with(6, &["bytes, not 1; it was set aside", "1 file was"]);
    workspace.run("run cheap.yaml").with(0, &["1 ran, 5 cached"]);
    for change in [
        &(|record: &mut Value| {
            let output = record["outputs"][0].clone();
            record["outputs"].as_array_mut().unwrap().push(output);
        }) as &dyn Fn(&mut Value),
        &|record| record["outputs"][0]["port"] = json!("../../../results"),
    ] {
        absurd(change);
        workspace.run("run cheap.yaml").with(0, &["is a damaged record", "1 ran, 5 cached"]);
    }
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    workspace.run("run cheap.yaml").with(0, &["larger than any record", "1 ran, 5 cached"]);
}

#[test]
fn locked_numbers_are_the_locked_ones() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --lock").with(0, &["the key, the outputs and the metrics of every task"]);
    let (path, right) = record(&workspace, "after@epochs=2");
    let mut planted = right.clone();
    planted["metrics"]["acc"] = json!(99.5);
    plant(&path, &planted);
    fs::remove_file(workspace.path("results/tiny.csv")).unwrap();
    let words = ["after@epochs=2: its metrics differ from the locked ones", "1 task does not match"];
    workspace.run("run tiny.yaml --locked").with(5, &words);
    assert!(!workspace.path("results/tiny.csv").exists());

    // A lock of an earlier version has no metrics, and says so.
    let lock = workspace.path("results/tiny.lock");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&lock).unwrap()).unwrap();
    let metrics = |task: &mut Value| task.as_object_mut().unwrap().remove("metrics").is_some();
    assert!(json["tasks"].as_object_mut().unwrap().values_mut().all(metrics));
    fs::write(&lock, json.to_string()).unwrap();
    workspace.run("run tiny.yaml --locked").with(66, &["it has no metrics of after@epochs=1"]);
    json["format_version"] = json!(1);
    fs::write(&lock, json.to_string()).unwrap();
    let words =
        ["the results match", "only outputs were compared; `argd-pipe run tiny.yaml --lock` adds them"];
    workspace.run("run tiny.yaml --locked").with(0, &words);

    plant(&path, &right);
    workspace.run("run tiny.yaml --lock").with(0, &[]);
    workspace.run("run tiny.yaml --locked").with(0, &["6 cached", "the results match"]);
}

/// The line that vouches for a file in the memos of earlier versions.
fn memo_line(path: &Path, digest: &str) -> String {
    let metadata = fs::metadata(path).unwrap();
    let time = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let modified = time(metadata.mtime(), metadata.mtime_nsec());
    let changed = time(metadata.ctime(), metadata.ctime_nsec());
    format!("{} {} {} {modified} {changed} {digest}", metadata.dev(), metadata.ino(), metadata.size())
}

#[test]
fn a_line_in_a_cache_vouches_for_nothing() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let images = workspace.artifact("dataset");
    let digest = images.file_name().unwrap().to_str().unwrap().to_owned();
    let mut bytes = fs::read(&images).unwrap();
    bytes[100] ^= 1;
    fs::set_permissions(&images, Permissions::from_mode(0o644)).unwrap();
    fs::write(&images, bytes).unwrap();
    settle();
    let line = memo_line(&images, &digest);
    let check = &blake3::hash(line.as_bytes()).to_hex()[..12];
    for name in ["objects.memo", "sources.memo"] {
        workspace.write(&format!("cache/v1/{name}"), &format!("{line}\n{line} {check}\n"));
    }
    workspace.run("run cheap.yaml").with(0, &["damaged images: ", "1 ran, 5 cached"]);
    workspace.run("cache gc").with(0, &[]);
    assert!(!workspace.path("cache/v1/objects.memo").exists());
}

/// The memo of the user with this end of its name.
fn memo(workspace: &Workspace, end: &str) -> PathBuf {
    let files = fs::read_dir(workspace.own().join("argd-pipe")).unwrap();
    let mut paths = files.map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_str().unwrap().ends_with(end)).unwrap()
}

#[test]
fn a_flipped_digit_of_a_memo_costs_a_hash() {
    let workspace = Workspace::cheap();
    for (at, class) in ["train/a", "train/b", "test/a", "test/b"].into_iter().enumerate() {
        let folder = workspace.path("pictures").join(class);
        fs::create_dir_all(&folder).unwrap();
        image::RgbImage::from_pixel(16, 16, image::Rgb([at as u8; 3])).save(folder.join("1.png")).unwrap();
    }
    let pictures =
        "name: pictures\nstages: {images: {kind: dataset, with: {source: image-folder, path: pictures}}}\n";
    workspace.write("pictures.yaml", pictures);
    settle();
    workspace.run("run pictures.yaml").with(0, &["1 ran"]);
    for end in ["-sources.memo", "-objects.memo"] {
        settle();
        workspace.run("run pictures.yaml").with(0, &["1 cached"]);
        let memo = memo(&workspace, end);
        let text = fs::read_to_string(&memo).unwrap();
        let at = text.rfind(' ').unwrap() - 1;
        let digit = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        fs::write(&memo, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
        workspace.run("run pictures.yaml").with(0, &["1 cached"]);
        assert_eq!(fs::read_to_string(&memo).unwrap(), text, "it was hashed again, and remembered");
    }
}

/// The commands that read a whole cache, how each ends if a record and an artifact are damaged, and what it says.
const READERS: [(&str, i32, &str); 5] = [
    ("run cheap.yaml", 0, "damaged "),
    ("status cheap.yaml", 0, "damaged "),
    ("cache verify", 6, "2 files were corrupt"),
    ("cache ls", 0, "6 results"),
    ("cache gc", 0, "removed a damaged record"),
];

/// Checks that no command ends because of what `harm` does to a record and to an artifact, and that a run mends it.
/// `harm` also changes the program.
fn is_damage_of_two_tasks(harm: &dyn Fn(&[PathBuf; 2], &mut Command)) {
    let sound = Workspace::cheap();
    sound.run("run cheap.yaml").with(0, &[]);
    for (command, code, words) in READERS {
        let workspace = Workspace::cheap();
        workspace.run("run cheap.yaml").with(0, &[]);
        let (path, _) = record(&workspace, "part@ratio=0.25");
        let mut program = workspace.program();
        harm(&[path, workspace.artifact("poison")], &mut program);
        let ended: Ended = program.args(command.split(' ')).output().unwrap().into();
        ended.with(code, &[words]);
        workspace.run("run cheap.yaml").with(0, &[]);
        workspace.run("run cheap.yaml").with(0, &["6 cached"]);
        workspace.run("cache verify").with(0, &[]);
        assert_eq!(workspace.digests(), sound.digests(), "after {command}");
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_is_damage_of_one_task() {
    is_damage_of_two_tasks(&|files, _| {
        for file in files {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
            fs::write(file.join("something"), "").unwrap();
        }
    });
}

#[test]
fn a_folder_that_no_lookup_finds_gives_way_to_a_commit() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let images = workspace.artifact("dataset");
    fs::remove_dir_all(workspace.path("cache/v1/records")).unwrap();
    fs::remove_file(&images).unwrap();
    fs::create_dir(&images).unwrap();
    workspace.run("run cheap.yaml").with(0, &["6 ran"]);
}

#[test]
fn a_file_that_the_disk_cannot_read_is_damage_of_one_task() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("faulty.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/damage/faulty.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no C compiler here");
        return;
    }
    is_damage_of_two_tasks(&|files, program| {
        let inodes = files.each_ref().map(|file| fs::metadata(file).unwrap().ino().to_string());
        program.env("LD_PRELOAD", &library).env("EIO_INODES", inodes.join(","));
    });
}

#[test]
fn a_record_that_cannot_be_moved_is_reported_and_the_rest_is_served() {
    let Some([owner, guest]) = users() else { return };
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let (path, _) = record(&workspace, "rest@ratio=0.25");
    fs::write(&path, "{}").unwrap();
    open_to(&workspace, &owner, 0o755);
    let words = ["damaged rest@ratio=0.25: ", "it could not be set aside: Permission denied"];
    guest.run(&workspace, "status cheap.yaml").with(0, &words).with(0, &["5 cached"]);
    guest.run(&workspace, "cache verify").with(6, &["1 file was"]);
    guest.run(&workspace, "run cheap.yaml").with(6, &words);
    owner.run(&workspace, "run cheap.yaml").with(0, &["1 ran, 5 cached"]);
}

/// A user of this machine.
struct User(u32);

/// Two users who share a group. `None`, with a message, if the tests cannot become others.
#[expect(clippy::print_stderr, reason = "report what was not tested")]
fn users() -> Option<[User; 2]> {
    if rustix::process::geteuid().is_root() {
        return Some([65_534, 65_533].map(User));
    }
    eprintln!("skipped: only root can become another user");
    None
}

/// The group of both users.
const GROUP: u32 = 65_533;

/// Gives a workspace to a user, its folders with this mode. Everybody can write to the workspace itself.
fn open_to(workspace: &Workspace, owner: &User, mode: u32) {
    let mut open = vec![workspace.root().to_owned()];
    while let Some(path) = open.pop() {
        chown(&path, Some(owner.0), Some(GROUP)).unwrap();
        if path.is_dir() {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    fs::set_permissions(workspace.root(), Permissions::from_mode(0o777)).unwrap();
    // The folder of the tests' own program may be closed to others.
    fs::copy(assert_cmd::cargo::cargo_bin!("argd-pipe"), workspace.path("program")).unwrap();
}

impl User {
    /// The program as this user runs it, with a umask that lets the group write.
    fn program(&self, workspace: &Workspace, arguments: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 002; exec ./program \"$@\"", "sh"]).args(arguments.split(' '));
        command.uid(self.0).gid(GROUP).current_dir(workspace.root());
        command.env_clear().env("XDG_CACHE_HOME", workspace.path(&format!("of-{}", self.0)));
        command
    }

    fn run(&self, workspace: &Workspace, arguments: &str) -> Ended {
        self.program(workspace, arguments).output().unwrap().into()
    }
}

#[test]
fn a_read_only_cache_is_served_while_its_owner_works() {
    let Some([owner, guest]) = users() else { return };
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let (_, record) = record(&workspace, "rest@ratio=0.25");
    let work = workspace.path("cache/v1/work").join(format!("{}.abc", record["key"].as_str().unwrap()));
    fs::create_dir(&work).unwrap();
    open_to(&workspace, &owner, 0o755);
    for command in ["run cheap.yaml", "plan cheap.yaml"] {
        guest.run(&workspace, command).with(0, &["6 cached"]);
    }
    guest.run(&workspace, "cache ls").with(0, &["6 results"]);
    guest.run(&workspace, "cache verify").with(0, &["checked 6 records"]);
    assert!(work.exists());
    owner.run(&workspace, "run cheap.yaml").with(0, &["6 cached"]);
    assert!(!work.exists(), "the owner removes what a crash left");
}

#[test]
fn looking_needs_neither_a_cache_nor_a_folder_that_can_be_written() {
    let workspace = Workspace::cheap();
    let looks = ["plan cheap.yaml", "status cheap.yaml --why", "run cheap.yaml -n", "show cheap.yaml images"];
    for command in looks {
        workspace.run(command).with(0, &[]);
        assert!(!workspace.path("cache").exists(), "{command} created a cache");
    }
    let Some([owner, guest]) = users() else { return };
    open_to(&workspace, &owner, 0o755);
    fs::set_permissions(workspace.root(), Permissions::from_mode(0o555)).unwrap();
    for command in looks {
        guest.run(&workspace, command).with(0, &[]);
    }
    guest.run(&workspace, "run cheap.yaml").with(6, &["Permission denied", "--cache-dir"]);
}

#[test]
fn one_of_a_group_collects_after_another_was_killed() {
    let Some([owner, guest]) = users() else { return };
    let workspace = Workspace::new();
    open_to(&workspace, &owner, 0o775);
    let run = "run tiny.yaml --set matrix.epochs=[1000]";
    let mut killed = owner.program(&workspace, run).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(killed.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("started trained@epochs=1000")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let marks = || fs::read_dir(workspace.path("cache/v1/live")).unwrap().count();
    assert_eq!(marks(), 1);

    guest.run(&workspace, "cache gc").with(0, &["removed 0 results"]);
    assert_eq!(marks(), 0);
    guest.run(&workspace, "run tiny.yaml --set matrix.epochs=[1000] poisoned").with(0, &["2 cached"]);
    guest.run(&workspace, "cache gc --keep-days 0").with(0, &["removed 2 results"]);
    let left = |folder: &str| fs::read_dir(workspace.path("cache/v1").join(folder)).unwrap().count();
    assert_eq!(left("work"), 0, "what the kill left is removed, too");
}

#[test]
fn a_mark_that_cannot_be_read_keeps_all_results() {
    let Some([owner, _]) = users() else { return };
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    open_to(&workspace, &owner, 0o775);
    let mark = workspace.path("cache/v1/live/1.abc");
    fs::write(&mark, "").unwrap();
    fs::set_permissions(&mark, Permissions::from_mode(0o600)).unwrap();
    let words = ["kept all results: the user 0 may use them", "live/1.abc", "help: ", "removed 0 results"];
    owner.run(&workspace, "cache gc --keep-days 0").with(0, &words);
    fs::remove_file(&mark).unwrap();
    owner.run(&workspace, "cache gc --keep-days 0").with(0, &["removed 6 results"]);
}

#[test]
fn an_interrupted_task_says_so_and_its_time_is_that_of_all_attempts() {
    let workspace = Workspace::new();
    let set = "--set matrix.epochs=[8]";
    let mut stopped = workspace.program();
    let stopped = stopped.args(["run", "tiny.yaml"]).args(set.split(' ')).stderr(Stdio::piped());
    let mut running = stopped.spawn().unwrap();
    let mut told = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("started trained@epochs=8")));
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(75));

    let words = "it was interrupted; the next run resumes after epoch ";
    let status = workspace.run(&format!("status tiny.yaml trained --why {set}")).with(0, &[]);
    let folded = status.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(folded.contains(words.trim_end()) && !folded.contains("it never ran"), "{}", status.stdout);
    let card = workspace.run(&format!("show tiny.yaml trained {set}")).with(0, &[]);
    assert!(card.stdout.contains(words), "{}", card.stdout);
    let json = workspace.run(&format!("status tiny.yaml trained --json {set}")).with(0, &[]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let reason = &json["tasks"][0]["reasons"][0];
    assert!(reason["reason"] == "interrupted" && reason["epoch"].is_u64(), "{reason}");

    // As if the first attempt had taken an hour.
    let key = json["tasks"][0]["key"].as_str().unwrap().to_owned();
    let file = workspace.path("cache/v1/partial").join(key).join("seconds");
    let first: f64 = fs::read_to_string(&file).unwrap().trim_end().parse().unwrap();
    assert!((0.0..60.0).contains(&first), "{first}");
    fs::write(&file, "3600").unwrap();
    workspace.run(&format!("run tiny.yaml trained {set}")).with(0, &["1 ran"]);
    let (_, record) = record(&workspace, "trained@epochs=8");
    assert!(record["exec"]["seconds"].as_f64().unwrap() > 3600.0);
}

#[test]
fn show_names_the_files_that_a_task_reads() {
    let workspace = Workspace::cheap();
    let manifest =
        "name: m\nstages: {images: {kind: dataset, with: {source: image-folder, path: pictures}}}\n";
    workspace.write("m.yaml", manifest);
    fs::create_dir(workspace.path("pictures")).unwrap();
    let card = workspace.run("show m.yaml images").stdout;
    assert!(card.contains("reads     pictures\n"), "{card}");
    let json: Value = serde_json::from_str(&workspace.run("show m.yaml images --json").stdout).unwrap();
    assert_eq!(json["sources"], json!(["pictures"]));
}
