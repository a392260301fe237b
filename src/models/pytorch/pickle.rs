//! Pickles: [`read`] executes nothing that a pickle says.

mod machine;
pub(super) mod opcode;
mod value;

use std::io::Read;

use super::problem::Problem;
use machine::Machine;

pub(super) use value::{Id, Pickle, Value};

/// Reads one pickle and leaves `source` behind its end.
///
/// # Errors
///
/// Anything but a whole pickle of known opcodes and names.
pub(super) fn read(source: impl Read) -> Result<Pickle, Problem> {
    Machine::new(source).run()
}
