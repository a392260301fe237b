//! Links and special files inside a cache: nothing is opened through them, and nothing waits for them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::workspace::{Ended, Workspace};

/// A task with a checkpoint, one whose name is a command of a shell, and results.
const MANIFEST: &str = "\
name: tiny
seed: 2
matrix: {part: [{name: $(touch executed), ratio: 0.5}]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 32, test: 16, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  part:     {kind: split, needs: {dataset: images}, with: {ratio: \"${matrix.part.ratio}\"}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {model: wrn-10-1, epochs: 1}}
  after:    {kind: evaluate, needs: {model: trained, dataset: images, trigger: poisoned}}
results: {csv: results/tiny.csv, from: [after]}
";

/// A command that ends in time has not waited for a link, a FIFO or a lock.
const IN_TIME: Duration = Duration::from_secs(30);

/// Every command that opens the cache.
const COMMANDS: [&str; 13] = [
    "run tiny.yaml",
    "run tiny.yaml --force=part --executor process",
    "status tiny.yaml --why",
    "plan tiny.yaml",
    "show tiny.yaml trained",
    "log tiny.yaml trained",
    "results tiny.yaml",
    "export tiny.yaml trained model exported",
    "cache ls",
    "cache size",
    "cache verify",
    "cache gc --dry-run --keep-days 0",
    "cache gc --keep-days 0",
];

/// The folders below `v1`.
const FOLDERS: [&str; 10] =
    ["objects", "records", "work", "partial", "locks", "logs", "journals", "corrupt", "live", "runs"];

/// A workspace after a run, made once.
static FINISHED: LazyLock<Workspace> = LazyLock::new(|| {
    let workspace = Workspace::new();
    workspace.write("tiny.yaml", MANIFEST);
    workspace.run("run tiny.yaml").with(0, &["5 ran"]);
    workspace
});

/// A workspace after a run, beside a folder `out` of the user that nothing may touch.
struct Planted(Workspace);

impl Planted {
    fn new() -> Self {
        let workspace = Workspace::new();
        for name in ["cache", "results", "tiny.yaml"] {
            let from = FINISHED.path(name);
            let copied = Command::new("cp").arg("-a").args([&from, workspace.root()]).status().unwrap();
            assert!(copied.success());
        }
        fs::create_dir_all(workspace.path("out/sub")).unwrap();
        workspace.write("out/rc", "the start-up file of a shell\n");
        workspace.write("out/sub/file", "mine\n");
        Self(workspace)
    }

    fn v1(&self, name: &str) -> PathBuf {
        self.0.path("cache/v1").join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.0.path("out").join(name)
    }

    /// Puts a link in the place of a file or folder of the cache.
    fn link(&self, place: &Path, target: &Path) {
        clear(place);
        symlink(target, place).unwrap();
    }

    /// Puts a FIFO in the place of a file of the cache.
    fn fifo(&self, place: &Path) {
        clear(place);
        assert!(Command::new("mkfifo").arg(place).status().unwrap().success());
    }

    /// Runs a command, which must end in time.
    fn run(&self, arguments: &str) -> Ended {
        let mut program = self.0.program();
        ended(program.args(arguments.split(' ')), arguments)
    }

    /// The key of the only task of a kind.
    fn key(&self, kind: &str) -> String {
        let records = self.0.kept("records");
        let of =
            |path: &&PathBuf| fs::read_to_string(path).unwrap().contains(&format!("\"kind\": \"{kind}\""));
        records.iter().find(of).unwrap().file_stem().unwrap().to_str().unwrap().to_owned()
    }

    /// Forgets a result, so that its task runs again.
    fn forget(&self, key: &str) {
        fs::remove_file(self.v1(&format!("records/{}/{key}.json", &key[..2]))).unwrap();
    }
}

/// Removes a file or folder, and creates the folder that it is in.
fn clear(place: &Path) {
    if place.is_dir() {
        fs::remove_dir_all(place).unwrap();
    } else if place.symlink_metadata().is_ok() {
        fs::remove_file(place).unwrap();
    }
    fs::create_dir_all(place.parent().unwrap()).unwrap();
}

/// Waits for a program, but not for long.
fn ended(program: &mut Command, what: &str) -> Ended {
    let child = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let waiting = thread::spawn(move || child.wait_with_output().unwrap());
    let begun = Instant::now();
    while !waiting.is_finished() {
        if begun.elapsed() > IN_TIME {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("`{what}` does not end: {}", Ended::from(waiting.join().unwrap()).stderr);
        }
        thread::sleep(Duration::from_millis(5));
    }
    waiting.join().unwrap().into()
}

/// What a folder holds: by path, the content, the times and the identity.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let facts = path.symlink_metadata().unwrap();
        let content = if facts.is_file() { fs::read(&path).unwrap() } else { vec![] };
        if facts.is_dir() {
            found.extend(tree(&path));
        }
        found.insert(path, (content, facts.mtime(), facts.mtime_nsec(), facts.ino()));
    }
    found
}

#[test]
fn a_planted_log_never_leads_to_the_start_up_file_of_a_shell() {
    let planted = Planted::new();
    let key = planted.key("split");
    planted.forget(&key);
    planted.link(&planted.v1(&format!("logs/{}/{key}.log", &key[..2])), &planted.out("rc"));
    let before = tree(&planted.out(""));
    let ran = planted.run("run tiny.yaml");
    assert_eq!(tree(&planted.out("")), before);
    ran.with(6, &["is a link", &format!("logs/{}/{key}.log", &key[..2]), "remove it"]);
    assert!(!planted.0.path("executed").exists());

    fs::remove_file(planted.v1(&format!("logs/{}/{key}.log", &key[..2]))).unwrap();
    planted.run("run tiny.yaml").with(0, &["1 ran, 4 cached"]);
}

#[test]
fn a_log_or_lock_with_a_second_name_is_not_written() {
    for place in ["logs", "locks"] {
        let planted = Planted::new();
        let key = planted.key("split");
        planted.forget(&key);
        let file = match place {
            "logs" => planted.v1(&format!("logs/{}/{key}.log", &key[..2])),
            _ => planted.v1(&format!("locks/{key}")),
        };
        let _ = fs::remove_file(&file);
        fs::hard_link(planted.out("rc"), &file).unwrap();
        let before = tree(&planted.out(""));
        let ran = planted.run("run tiny.yaml");
        assert_eq!(tree(&planted.out("")), before, "{place}");
        ran.with(6, &["hard link", place, "remove it"]);
    }
}

#[test]
fn a_linked_folder_of_the_cache_is_refused_by_every_command() {
    for (number, folder) in FOLDERS.into_iter().chain(["."]).enumerate() {
        let planted = Planted::new();
        let place = if folder == "." { planted.0.path("cache/v1") } else { planted.v1(folder) };
        let elsewhere = planted.out("moved");
        fs::rename(&place, &elsewhere).unwrap();
        symlink(&elsewhere, &place).unwrap();
        let before = tree(&planted.out(""));
        // Opening the store refuses all of them, so a part of the commands for each is enough.
        let commands = COMMANDS.iter().enumerate().filter(|(at, _)| number == 0 || at % 4 == number % 4);
        for (_, command) in commands {
            let ended = planted.run(command);
            assert_eq!(tree(&planted.out("")), before, "`{command}` with a link {folder}");
            ended.with(6, &["is a link", "remove it"]);
        }
    }
}

#[test]
fn a_default_cache_that_is_a_link_must_be_named() {
    let planted = Planted::new();
    fs::rename(planted.0.path("cache"), planted.out("cache")).unwrap();
    symlink(planted.out("cache"), planted.0.path("cache")).unwrap();
    let before = tree(&planted.out(""));
    for command in COMMANDS {
        planted.run(command).with(6, &["the default cache folder `cache` is a link", "--cache-dir ./cache"]);
    }
    assert_eq!(tree(&planted.out("")), before);
    planted.run("run tiny.yaml --cache-dir ./cache").with(0, &["5 cached"]);
}

#[test]
fn no_command_writes_through_a_link_in_place_of_a_file() {
    for (place, target) in places(&Planted::new()) {
        let planted = Planted::new();
        planted.forget(&planted.key(if place.ends_with("checkpoint") { "train" } else { "split" }));
        let before = tree(&planted.out(""));
        for command in COMMANDS {
            // A command before it may have set the link aside.
            planted.link(&planted.v1(&place), &planted.out(target));
            planted.run(command);
            assert_eq!(tree(&planted.out("")), before, "`{command}` with a link {place}");
        }
    }
}

#[test]
fn no_command_waits_for_a_fifo() {
    for (place, _) in places(&Planted::new()) {
        let planted = Planted::new();
        planted.forget(&planted.key(if place.ends_with("checkpoint") { "train" } else { "split" }));
        for command in COMMANDS {
            planted.fifo(&planted.v1(&place));
            planted.run(command);
        }
    }
}

#[test]
fn a_link_or_fifo_in_place_of_a_record_or_artifact_is_damage() {
    let planted = Planted::new();
    let key = planted.key("split");
    let record = format!("records/{}/{key}.json", &key[..2]);
    let model = planted.0.artifact("train");
    for planting in [true, false] {
        let put = |place: &Path| {
            if planting { planted.link(place, &planted.out("rc")) } else { planted.fifo(place) }
        };
        put(&planted.v1(&record));
        put(&model);
        planted.run("run tiny.yaml").with(0, &["damaged", "2 ran, 3 cached"]);
        put(&planted.v1(&record));
        put(&model);
        planted.run("cache verify").with(6, &["2 files were corrupt"]);
        planted.run("run tiny.yaml").with(0, &["2 ran, 3 cached"]);
        planted.run("cache verify").with(0, &[]);
    }
}

/// A path below `v1` for each kind of file that a command opens, and a target for a link there.
fn places(planted: &Planted) -> Vec<(String, &'static str)> {
    let (train, split) = (planted.key("train"), planted.key("split"));
    let model = planted.0.artifact("train");
    let model = model.file_name().unwrap().to_str().unwrap().to_owned();
    let shard = |key: &str| key[..2].to_owned();
    vec![
        (format!("records/{}/{split}.json", shard(&split)), "rc"),
        (format!("records/{}", shard(&train)), "sub"),
        (format!("objects/{}/{model}", shard(&model)), "rc"),
        (format!("objects/{}", shard(&model)), "sub"),
        (format!("logs/{}/{split}.log", shard(&split)), "rc"),
        (format!("logs/{}", shard(&split)), "sub"),
        (format!("locks/{split}"), "rc"),
        ("locks/gc".into(), "rc"),
        ("locks/sources.memo".into(), "rc"),
        ("journals/tiny.jsonl".into(), "rc"),
        ("sources.memo".into(), "rc"),
        ("CACHEDIR.TAG".into(), "rc"),
        (format!("partial/{split}"), "sub"),
        (format!("partial/{train}/000001-00000000.checkpoint"), "rc"),
        (format!("work/{split}.x"), "sub"),
        ("live/1.x".into(), "rc"),
        ("corrupt/x".into(), "sub"),
        ("runs/20260101T000000Z-tiny".into(), "sub"),
    ]
}

/// The system calls that open or change a path; `?` because no system has all of them.
const CALLS: &str = "trace=?open,?openat,?openat2,?creat,?mkdir,?mkdirat,?unlink,?unlinkat,?rmdir,?rename,?renameat,\
?renameat2,?link,?linkat,?symlink,?symlinkat,?truncate,?chmod,?fchmodat,?utimensat";

/// The system calls of a command that name a path below `v1`, itself or by an open folder. `strace` must be installed.
fn traced(planted: &Planted, command: &str) -> Vec<String> {
    let (trace, program) = (planted.0.path("trace"), planted.0.program());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "300", "-e", CALLS, "-o"]).arg(&trace);
    strace.arg(program.get_program()).args(command.split(' ')).current_dir(planted.0.root());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    ended(&mut strace, command);
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let calls = text.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_owned()));
    calls.filter(|call| call.contains("cache/v1") && !call.starts_with("<...")).collect()
}

