//! Plays the rest of a run: the same order and the same shares of threads as the scheduler, without its memory budget.

use std::collections::BTreeSet;

use crate::pipeline::plan::{Plan, TaskId};

/// What a task still has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// Nothing.
    None,
    /// It runs and still takes these seconds.
    Running { seconds: f64, threads: usize },
    /// It has not started. It has this work, in thread-seconds.
    Waiting { work: f64 },
}

/// The seconds until all tasks have ended.
pub(super) fn finish(plan: &Plan, jobs: usize, threads: usize, loads: &[Load]) -> f64 {
    let mut play = Play { loads, jobs, threads, now: 0, running: BTreeSet::new(), ready: BTreeSet::new() };
    let open = |id: TaskId| loads[id.0] != Load::None;
    let mut missing: Vec<usize> =
        plan.tasks().map(|task| plan.needs(task.id()).filter(|need| open(*need)).count()).collect();
    for id in (0..plan.len()).map(TaskId) {
        match loads[id.0] {
            Load::Running { seconds, threads } => play.start(id, seconds, threads),
            Load::Waiting { .. } if missing[id.0] == 0 => drop(play.ready.insert(id)),
            Load::Waiting { .. } | Load::None => {}
        }
    }
    loop {
        play.start_all();
        let Some((end, id, _)) = play.running.pop_first() else { return play.now as f64 / 1e6 };
        play.now = end;
        for dependent in plan.dependents(id).filter(|dependent| open(*dependent)) {
            missing[dependent.0] -= 1;
            if missing[dependent.0] == 0 {
                play.ready.insert(dependent);
            }
        }
    }
}

/// The state of the played run.
struct Play<'a> {
    loads: &'a [Load],
    jobs: usize,
    threads: usize,
    /// Microseconds.
    now: u64,
    /// End, task and threads.
    running: BTreeSet<(u64, TaskId, usize)>,
    ready: BTreeSet<TaskId>,
}

impl Play<'_> {
    /// Starts tasks while there is room.
    fn start_all(&mut self) {
        while self.running.len() < self.jobs {
            let Some(id) = self.ready.pop_first() else { return };
            let could_start = (self.jobs - self.running.len()).min(self.ready.len() + 1);
            let taken = self.running.iter().map(|(_, _, threads)| threads).sum();
            let threads = (self.threads.saturating_sub(taken) / could_start).max(1);
            let Load::Waiting { work } = self.loads[id.0] else { continue };
            self.start(id, work / threads as f64, threads);
        }
    }

    fn start(&mut self, id: TaskId, seconds: f64, threads: usize) {
        // Recorded times may be absurd.
        let end = self.now.saturating_add((seconds.max(0.0) * 1e6) as u64);
        self.running.insert((end, id, threads));
    }
}
