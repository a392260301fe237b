//! The fixed Trojan patch of the ARGD and NAD repositories (after TrojanNN, Liu et al. 2018), added to the picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Add, Overflow};
use super::{Attack, AttackError, Case, Operator, Quirks};
use crate::data::DataError;

/// Trojan: a fixed 3x3 RGB patch is added to the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trojan {
    /// `argd`: a sum above 255 wraps around, as in the ARGD repository, unless `overflow` is given.
    pub quirks: Option<Quirks>,
    /// How a sum above 255 is stored: `clip` sets it to 255, `wrap` subtracts 256. The default is `clip`, or `wrap`
    /// with `quirks: argd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
    /// The first row of the patch.
    #[schemars(range(max = 4096))]
    pub row: u32,
    /// The first column of the patch.
    #[schemars(range(max = 4096))]
    pub col: u32,
}

impl Default for Trojan {
    fn default() -> Self {
        Self { quirks: None, overflow: None, row: 25, col: 25 }
    }
}

const SIDE: usize = 3;

/// The patch, by channel and row.
const PATCH: [[[f32; SIDE]; SIDE]; 3] = [
    [[207.353, 175.356, 29.362], [79.368, 137.374, 248.360], [131.361, 6.360, 246.353]],
    [[131.354, 243.356, 232.362], [8.368, 0.0, 113.361], [40.364, 145.360, 250.354]],
    [[181.345, 120.353, 179.361], [126.363, 32.355, 146.360], [4.362, 61.361, 246.351]],
];

impl Attack for Trojan {
    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let shape = case.shape();
        let (top, left) = (self.row as usize, self.col as usize);
        if top + SIDE > shape.height || left + SIDE > shape.width || shape.channels != PATCH.len() {
            let patch = format!("a 3x3x3 patch at row {top}, column {left}");
            return Err(
                DataError::unfit(format!("{patch} does not fit into images of {shape}"), "move it").into()
            );
        }
        let mut delta = vec![0.0; shape.len()];
        for (channel, rows) in PATCH.iter().enumerate() {
            for (row, values) in rows.iter().enumerate() {
                for (col, &value) in values.iter().enumerate() {
                    delta[((top + row) * shape.width + left + col) * shape.channels + channel] = value;
                }
            }
        }
        Ok(Add { delta, overflow: self.overflow() }.into())
    }
}

impl Trojan {
    fn overflow(&self) -> Overflow {
        let usual = match self.quirks {
            Some(Quirks::Argd) => Overflow::Wrap,
            None => Overflow::Clip,
        };
        self.overflow.unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::case::tests::{CIFAR, operator, stamped_grey};
    use super::*;
    use crate::shape::Shape;

    /// The 9 pixels of the patch on a gray image; all others must be unchanged.
    fn patch(quirks: Option<Quirks>, overflow: Option<Overflow>) -> Vec<[u8; 3]> {
        let image = stamped_grey(&Trojan { quirks, overflow, ..Trojan::default() }, CIFAR);
        let (pixels, _) = image.as_chunks::<3>();
        let inside = |i: usize| (25..28).contains(&(i / 32)) && (25..28).contains(&(i % 32));
        assert!(pixels.iter().enumerate().all(|(i, pixel)| inside(i) || *pixel == [100; 3]));
        pixels.iter().enumerate().filter(|(i, _)| inside(*i)).map(|(_, pixel)| *pixel).collect()
    }

    #[test]
    fn golden_vector() {
        let expected = [
            [255, 231, 255],
            [255, 255, 220],
            [129, 255, 255],
            [179, 108, 226],
            [237, 100, 132],
            [255, 213, 246],
            [231, 140, 104],
            [106, 245, 161],
            [255, 255, 255],
        ];
        assert_eq!(patch(None, None), expected);
    }

    #[test]
    fn golden_vector_of_the_repository() {
        let expected = [
            [51, 231, 25],
            [19, 87, 220],
            [129, 76, 23],
            [179, 108, 226],
            [237, 100, 132],
            [92, 213, 246],
            [231, 140, 104],
            [106, 245, 161],
            [90, 94, 90],
        ];
        assert_eq!(patch(Some(Quirks::Argd), None), expected);
    }

    #[test]
    fn what_a_sum_does_can_be_said_with_and_without_the_repositorys_switch() {
        let (argd, clip, wrap) = (Some(Quirks::Argd), Some(Overflow::Clip), Some(Overflow::Wrap));
        assert_eq!(patch(None, wrap), patch(argd, None));
        assert_eq!(patch(argd, clip), patch(None, None));
        assert_eq!((patch(None, clip), patch(argd, wrap)), (patch(None, None), patch(argd, None)));
        let parsed: Trojan = serde_json::from_value(json!({"overflow": "wrap"})).unwrap();
        assert_eq!(parsed, Trojan { overflow: wrap, ..Trojan::default() });
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        let written = serde_json::to_value(Trojan::default()).unwrap();
        assert_eq!(written, json!({"quirks": null, "row": 25, "col": 25}));
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused() {
        let trojan = Trojan { row: 30, ..Trojan::default() };
        assert!(operator(&trojan, CIFAR, 0).is_err());
        assert!(operator(&Trojan::default(), Shape { channels: 1, ..CIFAR }, 0).is_err());
    }
}