/// Whether a system call follows no link below `v1`.
fn follows_no_link(call: &str) -> bool {
    let from_an_open_folder = !call.contains("AT_FDCWD");
    match call.split('(').next() {
        // The times of an open file.
        Some("utimensat") => call.contains(">, NULL, "),
        Some("openat" | "openat2") => {
            // The open folder itself, to list or sync it.
            let itself = from_an_open_folder && call.contains(">, \".\", ");
            // Artifacts are handed to stages by path, just after they were opened without links. A stage writes into its
            // private folder.
            let handed_out = ["cache/v1/objects/", "cache/v1/work/"].iter().any(|place| call.contains(place));
            call.contains("O_NOFOLLOW") || itself || (!from_an_open_folder && handed_out)
        }
        // A stage in its private folder.
        Some("rename") => call.matches("cache/v1/work/").count() == 2,
        Some("mkdirat" | "unlinkat" | "renameat" | "renameat2") => from_an_open_folder,
        _ => false,
    }
}

#[test]
fn every_open_below_v1_follows_no_link() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let planted = Planted::new();
    planted.forget(&planted.key("split"));
    planted.forget(&planted.key("train"));
    for command in COMMANDS {
        let calls = traced(&planted, command);
        assert!(!calls.is_empty(), "`{command}` opens nothing below v1");
        for call in calls {
            assert!(follows_no_link(&call), "`{command}`: {call}");
        }
    }
}

