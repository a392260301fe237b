//! The program as its users meet it: whole processes, their output and their exit codes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
mod inside;
mod kills;
mod models;
mod parts;
mod results;
mod runs;
mod status;
mod workspace;
