//! The program as its users meet it: whole processes, their output and their exit codes.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod runs;
mod workspace;
