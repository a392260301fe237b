//! `argd-pipe bench`: measures how fast this machine trains and tests.

mod measure;

use std::num::NonZeroUsize;

use clap::{ArgAction, Args, ValueEnum};

use super::error::CliError;
use super::ui::{Ui, format, table};
use crate::models::Architecture;
use measure::{Case, Speed, What, measure};

const EXAMPLES: &str = "\
Examples:
  argd-pipe bench
  argd-pipe bench --what train --model wrn-16-2 --model wrn-40-1 --threads 1,2
  ARGD_PIPE_SIMD=portable argd-pipe bench --what infer --json";

/// Measure how fast this machine trains and tests networks.
///
/// Each measurement runs the training loop of the stages, with augmentation, on 32x32 images of noise. It reports the
/// median step.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bench {
    /// What to measure; a list, or repeated [default: all].
    #[arg(long, value_enum, value_delimiter = ',', action = ArgAction::Append)]
    what: Vec<What>,

    /// Networks, such as `wrn-16-1`; a list, or repeated.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "wrn-16-1")]
    model: Vec<Architecture>,

    /// Images per training step. Predictions use the batch size of an evaluation.
    #[arg(long, value_name = "N", default_value = "64")]
    batch: NonZeroUsize,

    /// Numbers of threads; a list, or repeated [default: one per core].
    #[arg(long, value_name = "N", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,

    /// Steps per measurement, after the warm-up.
    #[arg(long, value_name = "N", default_value = "40")]
    steps: NonZeroUsize,

    /// Print a JSON list instead of a table.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let mut speeds = vec![];
        for case in self.cases() {
            let Case { what, model, threads, .. } = &case;
            ui.say(&format!("measuring {} of {model} on {}", what.name(), format::count(*threads, "thread")));
            speeds.push(measure(&case)?);
        }
        ui.data(&if self.json { json(&speeds)? } else { table::of_rows(&HEADER, rows(&speeds), 2..) })
    }

    fn cases(&self) -> Vec<Case> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let whats = if self.what.is_empty() { What::value_variants() } else { &self.what };
        let threads = if self.threads.is_empty() { vec![cores()] } else { self.threads.clone() };
        let (batch, steps) = (self.batch.get(), self.steps.get());
        let mut cases = vec![];
        for &model in &self.model {
            for &threads in &threads {
                let case = |&what| Case { what, model, batch, threads: threads.get(), steps };
                cases.extend(whats.iter().map(case));
            }
        }
        cases
    }
}

const HEADER: [&str; 7] = ["what", "model", "batch", "threads", "images/s", "ms/step", "simd"];

fn rows(speeds: &[Speed]) -> Vec<Vec<String>> {
    let row = |speed: &Speed| {
        vec![
            speed.what.name().to_owned(),
            speed.model.to_string(),
            speed.batch.to_string(),
            speed.threads.to_string(),
            format!("{:.0}", speed.images_per_second),
            format!("{:.2}", speed.ms_per_step),
            speed.simd.to_owned(),
        ]
    };
    speeds.iter().map(row).collect()
}

fn json(speeds: &[Speed]) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(speeds).map_err(|error| CliError::Setup(error.to_string()))?;
    Ok(text + "\n")
}
