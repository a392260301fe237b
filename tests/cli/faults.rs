//! A cache that crashed, moved, was copied, cannot be written or has no room: the right answer, or a clear refusal.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use argd_pipe::store::{FAIL_POINT_VARIABLE, FAIL_POINTS};

use super::workspace::{Ended, Workspace, copy};

fn after_a_run() -> Workspace {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &[]);
    workspace
}

/// Runs a program that may not be there; says whether it did its work.
fn succeeds(command: &mut Command) -> bool {
    command.stderr(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_crash_at_any_step_of_a_commit_leaves_a_sound_cache() {
    let undisturbed = after_a_run();
    for point in FAIL_POINTS {
        let workspace = Workspace::new();
        let mut records = 0;
        // Each process gets one step further: the next commit after those that are done.
        for _ in 0..3 {
            let crashed =
                workspace.program().args(["run", "tiny.yaml"]).env(FAIL_POINT_VARIABLE, point).output();
            assert_eq!(crashed.unwrap().status.code(), None, "{point} was passed");
            workspace.run("cache verify").with(0, &["checked"]);
            let now = workspace.kept("records").len();
            let committed = matches!(point, "record-renamed" | "partial-removed");
            assert_eq!(now, records + usize::from(committed), "a miss or a complete hit, after {point}");
            records = now;
        }
        workspace.run("run tiny.yaml").with(0, &[]);
        assert_eq!(workspace.csv(), undisturbed.csv(), "after {point}");
        workspace.run("cache gc").with(0, &[]);
        workspace.run("run tiny.yaml").with(0, &["6 cached"]);
        assert_eq!(
            workspace.kept("objects").len(),
            undisturbed.kept("objects").len(),
            "no clutter after {point}"
        );
    }
}

#[test]
fn a_cache_can_be_moved_and_copied_without_its_times() {
    let workspace = after_a_run();
    fs::rename(workspace.path("cache"), workspace.path("moved")).unwrap();
    workspace.run("run tiny.yaml --cache-dir moved").with(0, &["6 cached"]);

    copy(&workspace.path("moved"), &workspace.path("copied"));
    timeless(&workspace.path("copied"));
    workspace.run("run tiny.yaml --cache-dir copied").with(0, &["6 cached"]);
    workspace.run("cache verify --cache-dir copied").with(0, &[]);
    timeless(&workspace.path("copied"));
    workspace.run("cache gc --keep-days 30 --cache-dir copied").with(0, &["removed 0 results"]);
}

/// Sets the times of all files to 1970.
fn timeless(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            timeless(&path);
        } else {
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
}

#[test]
fn a_clock_that_was_set_back_changes_nothing() {
    let workspace = after_a_run();
    let csv = workspace.csv();
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    for file in workspace.kept("records").into_iter().chain(workspace.kept("objects")) {
        File::open(&file).unwrap().set_modified(tomorrow).unwrap();
    }
    workspace.run("run tiny.yaml").with(0, &["6 cached"]);
    workspace.run("cache ls").with(0, &["6 results"]);
    // An artifact that was changed and given its old time is found by its other time, or by its content.
    let images = workspace.artifact("dataset");
    let time = fs::metadata(&images).unwrap().modified().unwrap();
    let mut bytes = fs::read(&images).unwrap();
    bytes[100] ^= 1;
    fs::set_permissions(&images, Permissions::from_mode(0o644)).unwrap();
    fs::write(&images, bytes).unwrap();
    File::open(&images).unwrap().set_modified(time).unwrap();
    workspace.run("run tiny.yaml").with(0, &["damaged images", "1 ran, 5 cached"]);
    assert_eq!(workspace.csv(), csv);
}

#[test]
fn a_record_of_a_newer_format_is_left_alone_by_all() {
    let workspace = after_a_run();
    let record = workspace.kept("records")[0].clone();
    fs::write(&record, r#"{"format_version": 4000000000}"#).unwrap();
    workspace.run("cache verify").with(0, &["skipped: 1 record written by a newer argd-pipe"]);
    workspace
        .run("cache gc --keep-days 0")
        .with(6, &["nothing was removed", "help: collect with the newer argd-pipe"]);
    let listed = workspace.run("cache ls").with(0, &[]).stdout;
    let folded = listed.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(folded.contains("by a newer argd-pipe"), "{listed}");
    workspace.run("run tiny.yaml").with(6, &["was written by a newer argd-pipe"]);
    assert_eq!(fs::read_to_string(&record).unwrap(), r#"{"format_version": 4000000000}"#);
}

/// A folder that another file system is mounted on, as long as this lives.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Mounts by these arguments; `None`, with a message, where that is not permitted.
    #[expect(clippy::print_stderr, reason = "report what was not tested")]
    fn new(folder: &'a Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = succeeds(Command::new("mount").args(arguments).arg(folder));
        if !mounted {
            eprintln!("skipped: mounting is not permitted here");
        }
        mounted.then_some(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg("-l").arg(self.0));
    }
}

#[test]
fn a_read_only_cache_serves_what_it_has() {
    let workspace = after_a_run();
    let (cache, csv) = (workspace.path("cache"), workspace.csv());
    let source = cache.display().to_string();
    let Some(_mounted) = Mounted::new(&cache, &["--bind", &source]) else { return };
    assert!(succeeds(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&cache)));

    fs::remove_dir_all(workspace.path("results")).unwrap();
    workspace.run("run tiny.yaml").with(0, &["6 cached", "cannot write run.json", "Read-only file system"]);
    assert_eq!(workspace.csv(), csv);
    workspace.run("results tiny.yaml").with(0, &[]);
    workspace.run("cache ls").with(0, &["6 results"]);
    workspace.run("cache verify").with(0, &["checked 6 records"]);
    workspace.run("cache gc").with(6, &["Read-only file system", "make it writable"]);
    workspace.run("run tiny.yaml --set seed=9").with(6, &["Read-only file system", "--cache-dir"]);
}

/// Checks a run that may have lacked space: it failed with these words or not at all, left nothing half-written, and
/// with enough space the same command ends as if nothing had happened.
fn ends_soundly(workspace: &Workspace, short: Ended, words: &[&str], undisturbed: &Workspace) {
    let failed = short.code != Some(0);
    if failed {
        short.with(4, words);
        assert!(!workspace.path("results/tiny.csv").exists());
    }
    let left = |folder: &str| fs::read_dir(workspace.path(folder)).map_or(0, Iterator::count);
    assert_eq!(left("cache/v1/work"), 0, "work is removed");
    assert_eq!(left("results"), usize::from(!failed), "nothing but whole results");
    workspace.run("cache verify").with(0, &[]);
    assert_eq!(left("cache/v1/corrupt"), 0);
    workspace.run("run tiny.yaml").with(0, &[]);
    assert_eq!(workspace.csv(), undisturbed.csv());
    assert_eq!(workspace.digests(), undisturbed.digests());
}

#[test]
fn a_disk_that_is_full_at_any_moment_fails_the_task_and_nothing_else() {
    let undisturbed = after_a_run();
    let mut failures = 0;
    for kilobytes in [4, 32, 80, 96, 150, 400, 500, 800] {
        let workspace = Workspace::new();
        let cache = workspace.path("cache");
        let size = format!("size={kilobytes}k");
        let Some(_mounted) = Mounted::new(&cache, &["-t", "tmpfs", "-o", &size, "tmpfs"]) else { return };
        let short = workspace.run("run tiny.yaml");
        failures += usize::from(short.code != Some(0));
        assert!(succeeds(Command::new("mount").args(["-o", "remount,size=50m"]).arg(&cache)));
        let words =
            ["No space left on device", "MiB are free", "free some space", "finished results are kept"];
        ends_soundly(&workspace, short, &words, &undisturbed);
    }
    assert!(failures >= 6, "{failures} of the sizes were too small");
}

#[test]
fn a_limit_on_the_size_of_files_fails_the_task_and_nothing_else() {
    let undisturbed = after_a_run();
    let mut failures = 0;
    // In blocks of 512 bytes: less than a record, than each kind of artifact, than a checkpoint; and enough.
    for blocks in [0, 1, 2, 3, 9, 64, 160, 600, 640, 4000] {
        let workspace = Workspace::new();
        let program = workspace.program().get_program().display().to_string();
        let limited = format!("ulimit -f {blocks}; exec '{program}' run tiny.yaml");
        let limited = Command::new("sh").args(["-c", &limited]).current_dir(workspace.root()).output();
        let short: Ended = limited.unwrap().into();
        failures += usize::from(short.code != Some(0));
        ends_soundly(&workspace, short, &["File too large", "ulimit -f"], &undisturbed);
    }
    assert!((7..10).contains(&failures), "{failures} of the limits were too low");
}
