//! SIGKILLs, at a random moment or at a random call of the system: the same command resumes.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::cases::{Draw, each};
use super::interposer::{FAMILIES, Fault, How, Interposer};
use super::site::{EXPORTS, Left, RUN, Site, Undisturbed, end_of, ended};

/// The commands that are killed. Those that write most come most often.
const COMMANDS: [&str; 10] =
    [RUN, RUN, RUN, RUN, RUN, "cache gc", "cache verify", "results tiny.yaml", EXPORTS[0], EXPORTS[3]];

/// Kills in one workspace, before a run ends there.
const KILLS: usize = 5;

/// Kills a command after a part of the time of a whole run; returns whether it was still there.
fn kill_at_a_moment(draw: &mut Draw, site: &Site, command: &str, whole: Duration) -> bool {
    let mut program = site.command(command);
    let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(whole.mul_f64(draw.fraction() / if command == RUN { 2.0 } else { 10.0 }));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    end_of(child, command).code.is_none()
}

/// Kills a command before or after a call that writes; returns whether it came so far.
fn kill_at_a_call(draw: &mut Draw, site: &Site, command: &str, interposer: &Interposer) -> bool {
    let family = draw.below(FAMILIES.len());
    let at = 1 + draw.below(if matches!(FAMILIES[family].0, "open" | "read" | "write") { 100 } else { 20 });
    let how = *draw.one_of(&[How::KilledBefore, How::KilledAfter]);
    let mut program = site.command(command);
    let fault = Fault { family, at: at as u64, times: 1, how, matching: "" };
    let _counts = interposer.load(&mut program, site.0.root(), Some(&fault));
    ended(program, command).code.is_none()
}

fn case(draw: &mut Draw, undisturbed: &Undisturbed, interposer: Option<&Interposer>) -> String {
    let (site, mut kills) = (Site::new(), 0);
    while kills < KILLS {
        let command = *draw.one_of(&COMMANDS);
        let killed = match interposer {
            Some(interposer) if draw.below(2) == 0 => kill_at_a_call(draw, &site, command, interposer),
            _ => kill_at_a_moment(draw, &site, command, undisturbed.duration),
        };
        kills += usize::from(killed);
        draw.tell(format!("{command}: {}", if killed { "killed" } else { "over before" }));
        if EXPORTS.contains(&command) {
            undisturbed.exported_whole(command, &site, None);
        }
    }
    site.ends_like(undisturbed);
    site.computed_once();
    // Nobody else may remove a file beside the results or an export: its process may be alive.
    site.is_clean(Left::Temporary);
    format!("resumed after {KILLS} kills")
}

#[test]
fn a_command_that_is_killed_at_any_moment_goes_on() {
    let interposer = Interposer::new();
    let undisturbed = Undisturbed::new();
    each("kills", 2, 30, |draw| case(draw, &undisturbed, interposer.as_ref()));
}
