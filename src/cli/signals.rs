//! Ctrl-C and SIGTERM: the first asks the run to stop, the second ends the program. SIGXFSZ ends nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::Exit;
use super::error::CliError;

/// Returns a flag that the first SIGINT or SIGTERM sets; another one then ends the program where it is, which the
/// store is built to survive.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
        // In this order: the first signal finds the flag unset, passes, and sets it.
        flag::register_conditional_shutdown(signal, exit as i32, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| CliError::Setup(error.to_string()))?;
    }
    Ok(stop)
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) an error that is told, like that of a full disk;
/// the signal that comes with it would end the program without a word.
pub(super) fn survive_file_size_limit() -> Result<(), CliError> {
    let seen = flag::register(SIGXFSZ, Arc::default());
    seen.map(drop).map_err(|error| CliError::Setup(error.to_string()))
}
