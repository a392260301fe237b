//! A crowd: several processes run one manifest in one cache, beside collections and verifications. Each task is computed
//! once, and all end alike.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::cases::{each, long};
use super::site::{Left, RUN, Site, TASKS, Undisturbed, end_of};

/// Sets a flag when it is dropped, also by a panic.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn case(undisturbed: &Undisturbed) -> String {
    let processes = if long() { 6 } else { 4 };
    let (site, over) = (Site::new(), AtomicBool::new(false));
    let repeat = |command: &str| {
        let mut times = 0;
        while !over.load(Ordering::Relaxed) {
            site.run(command).with(0, &[]);
            times += 1;
        }
        times
    };
    let start = |_| site.command(RUN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (ran, beside) = thread::scope(|scope| {
        let beside = ["cache gc", "cache verify"].map(|command| scope.spawn(move || repeat(command)));
        let set_over = SetAtEnd(&over);
        let running: Vec<Child> = (0..processes).map(start).collect();
        // They write to pipes that nobody reads before their turn, but never more than a pipe holds.
        let ended = running.into_iter().map(|child| end_of(child, RUN).with(0, &["wrote 2 rows to"]));
        let ran: usize = ended.map(|ended| ended.stderr.matches(" finished ").count()).sum();
        drop(set_over);
        (ran, beside.map(|thread| thread.join().unwrap()))
    });
    assert_eq!(ran, TASKS, "every task is computed once by {processes} processes");
    assert!(beside.iter().all(|times| *times > 0));
    site.ends_like(undisturbed);
    site.computed_once();
    site.is_clean(Left::Nothing);
    format!("{processes} processes")
}

#[test]
fn each_task_is_computed_once_by_a_crowd() {
    let undisturbed = Undisturbed::new();
    each("crowd", 1, 20, |_| case(&undisturbed));
}
