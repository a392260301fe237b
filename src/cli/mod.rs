//! The command line: it reads the arguments, runs the command, and returns an exit code.
//!
//! One file per command. Commands return data or errors; only `ui` prints. Data goes to standard output, and
//! everything else to standard error.

mod bench;
mod cache;
mod command_line;
mod complete_targets;
mod completions;
mod dag;
mod data;
mod diff;
mod error;
mod executor;
mod exit;
mod export;
mod init;
mod log;
mod model;
mod options;
mod perform;
mod plan;
mod prepare;
mod recorders;
mod results;
mod run;
mod schema;
mod show;
mod signals;
mod size;
mod status;
mod threads;
mod ui;
mod validate;

pub use exit::Exit;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::nn::Level;
use crate::plain::visible;
use complete_targets::CompleteTargets;
use error::CliError;
use options::{Color, Global};
use ui::Ui;

const EXAMPLES: &str = "\
Examples:
  argd-pipe run pipelines/badnets.yaml
  argd-pipe run pipelines/badnets.yaml --set seed=3 -j 2
  argd-pipe plan pipelines/badnets.yaml
  argd-pipe status pipelines/badnets.yaml --why
  argd-pipe results pipelines/badnets.yaml";

/// Run backdoor attacks and defenses from a YAML manifest.
///
/// A manifest is a graph of stages: poison data, train the backdoored model, erase the backdoor, evaluate. A matrix
/// sweeps any parameter. argd-pipe caches each result under a hash of everything that determines it. It computes
/// nothing twice, and it resumes a stopped run.
#[derive(Debug, Parser)]
#[command(name = "argd-pipe", version, max_term_width = 100)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Plan(plan::Plan),
    Status(status::Status),
    Results(results::Results),
    Diff(diff::Diff),
    Dag(dag::Dag),
    Show(show::Show),
    Log(log::Log),
    Export(export::Export),
    Bench(bench::Bench),
    Model(model::ModelCommand),
    Cache(cache::Cache),
    Data(data::Data),
    Init(init::Init),
    Validate(validate::Validate),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Perform(perform::Perform),
}

/// Describes the command line: for completions and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command of the command line, and returns the exit code.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // It is not among the commands, or shells would offer it as one.
    let done = if words.get(1).is_some_and(|word| word == complete_targets::NAME) {
        parse::<CompleteTargets>(&words[1..])
            .map(|targets| perform(&Ui::new(Color::Never, 0), |ui| targets.perform(ui)))
    } else {
        parse::<Cli>(&words)
            .map(|cli| perform(&Ui::new(cli.global.color, cli.global.verbose), |ui| cli.perform(ui)))
    };
    let exit = done.unwrap_or_else(|answer| {
        // Help and version end up here too. A closed standard output is not an error.
        let _ = answer.print();
        if answer.use_stderr() { Exit::Usage } else { Exit::Done }
    });
    exit.into()
}

/// Reads a command line. An error quotes words of it, which must not control the terminal.
fn parse<P: Parser>(words: &[OsString]) -> Result<P, clap::Error> {
    P::try_parse_from(words).map_err(|answer| {
        let visible = words.iter().map(|word| visible(&word.to_string_lossy()).into_owned());
        P::try_parse_from(visible).err().unwrap_or(answer)
    })
}

fn perform(ui: &Ui, command: impl FnOnce(&Ui) -> Result<(), CliError>) -> Exit {
    match catch_unwind(AssertUnwindSafe(|| command(ui))) {
        Ok(Ok(())) => Exit::Done,
        Ok(Err(error)) => {
            ui.report(&error);
            error.exit()
        }
        Err(_) => {
            ui.say("this is a bug in argd-pipe; report it, with the command and the manifest");
            Exit::Bug
        }
    }
}

impl Cli {
    fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        signals::survive_file_size_limit()?;
        Level::forced().map_err(|what| CliError::unknown(what, None))?;
        if let Some(path) = &self.global.directory {
            let enter = std::env::set_current_dir(path);
            enter.map_err(|source| CliError::Folder { path: path.clone(), source })?;
        }
        if !matches!(&self.command, Command::Run(_) | Command::Perform(_) | Command::Completions(_)) {
            threads::start_available()?;
        }
        match &self.command {
            Command::Run(run) => run.perform(&self.global, ui),
            Command::Plan(plan) => plan.perform(&self.global, ui),
            Command::Status(status) => status.perform(&self.global, ui),
            Command::Results(results) => results.perform(&self.global, ui),
            Command::Diff(diff) => diff.perform(&self.global, ui),
            Command::Dag(dag) => dag.perform(&self.global, ui),
            Command::Show(show) => show.perform(&self.global, ui),
            Command::Log(log) => log.perform(&self.global, ui),
            Command::Export(export) => export.perform(&self.global, ui),
            Command::Bench(bench) => bench.perform(ui),
            Command::Model(model) => model.perform(ui),
            Command::Cache(cache) => cache.perform(&self.global, ui),
            Command::Data(data) => data.perform(&self.global, ui),
            Command::Init(init) => init.perform(&self.global, ui),
            Command::Validate(validate) => validate.perform(ui),
            Command::Schema(schema) => schema.perform(ui),
            Command::Completions(completions) => completions.perform(ui),
            Command::Perform(perform) => perform.perform(&self.global, ui),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }
}
