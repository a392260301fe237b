//! Two processes at once on one manifest and one cache. A crowd of them is in tests/hostile/harness.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use super::workspace::{Ended, Workspace};

/// A run that goes on while the test looks at it.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(workspace: &Workspace, arguments: &str) -> Self {
        let mut program = workspace.program();
        let program = program.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// Reads what it says up to a line that has these words.
    #[track_caller]
    fn until(&mut self, words: &str) {
        let mut said = String::new();
        while !said.lines().next_back().is_some_and(|line| line.contains(words)) {
            assert!(self.stderr.read_line(&mut said).unwrap() > 0, "`{words}` is not in\n{said}");
        }
    }

    /// Reads the rest, and waits for its end.
    fn end(mut self) -> Ended {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code(), stdout: String::new(), stderr }
    }
}

#[test]
fn who_waits_for_a_process_that_is_killed_goes_on_at_once() {
    const RUN: &str = "run tiny.yaml --set matrix.epochs=[30]";
    let alone = Workspace::new();
    alone.run(RUN).with(0, &[]);

    let workspace = Workspace::new();
    let mut first = Running::start(&workspace, RUN);
    first.until("started trained@epochs=30");
    let mut second = Running::start(&workspace, RUN);
    second.until("waiting trained@epochs=30: process");
    first.child.kill().unwrap();
    let killed = Instant::now();
    second.until("started trained@epochs=30");
    assert!(killed.elapsed() < Duration::from_secs(2), "it went on after {:?}", killed.elapsed());
    assert_eq!(first.child.wait().unwrap().code(), None, "the first was killed while it trained");

    second.end().with(0, &["2 ran, 2 cached"]);
    assert_eq!(workspace.csv(), alone.csv());
    assert_eq!(workspace.digests(), alone.digests());
}
