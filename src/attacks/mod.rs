//! Attacks: what is stamped on images, which images it goes on and what label they get.
//!
//! An attack draws its [`Trigger`] once; the trigger is stored and never redrawn at evaluation. Nothing here
//! trains, reads a manifest or knows a stage. Adding an attack is a file and a line in the registry below.

mod badnets;
mod blend;
mod poisoning;
mod random_pixel;
mod sig;
mod trigger;
mod trojan;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use poisoning::{Poisoned, Poisoning, RateOf, Rule, poison};
pub use trigger::{LabelRule, Operator, Overflow, Trigger};

use crate::data::{DataError, ImageShape, InvalidParam};

/// An attack with its parameters.
pub trait Attack {
    /// Which images it poisons, and what label they get.
    fn poisoning(&self) -> Poisoning;

    /// Checks what the schema cannot, beyond [`Poisoning::check`]: relations between parameters.
    fn check(&self) -> Vec<InvalidParam> {
        vec![]
    }

    /// Draws what it does to images of this shape.
    ///
    /// # Errors
    /// If the trigger does not fit such images.
    fn operator(&self, shape: ImageShape, seed: u64) -> Result<Operator, DataError>;
}

macro_rules! registry {
    ($($name:literal => $module:ident::$Attack:ident,)*) => {
        $(pub use $module::$Attack;)*

        /// A registered attack with its parameters, chosen by `attack`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "attack")]
        #[expect(missing_docs, reason = "a variant is documented by its parameters, and so is its schema")]
        pub enum AnyAttack {
            $(#[serde(rename = $name)] $Attack($Attack),)*
        }

        impl AnyAttack {
            /// The attack's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Attack(_) => $name,)*
                }
            }

            /// The attack.
            pub fn attack(&self) -> &dyn Attack {
                match self {
                    $(Self::$Attack(attack) => attack,)*
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
}