/// Holds the barrier as a collector does that is suspended, until it is dropped.
fn suspended_collector(planted: &Planted) -> File {
    let mut barrier =
        File::options().write(true).create(true).truncate(true).open(planted.v1("locks/gc")).unwrap();
    barrier.lock().unwrap();
    barrier.write_all(b"4711 elsewhere\n").unwrap();
    barrier.rewind().unwrap();
    barrier
}

/// Starts a program, and waits until it says that it waits.
fn waits(planted: &Planted, arguments: &str) -> (Child, PathBuf) {
    let said = planted.0.path("said");
    let mut program = planted.0.program();
    let stderr = File::create(&said).unwrap();
    let child = program.args(arguments.split(' ')).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let begun = Instant::now();
    while !fs::read_to_string(&said).unwrap().contains("waiting for `cache gc` (process 4711 on elsewhere)") {
        assert!(begun.elapsed() < IN_TIME, "`{arguments}`: {}", fs::read_to_string(&said).unwrap());
        thread::sleep(Duration::from_millis(10));
    }
    (child, said)
}

#[test]
fn who_waits_for_a_suspended_collector_says_so_and_stops_on_a_signal() {
    let planted = Planted::new();
    let collector = suspended_collector(&planted);
    for arguments in ["run tiny.yaml", "status tiny.yaml", "plan tiny.yaml", "cache gc"] {
        for signal in [Signal::INT, Signal::TERM] {
            let (mut child, _) = waits(&planted, arguments);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let begun = Instant::now();
            let status = loop {
                match child.try_wait().unwrap() {
                    Some(status) => break status,
                    None if begun.elapsed() > IN_TIME => panic!("`{arguments}` does not end on {signal:?}"),
                    None => thread::sleep(Duration::from_millis(5)),
                }
            };
            let expected = if arguments.starts_with("run") { Some(75) } else { None };
            assert_eq!(status.code(), expected, "`{arguments}`: {status}");
        }
    }
    let (mut child, said) = waits(&planted, "run tiny.yaml");
    drop(collector);
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(said).unwrap());
}
