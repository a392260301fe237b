//! The shape of an image, and of the activations of a network.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most values of an image that is read from a file, and of each of its sides: more than any image of a data set has, and
/// far from overflow in the shapes and lengths that follow from it.
const MAX_LEN: usize = 1 << 28;

/// Height, width and channels. Values are stored in this order; the channels of a pixel are adjacent.
///
/// A shape from a file is checked: it is made by `Shape::try_from`, which is also how it is deserialized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, the fastest-varying dimension.
    pub channels: usize,
}

impl Shape {
    /// Number of values.
    pub fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the number of values is 0.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// A shape of more values than any image has.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("images of {}x{}x{} values are too large", .0[0], .0[1], .0[2])]
pub struct TooLarge([usize; 3]);

impl TryFrom<[usize; 3]> for Shape {
    type Error = TooLarge;

    /// Height, width, channels.
    fn try_from(sides: [usize; 3]) -> Result<Self, TooLarge> {
        // A side of 0 must not hide another one that is too large.
        let len = sides.iter().try_fold(1usize, |len, &side| len.checked_mul(side.max(1)));
        let [height, width, channels] = sides;
        len.filter(|len| *len <= MAX_LEN).map(|_| Self { height, width, channels }).ok_or(TooLarge(sides))
    }
}

/// A shape as it is in a file.
#[derive(Deserialize)]
struct Unchecked {
    height: usize,
    width: usize,
    channels: usize,
}

impl TryFrom<Unchecked> for Shape {
    type Error = TooLarge;

    fn try_from(Unchecked { height, width, channels }: Unchecked) -> Result<Self, TooLarge> {
        [height, width, channels].try_into()
    }
}

impl From<Shape> for [usize; 3] {
    fn from(Shape { height, width, channels }: Shape) -> Self {
        [height, width, channels]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Artifacts hold shapes as JSON: neither the names nor their order may change.
    #[test]
    fn text_and_json_of_a_shape_are_fixed() {
        let shape = Shape { height: 4, width: 3, channels: 2 };
        assert_eq!((shape.len(), shape.to_string().as_str()), (24, "4x3x2"));
        let json = r#"{"height":4,"width":3,"channels":2}"#;
        assert_eq!(serde_json::to_string(&shape).unwrap(), json);
        assert_eq!(serde_json::from_str::<Shape>(json).unwrap(), shape);
        assert_eq!(Shape::try_from(<[usize; 3]>::from(shape)).unwrap(), shape);
    }

    #[test]
    fn a_shape_whose_length_could_overflow_is_refused() {
        for sides in [[usize::MAX, 2, 1], [0, usize::MAX, 2], [1 << 22, 1 << 22, 3], [1, 1, usize::MAX]] {
            let message = Shape::try_from(sides).unwrap_err().to_string();
            assert!(message.ends_with("values are too large"), "{message}");
        }
        let json = r#"{"height":4294967296,"width":4294967296,"channels":2}"#;
        assert!(serde_json::from_str::<Shape>(json).is_err());
        assert_eq!(Shape::try_from([1 << 14, 1 << 14, 1]).unwrap().len(), 1 << 28);
    }
}
