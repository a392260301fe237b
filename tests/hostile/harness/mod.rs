//! Endurance: kills, single faults, corruptions and crowds. After each of them the same command ends as if nothing had
//! happened: nothing is lost, nothing panics, and every key is computed once.
//!
//! The suite runs a short form of each part, always the same one. The long form draws new cases and takes about half an
//! hour on two cores:
//!
//! ```sh
//! ARGD_PIPE_ENDURANCE=1 cargo test --release --test hostile harness -- --nocapture
//! ```
//!
//! A failed case prints the variables that repeat it.

mod cases;
mod corruptions;
mod crowd;
mod faults;
mod interposer;
mod kills;
mod site;
