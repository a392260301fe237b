//! The program as its users meet it: whole processes, their output and their exit codes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
mod cache;
mod data;
mod editors;
mod executors;
mod faults;
mod inside;
mod kills;
mod models;
mod parts;
mod provenance;
mod results;
mod runs;
mod sharing;
mod status;
mod time;
mod warnings;
mod words;
#[path = "../support/workspace.rs"]
mod workspace;
