//! argd-pipe runs backdoor-defense experiments that a YAML manifest describes.
//!
//! # Stability
//!
//! **The library API is unstable.** It can change in every version. The stable interfaces are the command line, the
//! manifest, and the formats of results, run files, locks and events. Modules are public for three kinds of callers:
//!
//! - The program calls [`cli::main`].
//! - Tests and benches in this repository call any public item.
//! - Programs that only read models, manifests or results can use [`models`] (import and export of checkpoints),
//!   [`manifest`] and [`store`] (reading only). Pin the exact version.
//!
//! # Data flow
//!
//! YAML text -> [`manifest::Manifest`] -> [`pipeline::Plan`] -> (scheduler: inputs ready -> key -> [`store`] hit? ->
//! stage run) -> artifacts -> metrics -> results rows -> CSV. `docs/architecture.md` draws it.
//!
//! Imports point one way: `cli` -> {`report`, `pipeline`} -> {`manifest`, `store`, `stages`} -> {`attacks`, `defenses`} ->
//! `detectors` -> `train` -> {`models`, `data`} -> `nn` -> `kernels`. [`files`], [`shape`], [`rng`]
//! and [`methods`] are the ground floor, for all.

pub mod attacks;
pub mod cli;
pub mod data;
pub mod defenses;
pub mod detectors;
pub mod files;
mod in_order;
pub mod kernels;
pub mod manifest;
pub mod methods;
pub mod models;
pub mod nn;
pub mod pipeline;
mod plain;
pub mod report;
pub mod rng;
pub mod shape;
pub mod stages;
pub mod store;
pub mod train;
