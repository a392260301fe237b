//! The threads of the process: how many a run uses, and those that hash files and decode images in every command.

use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rayon::{ThreadBuilder, ThreadPoolBuilder};

use super::error::CliError;
use super::ui::{Ui, format};

/// The most threads per core. More cost memory and time, and nobody wants them.
const PER_CORE: usize = 32;

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Reads a number of tasks or threads.
pub(super) fn positive(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<usize>() {
        Ok(number) => {
            NonZeroUsize::new(number).ok_or_else(|| "nothing would run; write 1 or more".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The number of threads of a run: one per core, or the wanted number. Reports a number that makes the run slower.
pub(super) fn of_run(wanted: Option<NonZeroUsize>, ui: &Ui) -> usize {
    let cores = cores();
    let wanted = wanted.map_or(cores, NonZeroUsize::get);
    let most = cores.saturating_mul(PER_CORE);
    let on = format::count(cores, "core");
    if wanted > most {
        ui.say(&format!("warning: {wanted} threads on {on}: using {most}, the limit of {PER_CORE} per core"));
    } else if wanted > cores {
        ui.say(&format!("warning: {wanted} threads on {on}: more threads than cores make a run slower"));
    }
    wanted.min(most)
}

/// Starts the threads that hash files and decode images.
pub(super) fn start(threads: usize) -> Result<(), CliError> {
    let mut idle = Idle::start(threads);
    match idle.refused.take() {
        Some(source) => Err(CliError::Threads { threads, source }),
        None => idle.into_pool(),
    }
}

/// Starts as many of these threads as the system permits, up to one per core. A command without any works on the main
/// thread.
pub(super) fn start_available() -> Result<(), CliError> {
    Idle::start(cores()).into_pool()
}

/// Threads that wait for their work.
///
/// rayon starts its global threads once in a process, and panics at their first use if it could not. So they are started
/// before rayon decides how many there are.
struct Idle {
    count: usize,
    work: Sender<ThreadBuilder>,
    /// Why there are fewer than wanted.
    refused: Option<io::Error>,
}

impl Idle {
    fn start(threads: usize) -> Self {
        let (work, receiver) = mpsc::channel::<ThreadBuilder>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut idle = Self { count: 0, work, refused: None };
        while idle.count < threads && idle.refused.is_none() {
            let receiver = Arc::clone(&receiver);
            let wait = move || {
                let work = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                // Without a pool there is no work.
                work.into_iter().for_each(ThreadBuilder::run);
            };
            match thread::Builder::new().spawn(wait) {
                Ok(_) => idle.count += 1,
                Err(error) => idle.refused = Some(error),
            }
        }
        idle
    }

    fn into_pool(self) -> Result<(), CliError> {
        let give = |thread| self.work.send(thread).map_err(|_| io::Error::other("a thread has ended"));
        let pool = ThreadPoolBuilder::new();
        let built = match self.count {
            0 => pool.num_threads(1).use_current_thread().build_global(),
            count => pool.num_threads(count).spawn_handler(give).build_global(),
        };
        built.map_err(|error| CliError::Setup(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tasks_at_once_are_no_run() {
        assert_eq!(positive("3").map(NonZeroUsize::get), Ok(3));
        assert_eq!(positive("0"), Err("nothing would run; write 1 or more".to_owned()));
        assert!(positive("-1").is_err() && positive("many").is_err() && positive("").is_err());
    }
}
