//! The shape of an image, and of the activations of a network.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Height, width and channels. Values are stored in this order; the channels of a pixel are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl From<[usize; 3]> for Shape {
    /// Height, width, channels.
    fn from([height, width, channels]: [usize; 3]) -> Self {
        Self { height, width, channels }
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
        assert_eq!(Shape::from(<[usize; 3]>::from(shape)), shape);
    }
}
