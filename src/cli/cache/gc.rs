//! `argd-pipe cache gc`: removes unused files and old results.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::options::Global;
use crate::cli::prepare;
use crate::cli::recorders::run_file;
use crate::cli::size::Size;
use crate::cli::ui::{Ui, format};
use crate::nn::Backend;
use crate::pipeline::{self, Event, record};
use crate::store::{Collection, Policy, Record, Store, UnreadableMark};

const EXAMPLES: &str = "\
Examples:
  argd-pipe cache gc --dry-run --max-size 20G
  argd-pipe cache gc --keep-days 30
  argd-pipe cache gc --keep-days 0 --keep pipelines/badnets.yaml
  argd-pipe cache gc --keep-days 0 --keep 20260314T092653Z-badnets";

/// Remove unused files and, with options, old results.
///
/// Without options it removes unused artifacts, checkpoints of finished tasks, corrupt files, unheld lock files, and the
/// run folders of all but the newest 100 runs. Only `--keep-days` and `--max-size` remove results, the longest unused
/// first. Results that a live run uses are kept, on every machine that shares the cache.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Gc {
    /// Remove results, checkpoints, logs and run folders that were not used for more than N days.
    #[arg(long, value_name = "N")]
    keep_days: Option<u32>,

    /// Remove results until the artifacts take at most SIZE: `500M`, `20G`, `1.5T`.
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,

    /// Keep the results of a manifest or a run. Can be repeated.
    ///
    /// A manifest keeps the results that it finds in the cache. A run keeps its own results, for example of a sweep with
    /// `--matrix`. Name it by its `run.json`, or by its folder in the cache's `v1/runs`; the folder is then kept, too.
    #[arg(long, value_name = "MANIFEST|RUN", value_hint = clap::ValueHint::FilePath)]
    keep: Vec<PathBuf>,

    /// Show what would be removed; remove nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Gc {
    pub(super) fn perform(&self, store: &Store, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let mut kept_runs = HashSet::new();
        for kept in &self.keep {
            match run_file(kept, &global.cache_dir) {
                Some(run) => kept_runs.extend(keep_run(&run, store)?),
                None => keep_manifest(kept, &global.backend.backend(), store, ui)?,
            }
        }
        let policy = Policy {
            unused_for: self.keep_days.map(|days| Duration::from_secs(86_400) * days),
            max_bytes: self.max_size.map(|size| size.0),
            kept_runs,
            dry_run: self.dry_run,
        };
        let collection = store.collect(&policy)?;
        self.report(&collection, ui);
        Ok(())
    }

    fn report(&self, collection: &Collection, ui: &Ui) {
        let Collection {
            records,
            artifacts,
            checkpoints,
            logs,
            corrupt,
            runs,
            journals,
            half_written,
            locks,
            spared,
            unreadable,
            left,
        } = collection;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for entry in records {
            let name = entry.record().map_or_else(|| "a damaged record".to_owned(), Record::name);
            ui.say(&format!("{verb} {name}  {}", entry.key.short()));
        }
        let results = format::count(records.len(), "result");
        let parts = [
            (artifacts, "artifact"),
            (checkpoints, "checkpoint file"),
            (logs, "log"),
            (corrupt, "corrupt file"),
            (runs, "run"),
            (journals, "journal"),
            (half_written, "half-written file"),
            (locks, "lock file"),
        ];
        let parts = parts.into_iter().filter(|(amount, _)| amount.files > 0).map(|(amount, noun)| {
            format!(", {} ({})", format::count(amount.files, noun), format::bytes(amount.bytes))
        });
        ui.say(&format!("{verb} {results}{}", parts.collect::<String>()));
        if *spared > 0 {
            let results = format::count(*spared, "result");
            ui.say(&format!("kept {results} that a live run or --keep uses"));
        }
        for UnreadableMark { path, owner } in unreadable {
            let path = path.display();
            ui.say(&format!("kept all results: the user {owner} may use them, and `{path}` cannot be read"));
            ui.say("  help: let that user collect, or remove the file if no run of that user is alive");
        }
        let (artifacts, bytes) = (format::count(left.files, "artifact"), format::bytes(left.bytes));
        ui.say(&format!("{artifacts} ({bytes}) {}", if self.dry_run { "would remain" } else { "remain" }));
    }
}

/// Marks the results that a manifest finds in the store as used by this process: each lookup does.
fn keep_manifest(manifest: &Path, backend: &Backend, store: &Store, ui: &Ui) -> Result<(), CliError> {
    let plan = prepare::plan(manifest, &[], backend)?;
    pipeline::survey(&plan, store, &mut |task, damage| ui.show(&Event::damaged(task, damage)))?;
    Ok(())
}

/// Marks the results of a run as used by this process, and returns the name of the run's folder.
fn keep_run(file: &Path, store: &Store) -> Result<Option<OsString>, CliError> {
    let unfit = |error| CliError::unknown(format!("cannot keep `{}`: {error}", file.display()), None);
    record::keys(file).map_err(unfit)?.iter().try_for_each(|key| store.mark_used(key))?;
    Ok(file.parent().and_then(Path::file_name).map(OsStr::to_owned))
}
