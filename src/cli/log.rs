//! `argd-pipe log`: what a task said while it ran.

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
use crate::store::{Key, Store};

/// How often a log that is followed is read.
const POLL: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  argd-pipe log pipelines/badnets.yaml backdoored
  argd-pipe log pipelines/badnets.yaml 'erased@clean_ratio=0.05,defense=argd' -f";

/// Show what a task said while it ran: notes, progress, and how it ended, attempt after attempt.
///
/// The log is that of the task as it is now, or if it has none, of its last result; then standard error says so.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Log {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The task: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`.
    #[arg(value_name = "TASK")]
    task: Target,

    /// Go on as the log grows, until nobody computes the task any more.
    #[arg(short, long)]
    follow: bool,
}

impl Log {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, task) = one_task(&self.manifest, &self.task, global)?;
        let status = pipeline::status(&prepared.plan, &prepared.store, &mut |task, damage| {
            ui.tell(&Event::damaged(task, damage))
        })?;
        let status = status.of(task);
        let keys = [status.key, status.last];
        let logged = keys.into_iter().flatten().find(|key| prepared.store.log(key).is_file());
        let Some(key) = logged else {
            let task = &status.task;
            return Err(CliError::NotComputed(format!("{task} has no log: it has not run in this cache")));
        };
        if status.key != Some(key) {
            let (task, key) = (&status.task, key.short());
            ui.say(&format!("{task} has not run as it is now; this is the log of its last result, {key}"));
        }
        self.print(&prepared.store, &key, ui)
    }

    fn print(&self, store: &Store, key: &Key, ui: &Ui) -> Result<(), CliError> {
        let path = store.log(key);
        let failed = |source| CliError::Read { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        loop {
            // In this order: what is written before the lock is given back is read after it was seen held.
            let running = self.follow && store.locked_by(key).is_some();
            ui.data(&read_on(&mut file, &path)?)?;
            if !running {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
}

/// Reads from where the last reading ended to the end of the file.
fn read_on(file: &mut File, path: &Path) -> Result<String, CliError> {
    let mut bytes = vec![];
    let read = file.read_to_end(&mut bytes);
    read.map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
