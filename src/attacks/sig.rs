//! SIG (Barni et al. 2019): a sine along the rows, on images of the target class, which keep their label.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Add, Blend, Overflow};
use super::{Attack, AttackError, Case, Operator, Poisoning, Quirks};

/// SIG: x' = clip(x + delta sin(2 pi j frequency / width)) for column j, rounded toward zero, on images of the target
/// class, which keep their label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sig {
    /// `argd`: the ARGD repository's variant x' = 0.8 x + 0.2 m, with m = 20 sin(0.8 j) truncated and wrapped to
    /// bytes. Then `delta` and `frequency` have no effect.
    pub quirks: Option<Quirks>,
    /// The amplitude of the sine in gray levels. BackdoorBench uses 40; NAD describes 20.
    #[schemars(range(min = 1.0, max = 255.0))]
    pub delta: f64,
    /// The number of periods of the sine over the width of an image.
    #[schemars(range(max = 4096.0), extend("exclusiveMinimum" = 0.0))]
    pub frequency: f64,
}

impl Default for Sig {
    fn default() -> Self {
        Self { quirks: None, delta: 40.0, frequency: 6.0 }
    }
}

impl Attack for Sig {
    fn usual_poisoning() -> Poisoning {
        Poisoning::clean_label(1.0)
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let shape = case.shape();
        let column = |value: usize| value / shape.channels % shape.width;
        Ok(match self.quirks {
            None => {
                let delta = (0..shape.len()).map(|i| self.sine(column(i), shape.width)).collect();
                Add { delta, overflow: Overflow::Clip }.into()
            }
            Some(Quirks::Argd) => {
                let wrapped = |j: usize| (20.0 * libm::sin(0.8 * j as f64)) as i32 as u8;
                let pattern = (0..shape.len()).map(|i| wrapped(column(i))).collect();
                Blend { mask: vec![0.2; shape.len()], pattern }.into()
            }
        })
    }
}

impl Sig {
    /// The value that is added to column `j`, rounded to 1/4096. Without that, sin(6 pi) is -1e-14 in floats, and the
    /// pixel 100 becomes 99.
    fn sine(&self, j: usize, width: usize) -> f32 {
        let value = self.delta * libm::sin(TAU * j as f64 * self.frequency / width as f64);
        (libm::round(value * 4096.0) / 4096.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{CIFAR, stamped_grey};
    use super::*;

    /// A row of a gray image stamped by `attack`; all rows and channels are equal.
    fn row(attack: &Sig) -> Vec<u8> {
        let image = stamped_grey(attack, CIFAR);
        assert!(image.chunks(32 * 3).all(|row| row == &image[..32 * 3]));
        assert!(image.chunks(3).all(|pixel| pixel == [pixel[0]; 3]));
        image[..32 * 3].iter().step_by(3).copied().collect()
    }

    /// NumPy gives 99 in column 16 (see `Sig::sine`); all others agree.
    #[test]
    fn golden_vectors_of_the_sine() {
        let half_40 = [100, 136, 128, 84, 60, 84, 128, 136, 100, 63, 71, 115, 140, 115, 71, 63];
        let half_20 = [100, 118, 114, 92, 80, 92, 114, 118, 100, 81, 85, 107, 120, 107, 85, 81];
        assert_eq!(row(&Sig::default()), half_40.repeat(2));
        assert_eq!(row(&Sig { delta: 20.0, ..Sig::default() }), half_20.repeat(2));
    }

    #[test]
    fn golden_vector_of_the_repository() {
        let expected = [
            80, 82, 83, 82, 131, 128, 127, 128, 80, 83, 83, 82, 130, 128, 127, 129, 80, 83, 83, 81, 130, 127,
            127, 129, 81, 83, 83, 81, 129, 127, 127, 130,
        ];
        assert_eq!(row(&Sig { quirks: Some(Quirks::Argd), ..Sig::default() }), expected);
    }
}
