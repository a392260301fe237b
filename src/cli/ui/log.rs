//! The program's own log, for `-vv`: to standard error, without breaking the progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::Level;

use super::Verbosity;
use crate::plain;

/// Starts the log of this process. A second call changes nothing.
pub(super) fn start(verbosity: Verbosity, colored: bool, bars: MultiProgress) {
    let level = match verbosity {
        Verbosity::Normal => Level::WARN,
        Verbosity::Notes => Level::INFO,
        Verbosity::Log => Level::DEBUG,
    };
    let above = move || Above { bars: bars.clone(), line: vec![] };
    let log = tracing_subscriber::fmt().with_max_level(level).with_ansi(colored).without_time();
    let _ = log.with_writer(above).try_init();
}

/// Collects a line and writes it above the bars when it is complete.
struct Above {
    bars: MultiProgress,
    line: Vec<u8>,
}

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let line = plain::one_colored_line(line.trim_end());
        self.bars.suspend(|| writeln!(io::stderr(), "{line}"))
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}
