//! `argd-pipe data fetch`: downloads a public data set.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::named;
use crate::cli::error::CliError;
use crate::cli::ui::Ui;
use crate::data::fetch::{Servers, Step};

const EXAMPLES: &str = "\
Examples:
  argd-pipe data fetch cifar10
  argd-pipe data fetch gtsrb --data-dir /data
  argd-pipe data fetch cifar10 --url https://mirror.example.org/cifar --url https://www.cs.toronto.edu/~kriz";

/// Download a public data set, check it and unpack it.
///
/// An interrupted download resumes. A file with another MD5 sum than the published one is refused. If another process
/// downloads the same data set, this one waits for it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Fetch {
    /// The name of the data set, as in `argd-pipe data ls`.
    name: String,

    /// Download from this folder instead of the publisher's. If repeated, the first that has the file is used.
    #[arg(long, value_name = "URL", env = "ARGD_PIPE_DATA_URL", hide_env_values = true)]
    url: Vec<String>,

    /// Give up on a server that sends nothing for this number of seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Fetch {
    pub(super) fn perform(&self, data: &Path, ui: &Ui) -> Result<(), CliError> {
        let dataset = named(&self.name)?;
        let bar = ui.bytes(dataset.name, 0);
        let mut shown = String::new();
        let servers = Servers { urls: &self.url, patience: Duration::from_secs(self.timeout) };
        let new = dataset.fetch(data, servers, &mut |step| match step {
            Step::Waiting => {
                ui.say(&format!("another process is downloading {}; waiting for it", dataset.name));
            }
            Step::Downloading { file, done, total } => {
                if shown != file {
                    shown = file.to_owned();
                    ui.say(&format!("downloading {file}"));
                }
                bar.set_length(total.unwrap_or(done));
                bar.set_position(done);
            }
            Step::Again { file } => ui.say(&format!("the connection was lost; resuming {file}")),
            Step::Unpacking { file } => ui.say(&format!("unpacking {file}")),
        });
        bar.finish_and_clear();
        let (path, source) = (dataset.path(data), dataset.source);
        ui.say(&format!(
            "{} {}",
            dataset.name,
            if new? { "is downloaded" } else { "was already downloaded" }
        ));
        ui.say(&format!("in a manifest: {{source: {source}, path: {}}}", path.display()));
        ui.data(&format!("{}\n", path.display()))
    }
}
