//! `argd-pipe completions`: what a shell needs to complete commands and options.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  argd-pipe completions bash > ~/.local/share/bash-completion/completions/argd-pipe
  argd-pipe completions zsh > ~/.zfunc/_argd-pipe
  argd-pipe completions fish > ~/.config/fish/completions/argd-pipe.fish";

/// Print a script that makes a shell complete commands, options and files.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut super::command(), "argd-pipe", &mut script);
        ui.data(&String::from_utf8_lossy(&script))
    }
}
