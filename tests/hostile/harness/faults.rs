//! Single faults: a call of the system fails once, or from then on. The command reports it or gets along without, what it
//! reports as done is right, and the next run ends as if nothing had happened.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;

use rustix::io::Errno;

use super::cases::{Draw, each};
use super::interposer::{FAMILIES, Fault, How, Interposer};
use super::site::{EXPORTS, Left, RUN, Site, Undisturbed, ended};

/// What a command finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Start {
    /// No cache.
    Empty,
    /// A killed run: finished tasks, two checkpoints of one that is not, and a work folder.
    Stopped,
    /// All results.
    Done,
}

/// Commands and where they start. Those that compute most come most often.
const COMMANDS: [(Start, &str); 20] = [
    (Start::Empty, RUN),
    (Start::Empty, RUN),
    (Start::Empty, RUN),
    (Start::Stopped, RUN),
    (Start::Stopped, RUN),
    (Start::Stopped, RUN),
    (Start::Done, RUN),
    (Start::Done, "run tiny.yaml --lock"),
    (Start::Done, "results tiny.yaml"),
    (Start::Done, "status tiny.yaml"),
    (Start::Stopped, "plan tiny.yaml"),
    (Start::Done, "cache ls"),
    (Start::Done, "cache verify"),
    (Start::Stopped, "cache verify"),
    (Start::Done, "cache gc"),
    (Start::Stopped, "cache gc"),
    (Start::Done, EXPORTS[0]),
    (Start::Done, EXPORTS[1]),
    (Start::Done, EXPORTS[2]),
    (Start::Done, EXPORTS[3]),
];

/// The exit codes of commands that failed: a stage, results, the cache, an input.
const FAILED: [i32; 6] = [2, 3, 4, 5, 6, 66];

/// What the cases start from.
struct Bench {
    interposer: Interposer,
    undisturbed: Undisturbed,
    stopped: Site,
    /// The calls of each command when nothing fails.
    calls: RefCell<HashMap<(Start, &'static str), [u64; FAMILIES.len()]>>,
}

impl Bench {
    fn new(interposer: Interposer) -> Self {
        let stopped = Site::new();
        interposer.kill_while_training(&stopped);
        Self { interposer, undisturbed: Undisturbed::new(), stopped, calls: RefCell::default() }
    }

    fn site(&self, start: Start) -> Site {
        match start {
            Start::Empty => Site::new(),
            Start::Stopped => self.stopped.copy(),
            Start::Done => self.undisturbed.site.copy(),
        }
    }

    /// The calls of a command when nothing fails, by family.
    fn calls(&self, start: Start, command: &'static str) -> [u64; FAMILIES.len()] {
        *self.calls.borrow_mut().entry((start, command)).or_insert_with(|| {
            let site = self.site(start);
            let mut program = site.command(command);
            let counts = self.interposer.load(&mut program, site.0.root(), None);
            ended(program, command).with(0, &[]);
            counts.calls()
        })
    }

    /// Draws a fault that a command meets.
    fn fault(&self, draw: &mut Draw, start: Start, command: &'static str) -> Fault {
        let calls = self.calls(start, command);
        let used: Vec<usize> = (0..FAMILIES.len()).filter(|family| calls[*family] > 0).collect();
        let family = *draw.one_of(&used);
        let at = 1 + draw.below(calls[family] as usize) as u64;
        let mut how = *draw.one_of(FAMILIES[family].1);
        // A disk that is full stays full, and a limit on open files holds for a while.
        let lasting = draw.below(4) == 0 && !matches!(how, How::Error(Errno::INTR) | How::Half);
        if lasting && family == 2 {
            how = How::Error(Errno::NOSPC);
        }
        let times = if lasting { 1 + draw.below(20) as u64 } else { 1 };
        Fault { family, at, times, how, matching: "" }
    }

    fn case(&self, draw: &mut Draw) -> String {
        let (start, command) = *draw.one_of(&COMMANDS);
        let fault = self.fault(draw, start, command);
        let site = self.site(start);
        let mut program = site.command(command);
        let counts = self.interposer.load(&mut program, site.0.root(), Some(&fault));
        let ended = ended(program, command);
        draw.tell(format!("{command} ({start:?}), {:?} x{}: {:?}", fault.how, fault.times, counts.fault()));
        draw.tell(ended.all());

        let Some(code) = ended.code else { panic!("a signal ended it") };
        assert!(code == 0 || FAILED.contains(&code), "exit code {code}");
        if code == 0 && (command.starts_with("run") || command.starts_with("results")) {
            assert_eq!(site.0.csv(), self.undisturbed.csv, "the table of a run that says it is done");
        }
        let damaged = ended.stderr.contains("damaged") || command == "cache verify" && code == 6;
        let _ = fs::remove_file(site.0.path("results/tiny.lock"));
        let next = site.ends_like(&self.undisturbed);
        if EXPORTS.contains(&command) {
            self.undisturbed.exported_whole(command, &site, ended.code);
        }
        if !damaged && !next.stderr.contains("damaged") {
            site.computed_once();
        }
        // A fault that lasts can also hit what removes the temporary files.
        let cannot_remove = FAMILIES[fault.family].0 == "unlink" || fault.times > 1;
        site.is_clean(if cannot_remove { Left::Temporary } else { Left::Nothing });
        let met = if counts.fault().is_some() { "" } else { ", fault not met" };
        format!("exit code {code}{met}")
    }
}

#[test]
fn a_call_that_fails_costs_at_most_its_task() {
    let Some(interposer) = Interposer::new() else { return };
    let bench = Bench::new(interposer);
    each("faults", 20, 600, |draw| bench.case(draw));
}
