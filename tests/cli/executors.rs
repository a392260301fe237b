//! Executors: where a task is computed changes nothing about what comes out.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::kills::MANIFEST;
use super::workspace::Workspace;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("tiny.yaml", MANIFEST);
    workspace
}

/// Starts a run whose tasks have processes of their own.
fn start(workspace: &Workspace) -> Child {
    let arguments = ["run", "tiny.yaml", "--executor", "process"];
    workspace.program().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until a run computes the stage `trained`, and returns the process that does.
fn trains(run: &Child, workspace: &Workspace) -> Pid {
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        parent == Some(&run.id().to_string())
    };
    while Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        let mut pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let child = pids.find(is_child);
        let logs = if workspace.path("cache/v1/logs").is_dir() { workspace.kept("logs") } else { vec![] };
        let is_training = logs.iter().any(|log| {
            fs::read_to_string(log)
                .is_ok_and(|text| text.contains("started trained") && !text.contains("finished"))
        });
        if let Some(pid) = child.filter(|_| is_training) {
            return Pid::from_raw(pid.try_into().unwrap()).unwrap();
        }
    }
    panic!("no process computes `trained`");
}

#[test]
fn processes_give_the_same_bits_as_threads() {
    let (threads, processes) = (workspace(), workspace());
    threads.run("run tiny.yaml").with(0, &["10 ran"]);
    processes.run("run tiny.yaml -j 2 --executor process").with(0, &["10 ran"]);
    assert_eq!(processes.csv(), threads.csv());
    assert_eq!(processes.digests(), threads.digests());
    processes.run("run tiny.yaml").with(0, &["10 cached"]);
    threads.run("run tiny.yaml --executor process --force").with(0, &["10 ran"]);
}

#[test]
fn what_fails_in_a_process_fails_the_run_alike() {
    let workspace = Workspace::new();
    let source = "{kind: dataset, with: {source: image-folder, path: nowhere}}";
    workspace.write("lost.yaml", &format!("name: lost\nstages: {{images: {source}}}"));
    for executor in ["local", "process"] {
        let command = format!("run lost.yaml --executor {executor}");
        workspace.run(&command).with(66, &["nowhere: not found"]);
    }
}

#[test]
fn a_process_that_dies_fails_its_task_and_the_next_run_completes_it() {
    let (undisturbed, killed) = (workspace(), workspace());
    undisturbed.run("run tiny.yaml").with(0, &[]);
    let mut run = start(&killed);
    kill_process(trains(&run, &killed), Signal::KILL).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4));
    killed.run("run tiny.yaml --executor process").with(0, &["trained"]);
    assert_eq!(killed.digests(), undisturbed.digests());
}

#[test]
fn a_run_that_is_told_to_stop_stops_its_processes() {
    let (undisturbed, stopped) = (workspace(), workspace());
    undisturbed.run("run tiny.yaml").with(0, &[]);
    let mut run = start(&stopped);
    trains(&run, &stopped);
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(75));
    stopped.run("run tiny.yaml --executor process").with(0, &[]);
    assert_eq!(stopped.digests(), undisturbed.digests());
}
