//! Ctrl-C and SIGTERM: the first stops the run, the second ends the program. SIGXFSZ is ignored.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::Exit;
use super::error::CliError;

/// Returns a flag that the first SIGINT or SIGTERM sets. A second one ends the program at once; the store survives this.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
        // The order matters: the first signal must find the flag unset, and then set it.
        flag::register_conditional_shutdown(signal, exit as i32, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| CliError::Setup(error.to_string()))?;
    }
    Ok(stop)
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) an ordinary error, like a full disk. Its signal
/// would end the program without a message.
pub(super) fn survive_file_size_limit() -> Result<(), CliError> {
    let seen = flag::register(SIGXFSZ, Arc::default());
    seen.map(drop).map_err(|error| CliError::Setup(error.to_string()))
}
