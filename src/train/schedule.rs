//! Learning rates by epoch.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A learning rate and its first epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The first epoch, counted from 0.
    pub epoch: usize,
    /// The learning rate from there to the next piece.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
}

/// Learning rates by epoch: pieces in the order of their epochs, the first from epoch 0. In a manifest, one number is
/// the rate of all epochs. It is always written as pieces, so that keys do not depend on the form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Schedule(Vec<Piece>);

/// The two forms of a schedule.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Constant(f64),
    Pieces(Vec<Piece>),
}

impl From<Written> for Schedule {
    fn from(written: Written) -> Self {
        match written {
            Written::Constant(lr) => Self::steps(&[(0, lr)]),
            Written::Pieces(pieces) => Self(pieces),
        }
    }
}

impl JsonSchema for Schedule {
    fn schema_name() -> Cow<'static, str> {
        "Schedule".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pieces = generator.subschema_for::<Vec<Piece>>();
        json_schema!({
            "description": "Learning rates by epoch, such as `[{epoch: 0, lr: 0.1}, {epoch: 6, lr: 0.01}]`; or one \
                            number, the rate of all epochs.",
            "anyOf": [{"type": "number", "minimum": 0.0}, {"allOf": [pieces], "minItems": 1}],
        })
    }
}

impl Schedule {
    /// Makes a schedule from (first epoch, learning rate) pairs.
    pub fn steps(pieces: &[(usize, f64)]) -> Self {
        Self(pieces.iter().map(|&(epoch, lr)| Piece { epoch, lr }).collect())
    }

    /// Makes a schedule with a separate learning rate for each epoch.
    pub fn by_epoch(epochs: usize, lr: impl Fn(usize) -> f64) -> Self {
        Self((0..epochs).map(|epoch| Piece { epoch, lr: lr(epoch) }).collect())
    }

    /// The learning rate of an epoch, counted from 0. Before the first piece, it is that of the first piece.
    pub fn lr(&self, epoch: usize) -> f32 {
        let piece = self.0.iter().rev().find(|piece| piece.epoch <= epoch).or(self.0.first());
        piece.map_or(0.0, |piece| piece.lr as f32)
    }

    /// Checks the pieces. The error is the position of the wrong piece, and the problem.
    pub fn check(&self) -> Result<(), (usize, String)> {
        match self.0.first() {
            None => return Err((0, "has no learning rate; add at least {epoch: 0, lr: ...}".into())),
            Some(first) if first.epoch != 0 => {
                return Err((
                    0,
                    format!("starts at epoch {}; the first piece must start at epoch 0", first.epoch),
                ));
            }
            Some(_) => {}
        }
        if let Some(i) = self.0.windows(2).position(|pair| pair[0].epoch >= pair[1].epoch) {
            return Err((i + 1, "does not start after the previous piece; sort the pieces by epoch".into()));
        }
        match self.0.iter().position(|piece| !(piece.lr.is_finite() && piece.lr >= 0.0)) {
            Some(i) => Err((i, "has a learning rate that is not a finite number of at least 0".into())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_the_rate_of_the_last_piece_begun() {
        let schedule = Schedule::steps(&[(0, 0.1), (3, 0.01), (6, 0.001)]);
        assert_eq!([0, 2, 3, 5, 6, 99].map(|epoch| schedule.lr(epoch)), [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]);
    }

    #[test]
    fn a_number_is_the_rate_of_all_epochs_and_written_as_a_piece() {
        let read = |text: &str| serde_json::from_str::<Schedule>(text).unwrap();
        for (number, pieces) in [("0.1", r#"[{"epoch": 0, "lr": 0.1}]"#), ("1", r#"[{"epoch": 0, "lr": 1}]"#)]
        {
            let written = [number, pieces].map(|text| serde_json::to_string(&read(text)).unwrap());
            assert_eq!(written[0], written[1]);
            assert!(written[0].starts_with(r#"[{"epoch":0,"lr":"#), "{}", written[0]);
        }
        assert_eq!(read("0.1").lr(99), 0.1);
        assert!(serde_json::from_str::<Schedule>("-1").unwrap().check().is_err());
    }

    #[test]
    fn each_epoch_can_have_a_rate_of_its_own() {
        let schedule = Schedule::by_epoch(3, |epoch| 1.0 / (1 << epoch) as f64);
        assert_eq!([0, 1, 2].map(|epoch| schedule.lr(epoch)), [1.0, 0.5, 0.25]);
        assert!(schedule.check().is_ok());
    }

    #[test]
    fn pieces_out_of_order_are_refused_by_position() {
        assert!(Schedule::steps(&[(0, 0.1), (5, 0.2)]).check().is_ok());
        let position = |pieces: &[(usize, f64)]| Schedule::steps(pieces).check().unwrap_err().0;
        assert_eq!(position(&[]), 0);
        assert_eq!(position(&[(1, 0.1)]), 0);
        assert_eq!(position(&[(0, 0.1), (4, 0.1), (4, 0.2)]), 2);
        assert_eq!(position(&[(0, 0.1), (4, f64::NAN)]), 1);
    }
}
