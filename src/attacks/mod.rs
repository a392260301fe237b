//! Attacks: what is stamped on images, which images are stamped, and the label that they get.
//!
//! An attack draws its [`Trigger`] once; the trigger is stored and never redrawn at evaluation. Nothing here trains a
//! network, reads a file or a manifest, or knows a stage. A new attack is one file and one line in the registry below.
//! It also needs a new one of the [`operators`] if none of them makes its change of pixels.

mod badnets;
mod blend;
mod bpp;
mod case;
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
mod trigger;
mod trojan;
mod trojan_nn;
mod wanet;

use std::path::Path;

pub use case::Case;
pub use error::AttackError;
pub use operators::Operator;
pub use poison::{Poisoned, poison};
pub use poisoning::{Poisoning, RateOf, Rule};
pub use quirks::Quirks;
pub use trigger::{LabelRule, Trigger};

use crate::data::{Images, InvalidParam};
use crate::methods::{Beside, With, registry};

/// An attack with its own parameters.
pub trait Attack {
    /// The default choice of the images to poison.
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

    /// Whether it needs a model that has learned the data set.
    fn needs_model(&self) -> bool {
        false
    }

    /// The image file, or the folder of image files, for its trigger. The trigger depends on its content, not on its
    /// name: path fields are not serialized.
    fn pictures(&self) -> Option<&Path> {
        None
    }

    /// Draws the trigger's operator.
    ///
    /// # Errors
    /// If it does not fit the images, or the model cannot be used.
    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError>;

    /// Draws the operator for training images, if it differs from the one for evaluation.
    ///
    /// # Errors
    /// Those of [`Attack::operator`].
    fn training_operator(&self, _task: &Case<'_>) -> Result<Option<Operator>, AttackError> {
        Ok(None)
    }

    /// Copies the training images at `victims`, prepared for the stamp. Most attacks leave them unchanged.
    ///
    /// # Errors
    /// If the model cannot be used.
    fn prepare(&self, case: &Case<'_>, victims: &[u32]) -> Result<Images, AttackError> {
        Ok(case.dataset.train.select(victims))
    }

    /// More training images that are changed and keep their labels; `trigger` is the result of [`Attack::operator`].
    fn covers<'a>(&'a self, _task: &Case<'a>, _trigger: &'a Operator) -> Option<Covers<'a>> {
        None
    }
}

/// Cover images: they teach a network to respond only to the trigger itself.
pub struct Covers<'a> {
    /// The number of cover images per poisoned image.
    pub ratio: f64,
    /// The name of the ratio among the attack's parameters.
    pub parameter: &'static str,
    /// Changes the image at an index of the training images, `[height, width, channels]`.
    pub change: Box<Change<'a>>,
}

/// Changes the image at an index of the training images, `[height, width, channels]`.
pub type Change<'a> = dyn Fn(usize, &mut [u8]) + Sync + 'a;

/// An attack and its choice of the images to poison.
pub type WithPoisoning<A> = With<A, Poisoning>;

impl<A: Attack> Beside<Poisoning> for A {
    fn usual() -> Poisoning {
        A::usual_poisoning()
    }
}

/// An attack in the registry.
pub trait Entry {
    /// The attack.
    fn attack(&self) -> &dyn Attack;
    /// Which images it poisons.
    fn poisoning(&self) -> &Poisoning;
}

impl<A: Attack> Entry for WithPoisoning<A> {
    fn attack(&self) -> &dyn Attack {
        &self.own
    }

    fn poisoning(&self) -> &Poisoning {
        &self.shared
    }
}

impl AnyAttack {
    /// The attack.
    pub fn attack(&self) -> &dyn Attack {
        self.get().attack()
    }

    /// Which images it poisons.
    pub fn poisoning(&self) -> &Poisoning {
        self.get().poisoning()
    }
}

registry! {
    /// A registered attack with its parameters, chosen by `attack`.
    enum AnyAttack<WithPoisoning> by "attack" as Entry;

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

#[cfg(test)]
mod tests;
