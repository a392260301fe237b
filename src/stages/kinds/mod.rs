//! The registry of stage kinds: one thin file each. Shared code is in the parent folder.

pub(super) mod checkpoint;
pub(super) mod dataset;
pub(super) mod detect;
pub(super) mod erase;
pub(super) mod evaluate;
pub(super) mod finetune;
pub(super) mod point;
pub(super) mod poison;
pub(super) mod split;
pub(super) mod train;

use super::Stage;
use super::kind::boxed;

/// Every stage kind.
pub fn all() -> Vec<Box<dyn Stage>> {
    vec![
        boxed::<dataset::DatasetStage>(),
        boxed::<checkpoint::CheckpointStage>(),
        boxed::<poison::PoisonStage>(),
        boxed::<split::SplitStage>(),
        boxed::<train::TrainStage>(),
        boxed::<finetune::FinetuneStage>(),
        boxed::<erase::EraseStage>(),
        boxed::<point::PointStage>(),
        boxed::<evaluate::EvaluateStage>(),
        boxed::<detect::DetectStage>(),
    ]
}
