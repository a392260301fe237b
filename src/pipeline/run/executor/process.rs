//! Computes jobs in separate processes: `argd-pipe perform JOB.json` computes one job and reports in JSON lines.
//!
//! A stage that crashes ends only its own process. A job on another machine would send the same lines.

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

/// The longest time between two checks whether to stop the job.
const TICK: Duration = Duration::from_millis(100);

/// A line of a job's process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A report.
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
        /// The class of the error.
        class: Class,
        /// The message: what failed, and where.
        message: String,
        /// The hint: what to do.
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

/// Computes each job in a separate process.
pub struct Process<'a> {
    program: PathBuf,
    arguments: Vec<OsString>,
    store: &'a Store,
    stop: &'a AtomicBool,
}

impl<'a> Process<'a> {
    /// Makes an executor that calls `program` with these arguments and the name of a job's file. The program must read
    /// the job, compute it in the same store, and write [`Line`]s to its standard output. When its standard input ends,
    /// `stop` was set or this process has ended; then the program must write a checkpoint and stop.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, store: &'a Store, stop: &'a AtomicBool) -> Self {
        Self { program, arguments, store, stop }
    }

    fn start(&self, job: &JobSpec) -> io::Result<(NamedTempFile, Child)> {
        let mut file = NamedTempFile::with_suffix(".json")?;
        serde_json::to_writer(&mut file, job)?;
        file.flush()?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(file.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C in a terminal signals a whole process group. The job's process gets its stop only from here.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok((file, command.spawn()?))
    }

    /// Passes on the reports of the process until it ends. Returns its last line.
    ///
    /// # Errors
    /// If no thread can be started. The process then stops, too.
    fn follow(&self, child: &mut Child, report: &OnReport<'_>) -> io::Result<Option<Line>> {
        let stdin = child.stdin.take();
        let Some(stdout) = child.stdout.take() else { return Ok(None) };
        let (sender, ended) = mpsc::channel();
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("job".to_owned());
            let reader = reader.spawn_scoped(scope, move || sender.send(last_word(stdout, report)));
            reader?;
            let mut stdin = stdin;
            loop {
                match ended.recv_timeout(TICK) {
                    Ok(word) => return Ok(word),
                    Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => drop(stdin.take()),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return Ok(None),
                }
            }
        })
    }

    fn ended(&self, word: Line) -> Result<Ended, TaskError> {
        let record = |key: Key| {
            self.store.mark_used(&key)?;
            let record = self.store.record(&key)?;
            record.map(Arc::new).ok_or_else(|| TaskError::Died("its result is not in the cache".to_owned()))
        };
        match word {
            Line::Cached(key) => Ok(Ended::Cached(record(key)?)),
            Line::Finished(key) => Ok(Ended::Finished(record(key)?)),
            Line::Busy => Ok(Ended::Busy),
            Line::Stopped => Ok(Ended::Stopped),
            Line::Failed { class, message, hint } => Err(TaskError::Elsewhere { class, message, hint }),
            Line::Report(_) => Err(TaskError::Died("it did not report how the job ended".to_owned())),
        }
    }
}

impl Executor for Process<'_> {
    fn execute(&self, job: &JobSpec, report: &OnReport<'_>) -> Result<Ended, TaskError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => TaskError::Threads(error.to_string()),
            _ => TaskError::Died(format!("{}: {error}", self.program.display())),
        };
        let (_file, mut child) = self.start(job).map_err(failed)?;
        let word = self.follow(&mut child, report);
        let status = child.wait().map_err(failed)?;
        self.ended(word.map_err(failed)?.ok_or_else(|| TaskError::Died(status.to_string()))?)
    }
}

/// Reads all lines, passes on the reports, and returns the last other line.
fn last_word(stdout: ChildStdout, report: &OnReport<'_>) -> Option<Line> {
    let mut last = None;
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Line::Report(received)) => report(received),
            Ok(word) => last = Some(word),
            Err(error) => tracing::debug!("invalid line `{line}` from the process of a job: {error}"),
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
