//! Attacks: what is stamped on images, which images it goes on and what label they get.
//!
//! An attack draws its [`Trigger`] once; the trigger is stored and never redrawn at evaluation. Nothing here trains a
//! network, reads a file or a manifest, or knows a stage. Adding an attack is a file and a line in the registry below;
//! one that does to pixels what none does yet also needs one of the [`operators`].

mod badnets;
mod blend;
mod bpp;
mod error;
mod ftrojan;
mod gradient;
mod label_consistent;
pub mod operators;
mod poison;
mod poisoning;
mod quirks;
mod random_pixel;
mod refool;
mod sig;
mod task;
mod trigger;
mod trojan;
mod trojan_nn;
mod wanet;
mod with_poisoning;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::AttackError;
pub use operators::Operator;
pub use poison::{Poisoned, poison};
pub use poisoning::{Poisoning, RateOf, Rule};
pub use quirks::Quirks;
pub use task::Task;
pub use trigger::{LabelRule, Trigger};
pub use with_poisoning::WithPoisoning;

use crate::data::{Images, InvalidParam};

/// An attack with its own parameters.
pub trait Attack {
    /// Which images it poisons, where the user does not say.
    fn usual_poisoning() -> Poisoning
    where
        Self: Sized,
    {
        Poisoning::default()
    }

    /// Checks what the schema cannot, beyond [`Poisoning::check`]: relations between parameters.
    fn check(&self) -> Vec<InvalidParam> {
        vec![]
    }

    /// Whether it looks at a model that has learned the data set.
    fn needs_model(&self) -> bool {
        false
    }

    /// The image file, or the folder of such files, that its trigger is made of. Its content determines the trigger,
    /// its name does not: path fields are not serialised.
    fn pictures(&self) -> Option<&Path> {
        None
    }

    /// Draws the trigger's operator.
    ///
    /// # Errors
    /// If it does not fit the images, or the model cannot be used.
    fn operator(&self, task: &Task<'_>) -> Result<Operator, AttackError>;

    /// Draws what training images are stamped with, where that is not what evaluation stamps.
    ///
    /// # Errors
    /// As of [`Attack::operator`].
    fn training_operator(&self, _task: &Task<'_>) -> Result<Option<Operator>, AttackError> {
        Ok(None)
    }

    /// Copies the training images at `victims`, made ready for the stamp: as they are, for most attacks.
    ///
    /// # Errors
    /// If the model cannot be used.
    fn prepare(&self, task: &Task<'_>, victims: &[u32]) -> Result<Images, AttackError> {
        Ok(task.dataset.train.select(victims))
    }

    /// Further training images that are changed and keep their labels; `trigger` is what [`Attack::operator`] drew.
    fn covers<'a>(&'a self, _task: &Task<'a>, _trigger: &'a Operator) -> Option<Covers<'a>> {
        None
    }
}

/// Cover images, which teach a network that only the trigger itself counts.
pub struct Covers<'a> {
    /// Cover images for each poisoned image.
    pub ratio: f64,
    /// What the ratio is called among the attack's parameters.
    pub parameter: &'static str,
    /// Changes the image at an index of the training images, `[height, width, channels]`.
    pub change: Box<Change<'a>>,
}

/// Changes the image at an index of the training images, `[height, width, channels]`.
pub type Change<'a> = dyn Fn(usize, &mut [u8]) + Sync + 'a;

macro_rules! registry {
    ($($name:literal => $module:ident::$Attack:ident,)*) => {
        $(pub use $module::$Attack;)*

        /// A registered attack with its parameters, chosen by `attack`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "attack")]
        #[expect(missing_docs, reason = "a variant is documented by its parameters, and so is its schema")]
        pub enum AnyAttack {
            $(#[serde(rename = $name)] $Attack(WithPoisoning<$Attack>),)*
        }

        impl AnyAttack {
            /// The names of all attacks.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The attack's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Attack(_) => $name,)*
                }
            }

            /// The attack.
            pub fn attack(&self) -> &dyn Attack {
                match self {
                    $(Self::$Attack(attack) => &attack.own,)*
                }
            }

            /// Which images it poisons.
            pub fn poisoning(&self) -> &Poisoning {
                match self {
                    $(Self::$Attack(attack) => &attack.poisoning,)*
                }
            }
        }
    };
}

registry! {
    "badnets" => badnets::BadNets,
    "blend" => blend::Blend,
    "sig" => sig::Sig,
    "trojan" => trojan::Trojan,
    "random-pixel" => random_pixel::RandomPixel,
    "wanet" => wanet::WaNet,
    "bpp" => bpp::Bpp,
    "ftrojan" => ftrojan::FTrojan,
    "refool" => refool::Refool,
    "label-consistent" => label_consistent::LabelConsistent,
    "trojan-nn" => trojan_nn::TrojanNn,
}
