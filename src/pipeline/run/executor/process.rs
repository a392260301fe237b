//! Jobs in processes of their own: `argd-pipe perform JOB.json` does one, and says in JSON lines how it goes.
//!
//! A stage that crashes takes its own process with it and nothing else. The same lines are what a job on another
//! machine would send.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Ended, Executor, OnReport, Report};
use crate::pipeline::error::{Class, TaskError};
use crate::pipeline::job::JobSpec;
use crate::store::{Key, Store};

/// The longest time between two looks at whether the job is to stop.
const TICK: Duration = Duration::from_millis(100);

/// What the process of a job says, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// What happens.
    Report(Report),
    /// The store had the result.
    Cached(Key),
    /// The result is in the store.
    Finished(Key),
    /// Another process computes it.
    Busy,
    /// It was stopped.
    Stopped,
    /// It failed.
    Failed {
        /// What kind of failure it is.
        class: Class,
        /// What, and where.
        message: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl From<&Result<Ended, TaskError>> for Line {
    fn from(result: &Result<Ended, TaskError>) -> Self {
        match result {
            Ok(Ended::Cached(record)) => Self::Cached(record.key),
            Ok(Ended::Finished(record)) => Self::Finished(record.key),
            Ok(Ended::Busy) => Self::Busy,
            Ok(Ended::Stopped) => Self::Stopped,
            Err(error) => {
                Self::Failed { class: error.class(), message: error.to_string(), hint: error.hint() }
            }
        }
    }
}

/// Does each job in a process of its own.
pub struct Process<'a> {
    program: PathBuf,
    arguments: Vec<OsString>,
    store: &'a Store,
    stop: &'a AtomicBool,
}

impl<'a> Process<'a> {
    /// Calls `program` with these arguments and the name of a job's file. It must read the job, do it in the same
    /// store, write [`Line`]s to its standard output, and stop with a checkpoint when its standard input ends: that is
    /// how it learns that `stop` was set, or that this process is gone.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, store: &'a Store, stop: &'a AtomicBool) -> Self {
        Self { program, arguments, store, stop }
    }

    fn start(&self, job: &JobSpec) -> io::Result<(NamedTempFile, Child)> {
        let mut file = NamedTempFile::with_suffix(".json")?;
        serde_json::to_writer(&mut file, job)?;
        file.flush()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(file.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C in a terminal goes to a whole group; the process is to hear of it once, from here.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok((file, command.spawn()?))
    }

    /// Passes on what the process says until it has ended; returns its last word.
    fn follow(&self, child: &mut Child, report: &OnReport<'_>) -> Option<Line> {
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take()?);
        let (sender, ended) = mpsc::channel();
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("job".to_owned());
            let reader = reader.spawn_scoped(scope, move || sender.send(last_word(stdout, report)));
            reader.ok()?;
            let mut stdin = stdin;
            loop {
                match ended.recv_timeout(TICK) {
                    Ok(word) => return word,
                    Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => drop(stdin.take()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            }
        })
    }

    fn ended(&self, word: Line) -> Result<Ended, TaskError> {
        let record = |key: Key| {
            self.store.mark_used(&key);
            let record = self.store.record(&key)?;
            record.map(Arc::new).ok_or_else(|| TaskError::Died("its result is not in the cache".to_owned()))
        };
        match word {
            Line::Cached(key) => Ok(Ended::Cached(record(key)?)),
            Line::Finished(key) => Ok(Ended::Finished(record(key)?)),
            Line::Busy => Ok(Ended::Busy),
            Line::Stopped => Ok(Ended::Stopped),
            Line::Failed { class, message, hint } => Err(TaskError::Elsewhere { class, message, hint }),
            Line::Report(_) => Err(TaskError::Died("it did not say how the job ended".to_owned())),
        }
    }
}

impl Executor for Process<'_> {
    fn execute(&self, job: &JobSpec, report: &OnReport<'_>) -> Result<Ended, TaskError> {
        let failed = |error: io::Error| TaskError::Died(format!("{}: {error}", self.program.display()));
        let (_file, mut child) = self.start(job).map_err(failed)?;
        let word = self.follow(&mut child, report);
        let status = child.wait().map_err(failed)?;
        self.ended(word.ok_or_else(|| TaskError::Died(status.to_string()))?)
    }
}

/// Reads lines to the end, passes reports on, and returns the last line that is none.
fn last_word(stdout: ChildStdout, report: &OnReport<'_>) -> Option<Line> {
    let mut last = None;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Line::Report(said)) => report(said),
            Ok(word) => last = Some(word),
            Err(error) => tracing::debug!("the process of a job says `{line}`: {error}"),
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::plan::{Label, TaskId};
    use crate::pipeline::run::Event;

    #[test]
    fn lines_are_read_back() {
        let task = || Label { id: TaskId(0), stage: "trained".into(), axes: vec![] }.into();
        for line in [
            Line::Report(Report::Started { started: Key::of(&"key".into()) }),
            Line::Report(Report::Event(Event::Note { task: task(), line: "a note".into() })),
            Line::Finished(Key::of(&"key".into())),
            Line::Busy,
            Line::Failed { class: Class::Bug, message: "it panicked".into(), hint: Some("report it".into()) },
        ] {
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), line, "{json}");
        }
    }
}
