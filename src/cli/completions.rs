//! `argd-pipe completions`: prints a script that completes commands, options and targets.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  argd-pipe completions bash > ~/.local/share/bash-completion/completions/argd-pipe
  argd-pipe completions zsh > ~/.zfunc/_argd-pipe
  argd-pipe completions fish > ~/.config/fish/completions/argd-pipe.fish";

/// The names of the arguments that are targets.
const TARGETS: [&str; 2] = ["targets", "task"];

/// Print a completion script for a shell.
///
/// It completes commands, options and files. In bash, zsh and fish it also completes stages and tasks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The commands that take targets.
fn commands_with_targets(command: &clap::Command) -> Vec<&str> {
    let takes_some = |command: &&clap::Command| {
        command.get_arguments().any(|argument| TARGETS.contains(&argument.get_id().as_str()))
    };
    command.get_subcommands().filter(takes_some).map(clap::Command::get_name).collect()
}

/// Adds to a shell's script the completion of targets, in the commands that take them.
fn with_targets(shell: Shell, script: &str, commands: &[&str]) -> String {
    match shell {
        // For a program with a hyphen, clap_complete 4.6 gives the cases and the variable that selects one different names.
        Shell::Bash => {
            let targets = include_str!("targets.bash").replace("COMMANDS", &commands.join(" | "));
            script.replace("argd__subcmd__pipe", "argd__pipe") + &targets
        }
        Shell::Fish => {
            script.to_owned() + &include_str!("targets.fish").replace("COMMANDS", &commands.join(" "))
        }
        Shell::Zsh => {
            // The arguments name the function that completes them. Functions come first: the last line runs the script.
            let names = |line: &str| TARGETS.iter().any(|name| line.contains(&format!(":{name} -- ")));
            let of_targets = |line: &str| match names(line) {
                true => line.replace(":_default'", ":_argd-pipe-targets'"),
                false => line.to_owned(),
            };
            let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
            let rest: Vec<String> = rest.lines().map(of_targets).collect();
            format!("{first}\n{}{}\n", include_str!("targets.zsh"), rest.join("\n"))
        }
        _ => script.to_owned(),
    }
}

impl Completions {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let mut script = vec![];
        let mut command = super::command();
        clap_complete::generate(self.shell, &mut command, "argd-pipe", &mut script);
        let script = String::from_utf8_lossy(&script);
        ui.data(&with_targets(self.shell, &script, &commands_with_targets(&command)))
    }
}
