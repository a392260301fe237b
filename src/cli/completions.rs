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

/// How commands call the arguments that are targets.
const TARGETS: [&str; 2] = ["targets", "task"];

/// Print a script that makes a shell complete commands, options and files; bash also stages and tasks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The part of the bash script that completes targets, in the commands that take some.
fn targets(command: &clap::Command) -> String {
    let takes_some = |command: &&clap::Command| {
        command.get_arguments().any(|argument| TARGETS.contains(&argument.get_id().as_str()))
    };
    let names: Vec<&str> =
        command.get_subcommands().filter(takes_some).map(clap::Command::get_name).collect();
    include_str!("targets.bash").replace("COMMANDS", &names.join(" | "))
}

impl Completions {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let mut script = vec![];
        let mut command = super::command();
        clap_complete::generate(self.shell, &mut command, "argd-pipe", &mut script);
        // For a name with a hyphen, clap_complete 4.6 calls a subcommand one thing where it finds it and another where it
        // completes it.
        let mut script = String::from_utf8_lossy(&script).replace("argd__subcmd__pipe", "argd__pipe");
        if self.shell == Shell::Bash {
            script += &targets(&command);
        }
        ui.data(&script)
    }
}
