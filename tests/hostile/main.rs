//! What a hostile or unlucky surrounding does to the program: foreign caches and repositories, files that change, disks
//! that fill. Each test failed before its fix. Whole processes; sizes are scaled down.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod damage;
mod exports;
mod harness;
mod links;
mod names;
mod readers;
mod servers;
mod sources;
#[allow(dead_code, unused_macros, unused_imports, reason = "not every test binary uses all of it")]
#[path = "../support/workspace.rs"]
mod workspace;
