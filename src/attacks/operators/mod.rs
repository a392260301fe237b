//! Operators: how a trigger changes the pixels of an image, with all numbers that this needs.
//!
//! An operator is drawn once and stored. Its draws for an image depend only on its stored seed and the image's index.
//! It knows no labels and no attack. A new operator is one file and one line in the registry below.

mod add;
mod blend;
mod noise;
mod quantise;
mod reflect;
mod warp;

use serde::{Deserialize, Serialize};

use crate::files::tensors::{NamedTensor, TensorError, TensorFile};
use crate::shape::Shape;

pub use add::Overflow;

/// The change that an operator makes, and its storage: numbers by serde, tensors by [`Operate::tensors`].
pub trait Operate {
    /// Checks that it fits images of `shape`.
    ///
    /// # Errors
    /// The problem, as a continuation of "the trigger".
    fn check(&self, shape: Shape) -> Result<(), &'static str>;

    /// Changes the image at `index` of its data set; `pixels` is `[height, width, channels]` of the checked shape. The
    /// same index always gets the same change.
    fn apply(&self, shape: Shape, index: usize, pixels: &mut [u8]);

    /// Its tensors, for a file.
    fn tensors(&self, _shape: Shape) -> Vec<NamedTensor<'_>> {
        vec![]
    }

    /// Reads its tensors from the file.
    ///
    /// # Errors
    /// If the file lacks one, or cannot be read.
    fn read_tensors(&mut self, _file: &mut TensorFile) -> Result<(), TensorError> {
        Ok(())
    }
}

macro_rules! registry {
    ($($name:literal => $module:ident::$Kind:ident,)*) => {
        $(pub use $module::$Kind;)*

        /// An operator of any kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        #[expect(missing_docs, reason = "a variant is documented by its struct")]
        pub enum Operator {
            $(#[serde(rename = $name)] $Kind($Kind),)*
        }

        $(impl From<$Kind> for Operator {
            fn from(operator: $Kind) -> Self {
                Self::$Kind(operator)
            }
        })*

        impl Operator {
            /// The operator.
            pub fn get(&self) -> &dyn Operate {
                match self {
                    $(Self::$Kind(operator) => operator,)*
                }
            }

            /// The operator, to be filled from a file.
            pub(super) fn get_mut(&mut self) -> &mut dyn Operate {
                match self {
                    $(Self::$Kind(operator) => operator,)*
                }
            }
        }
    };
}

registry! {
    "blend" => blend::Blend,
    "add" => add::Add,
    "noise" => noise::Noise,
    "warp" => warp::Warp,
    "quantise" => quantise::Quantise,
    "reflect" => reflect::Reflect,
}

const WRONG_SHAPE: &str = "does not have the shape of its images";
const OUT_OF_RANGE: &str = "has values out of range";

/// Returns the problem unless the condition holds.
fn ensure(so: bool, problem: &'static str) -> Result<(), &'static str> {
    if so { Ok(()) } else { Err(problem) }
}

/// The dimensions of an image's tensor.
fn dims(shape: Shape) -> Vec<usize> {
    vec![shape.height, shape.width, shape.channels]
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SHAPE: Shape = Shape { height: 1, width: 2, channels: 1 };

    /// Two gray pixels after an operator.
    pub(super) fn changed(operator: impl Into<Operator>, mut pixels: [u8; 2]) -> [u8; 2] {
        let operator = operator.into();
        operator.get().check(SHAPE).unwrap();
        operator.get().apply(SHAPE, 0, &mut pixels);
        pixels
    }
}
