//! `argd-pipe log`: shows the log of a task.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::show::one_task;
use super::ui::Ui;
use crate::pipeline::{self, Event, Target};
use crate::plain::visible_lines;
use crate::store::{Key, Store};

/// How often `--follow` reads the log.
const POLL: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  argd-pipe log pipelines/badnets.yaml backdoored
  argd-pipe log pipelines/badnets.yaml 'erased@clean_ratio=0.05,defense=argd' -f";

/// Show the log of a task: its notes and progress.
///
/// The log has every attempt, and how it ended. If the task has changed and has not run since, the log of its last
/// result is shown, with a line about it on standard error.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Log {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The task: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`.
    #[arg(value_name = "TASK")]
    task: Target,

    /// Print more as the log grows, until no process computes the task.
    #[arg(short, long)]
    follow: bool,
}

impl Log {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, task) = one_task(&self.manifest, &self.task, global, ui)?;
        let status = pipeline::status(&prepared.plan, &prepared.store, &mut |task, damage| {
            ui.show(&Event::damaged(task, damage))
        })?;
        let status = status.of(task);
        let keys = [status.key, status.last];
        let mut logged = None;
        for key in keys.into_iter().flatten() {
            if logged.is_none() {
                logged = prepared.store.open_log(&key)?.map(|file| (key, file));
            }
        }
        let Some((key, file)) = logged else {
            let task = &status.task;
            let what = format!("{task} has no log: it has not run in this cache");
            return Err(CliError::NotComputed { what, hint: None });
        };
        if status.key != Some(key) {
            let (task, key) = (&status.task, key.short());
            ui.say(&format!(
                "{task} has changed since it last ran; this is the log of its last result, {key}"
            ));
        }
        self.print(&prepared.store, &key, file, ui)
    }

    fn print(&self, store: &Store, key: &Key, mut file: File, ui: &Ui) -> Result<(), CliError> {
        let path = store.log(key);
        loop {
            // The lock is checked first: lines written before its holder released it are then still read.
            let running = self.follow && store.locked_by(key).is_some();
            ui.print(&visible_lines(&read_on(&mut file, &path)?))?;
            if !running {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
}

/// Reads from the end of the last read to the end of the file.
fn read_on(file: &mut File, path: &Path) -> Result<String, CliError> {
    let mut bytes = vec![];
    let read = file.read_to_end(&mut bytes);
    read.map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
