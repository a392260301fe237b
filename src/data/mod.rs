//! Images with labels: data sets and their readers, splits, augmentation and batches.
//!
//! Pixels are `u8` in NHWC order from the reader to the batch; a batch is `f32` in [0, 1], and gives the input tensor
//! of a network. Nothing here knows networks, stages or manifests. The artifacts of this module are safetensors files with
//! deterministic bytes.

mod augment;
mod batches;
mod class_list;
mod error;
pub mod fetch;
mod images;
mod overlay;
pub mod readers;
mod split;
mod view;

pub use augment::{Augment, to_unit};
pub use batches::{Batch, Batches, Order, Prefetched};
pub use class_list::ClassList;
pub use error::{DataError, InvalidParam};
pub use images::{Dataset, Images};
pub use overlay::Overlay;
pub use split::{Split, load_indices, save_indices};
pub use view::{Samples, TrainView};
