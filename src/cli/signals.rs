//! Signals. Ctrl-C and SIGTERM: the first stops the run, the second ends the program. SIGHUP stops the run. SIGXFSZ is
//! ignored.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use super::Exit;
use super::error::CliError;

/// Returns a flag that the first SIGINT, SIGTERM or SIGHUP sets. A second SIGINT or SIGTERM ends the program at once; the
/// store survives this.
///
/// A terminal that closes sends SIGHUP, often more than once: from the kernel and from the shell. So a second one does
/// nothing. `nohup` lets the program ignore SIGHUP, and that stays so.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    let register = || -> io::Result<()> {
        for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
            // The order matters: the first signal must find the flag unset, and then set it.
            flag::register_conditional_shutdown(signal, exit as i32, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        if !is_ignored(SIGHUP) {
            flag::register(SIGHUP, Arc::clone(&stop))?;
        }
        Ok(())
    };
    register().map_err(|error| CliError::Setup(error.to_string()))?;
    Ok(stop)
}

/// Whether the process ignores a signal: proc(5) has the set of ignored ones, in hexadecimal.
fn is_ignored(signal: c_int) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> (signal - 1) & 1 == 1)
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) an ordinary error, like a full disk. Its signal
/// would end the program without a message.
pub(super) fn survive_file_size_limit() -> Result<(), CliError> {
    let seen = flag::register(SIGXFSZ, Arc::default());
    seen.map(drop).map_err(|error| CliError::Setup(error.to_string()))
}
