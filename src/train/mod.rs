//! Training and testing: the one training loop, its optimizer and schedule, checkpoints, predictions, metrics.
//!
//! All stages that train use the loop. They differ in their [`Objective`], or in their [`Loss`] if the trained values
//! are not a network's. Nothing here knows stages, manifests or the terminal: an [`Observer`] receives the progress
//! and can stop the work.

mod checkpoint;
mod curve;
mod error;
mod fit;
mod frozen;
mod loss;
mod metrics;
mod objective;
mod observer;
mod predict;
mod schedule;
mod session;
mod sgd;
mod statistics;
mod training;

pub use checkpoint::Reached;
pub use curve::{Curve, CurveForm};
pub use error::TrainError;
pub use fit::{Settings, Trained, Values, descend, fit};
pub use frozen::Frozen;
pub use loss::{Loss, Point, Slope, Supervised};
pub use metrics::{Elsewhere, Rate, Report, Triggered, der};
pub use objective::{CrossEntropy, Objective, Step, Term};
#[cfg(test)]
pub(crate) use observer::SILENT;
pub use observer::{Observer, Progress, Quiet, Silent, Unit};
pub use predict::{PREDICT_BATCH, Stamp, highest, predict, scores};
pub use schedule::{Piece, Schedule};
pub use session::Session;
pub use sgd::Sgd;
pub use statistics::batch_norm_statistics;
pub use training::Training;
