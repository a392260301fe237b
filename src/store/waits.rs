//! Waits for locks that other processes hold. A wait that takes long is reported, and the watch of the store ends it.

use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;
use super::flock::Wait;
use super::hashing::Watched;

/// A wait is reported after this time.
const LONG: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// Tries `attempt` until it gives something. `wait` says what it waits for.
///
/// # Errors
/// If an attempt fails, or the watch stops the store ([`StoreError::Stopped`]).
pub(super) fn until<T>(
    watched: &Watched,
    wait: impl Fn() -> Wait,
    mut attempt: impl FnMut() -> Result<Option<T>, StoreError>,
) -> Result<T, StoreError> {
    let (begun, [mut pause, longest], mut reported) = (Instant::now(), PAUSES, false);
    loop {
        if let Some(got) = attempt()? {
            return Ok(got);
        }
        watched.check()?;
        if !reported && begun.elapsed() >= LONG {
            watched.waits(&wait());
            reported = true;
        }
        thread::sleep(pause);
        pause = longest.min(pause * 2);
    }
}
