//! `argd-pipe export`: writes an artifact as files that other programs read.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::show::one_task;
use super::ui::Ui;
use crate::manifest::suggest::did_you_mean;
use crate::pipeline::{self, Event, Plan, Survey, Target, Task};
use crate::report;
use crate::stages::{Artifact, Output};
use crate::store::Digest;

const EXAMPLES: &str = "\
Examples:
  argd-pipe export pipelines/badnets.yaml backdoored model backdoored.safetensors
  argd-pipe export pipelines/badnets.yaml backdoored model backdoored.pth
  argd-pipe export pipelines/badnets.yaml poisoned trigger trigger.png
  argd-pipe export pipelines/badnets.yaml poisoned overlay poisoned-images --limit 20
  argd-pipe export pipelines/badnets.yaml images dataset images --limit 0";

/// Write an output of a task for other programs.
///
/// A model becomes a PyTorch `state_dict` if PATH ends in `.pth`, `.pt`, `.tar` or `.ckpt`, and a safetensors file of
/// argd-pipe's otherwise.
///
/// Images become PNG files, in one folder per class. A data set becomes `train/CLASS/N.png` and `test/CLASS/N.png`. CLASS
/// begins with the number of the class (`00_airplane`), so that programs that sort the folders keep the order. A `dataset`
/// stage with `source: image-folder` reads them again, with the names of the classes. Poisoned images become
/// `CLASS/N.png`, by their new label; N is the number of the clean image in `train`. A trigger becomes one PNG: a patch has
/// its mask as opacity, and an additive trigger is drawn on gray.
///
/// A curve becomes a safetensors file with its start, its control point and its end. Evidence becomes a safetensors file
/// with the tensors behind a detector's result. A report becomes JSON, and a split becomes a text file of positions.
///
/// Existing files are never overwritten. If the export fails, it leaves nothing behind.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The task: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`.
    #[arg(value_name = "TASK")]
    task: Target,

    /// The output: `model`, `dataset`, `overlay`, `trigger`, `indices`, `curve`, `report` or `evidence`.
    #[arg(value_name = "PORT")]
    port: String,

    /// The file or folder to write.
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Write the first N images of each kind; 0 writes all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Export {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, id) = one_task(&self.manifest, &self.task, global, ui)?;
        let task = prepared.plan.task(id);
        let output = self.output(task)?;
        let survey = pipeline::survey(&prepared.plan, &prepared.store, &mut |task, damage| {
            ui.show(&Event::damaged(task, damage))
        })?;
        let digest = survey.record(id).and_then(|record| record.output(output.name));
        let digest = digest.ok_or_else(|| {
            let label = task.label.to_string();
            let command = self.manifest.command(global, "run", &[&label]);
            let hint = Some(format!("`{command}` computes it"));
            CliError::NotComputed { what: format!("{label} has no result yet"), hint }
        })?;
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let store = &prepared.store;
        let dataset = clean_dataset(&prepared.plan, task, &survey).map(|digest| store.artifact(digest));
        let (dataset, from) = (dataset.transpose()?, store.artifact(digest)?);
        let export =
            report::Export { artifact: output.makes, from: &from, dataset: dataset.as_deref(), limit };
        let written = report::export(&export, &self.path)?;
        ui.say(&format!("wrote {written} to {}", self.path.display()));
        Ok(())
    }

    fn output(&self, task: &Task) -> Result<&'static Output, CliError> {
        let found = task.outputs.iter().copied().find(|output| output.name == self.port);
        found.ok_or_else(|| {
            let names: Vec<&str> = task.outputs.iter().map(|output| output.name).collect();
            let (label, port, hint) = (&task.label, &self.port, did_you_mean(&self.port, "outputs", &names));
            CliError::unknown(format!("{label} has no output `{port}`"), hint)
        })
    }
}

/// The data set that a task reads, if it reads one that is in the cache.
fn clean_dataset<'s>(plan: &Plan, task: &Task, survey: &'s Survey) -> Option<&'s Digest> {
    task.inputs.iter().find_map(|connection| {
        let producer = plan.task(connection.producer);
        let is_dataset = |output: &&&Output| output.makes == Artifact::Dataset;
        let output = producer.outputs.iter().find(is_dataset)?;
        let is_read = connection.artifacts.iter().any(|(_, name)| *name == output.name);
        survey.record(connection.producer).filter(|_| is_read)?.output(output.name)
    })
}
