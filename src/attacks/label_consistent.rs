//! Label-consistent attack (Turner et al. 2019): images of the target class keep their label, but are made hard to
//! recognize, so that the network learns the trigger instead.

use candle_core::Tensor;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gradient::gradient;
use super::operators::{Add, Blend, Overflow};
use super::{Attack, AttackError, BadNets, Case, Operator, Poisoning, Quirks};
use crate::data::{Batch, DataError, Images, InvalidParam, to_unit};
use crate::nn::loss::cross_entropy;
use crate::rng::stream;
use crate::shape::Shape;
use crate::train::{Progress, TrainError, Unit};

/// Label-consistent: images of the target class are moved away from their class by projected gradient descent against
/// a clean model, are stamped in all four corners, and keep their label.
///
/// x <- clip(x + step sign(grad_x CE(f(x), y))) within epsilon of the image and 0..=255, from a random start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelConsistent {
    /// The largest change of a value, in gray levels.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub epsilon: f64,
    /// The length of a step, in gray levels.
    #[schemars(range(max = 255.0), extend("exclusiveMinimum" = 0.0))]
    pub step: f64,
    /// The number of steps. On a small network, 10 longer steps are nearly as strong.
    #[schemars(range(max = 10_000))]
    pub steps: usize,
    /// The strength of the trigger on training images. 1 replaces pixels with black and white. A smaller value adds
    /// 255 times itself to the white pixels of the trigger and subtracts it from the black ones.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub amplitude: f64,
    /// The strength of the trigger in an evaluation; `amplitude` if not given.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub test_amplitude: Option<f64>,
    /// `argd`: as `cleanLabel` of the ARGD repository, images are not moved, and the trigger is the default grid of
    /// `badnets`. No model is needed. The attack's other own parameters have no effect.
    pub quirks: Option<Quirks>,
}

impl Default for LabelConsistent {
    fn default() -> Self {
        Self { epsilon: 8.0, step: 1.5, steps: 100, amplitude: 1.0, test_amplitude: None, quirks: None }
    }
}

/// The number of images in one step.
const BATCH: usize = 128;
/// The 3x3 cells of the right-hand corners; the left-hand ones are mirrored.
const CELLS: [[bool; 3]; 3] = [[false, false, true], [false, true, false], [true, false, true]];

impl Attack for LabelConsistent {
    fn usual_poisoning() -> Poisoning {
        Poisoning::clean_label(0.25)
    }

    fn check(&self) -> Vec<InvalidParam> {
        let idle = [("amplitude", self.amplitude != 1.0), ("test_amplitude", self.test_amplitude.is_some())];
        let wrong =
            |field| InvalidParam::new(field, "has no effect with `quirks: argd`").with_help("remove it");
        let idle = idle.into_iter().filter(|&(_, given)| given && self.quirks == Some(Quirks::Argd));
        idle.map(|(field, _)| wrong(field)).collect()
    }

    fn needs_model(&self) -> bool {
        self.quirks.is_none()
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        match self.quirks {
            Some(Quirks::Argd) => BadNets::default().operator(case),
            None => Ok(corners(case.shape(), self.test_amplitude.unwrap_or(self.amplitude) as f32)?),
        }
    }

    fn training_operator(&self, case: &Case<'_>) -> Result<Option<Operator>, AttackError> {
        match self.quirks {
            Some(Quirks::Argd) => Ok(None),
            None => Ok(Some(corners(case.shape(), self.amplitude as f32)?)),
        }
    }

    fn prepare(&self, case: &Case<'_>, victims: &[u32]) -> Result<Images, AttackError> {
        let images = case.dataset.train.select(victims);
        if self.quirks == Some(Quirks::Argd) {
            return Ok(images);
        }
        let mut pixels = Vec::with_capacity(images.pixels().len());
        for (step, victims) in victims.chunks(BATCH).enumerate() {
            if case.observer.stopped() {
                return Err(TrainError::Stopped.into());
            }
            pixels.extend(self.moved(case, victims)?);
            let steps = images.len().div_ceil(BATCH);
            case.observer.progress(&Progress::of_steps(Unit::Batch, step + 1, steps));
        }
        Ok(Images::new(images.shape(), pixels, images.labels().to_vec())?)
    }
}

impl LabelConsistent {
    /// The pixels of a batch of images, moved away from their labels and rounded.
    fn moved(&self, case: &Case<'_>, victims: &[u32]) -> Result<Vec<u8>, AttackError> {
        let (model, images) = (case.model()?, case.dataset.train.select(victims));
        let (epsilon, step, shape) =
            (to_unit(self.epsilon as f32), to_unit(self.step as f32), images.shape());
        let mut batch = Batch::of_bytes(images.pixels(), shape, images.labels().to_vec());
        let originals = batch.images.clone();
        let within =
            |value: f32, original: f32| value.clamp(original - epsilon, original + epsilon).clamp(0.0, 1.0);
        batch.images.par_chunks_exact_mut(shape.len()).zip(victims).for_each(|(image, &victim)| {
            let mut stream = stream(case.seed, "adversarial start", 0, u64::from(victim));
            image
                .iter_mut()
                .for_each(|value| *value = within(*value + stream.between(-epsilon, epsilon), *value));
        });
        for _ in 0..self.steps {
            let images = batch.tensor(model.network.device())?;
            let loss = |images: &Tensor| cross_entropy(&model.forward(images)?.logits, &batch.labels);
            let slope = gradient(&images, loss)?;
            let slope = slope.flatten_all()?.to_vec1::<f32>()?;
            for ((value, slope), &original) in batch.images.iter_mut().zip(slope).zip(&originals) {
                let sign = f32::from(u8::from(slope > 0.0)) - f32::from(u8::from(slope < 0.0));
                *value = within(*value + step * sign, original);
            }
        }
        Ok(batch.images.iter().map(|value| (255.0 * value).round() as u8).collect())
    }
}

/// The cells in all four corners. At full strength they replace pixels; otherwise they are added.
fn corners(shape: Shape, amplitude: f32) -> Result<Operator, DataError> {
    let side = CELLS.len();
    if shape.height < 2 * side || shape.width < 2 * side {
        let problem = format!("four corners of {side}x{side} pixels do not fit into images of {shape}");
        return Err(DataError::Mismatch(problem));
    }
    let cell = |i: usize| {
        let (row, col) = (i / shape.channels / shape.width, i / shape.channels % shape.width);
        let in_corner = |at: usize, length: usize| match at {
            at if at < side => Some(at),
            at => (at + side).checked_sub(length),
        };
        let (row, from_left) = (in_corner(row, shape.height)?, in_corner(col, shape.width)?);
        Some(CELLS[row][if col < side { side - 1 - from_left } else { from_left }])
    };
    let cells: Vec<Option<bool>> = (0..shape.len()).map(cell).collect();
    if amplitude == 1.0 {
        let mask = cells.iter().map(|cell| f32::from(u8::from(cell.is_some()))).collect();
        let pattern = cells.iter().map(|cell| if *cell == Some(true) { 255 } else { 0 }).collect();
        return Ok(Blend { mask, pattern }.into());
    }
    let value =
        |cell: &Option<bool>| cell.map_or(0.0, |white| if white { 255.0 } else { -255.0 } * amplitude);
    Ok(Add { delta: cells.iter().map(value).collect(), overflow: Overflow::Clip }.into())
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{CIFAR, case, grey, stamped_grey};
    use super::super::gradient::tests::tiny;
    use super::*;

    const SHAPE: Shape = Shape { height: 16, width: 16, channels: 3 };

    fn cells(image: &[u8], row: usize, col: usize) -> [[u8; 3]; 3] {
        std::array::from_fn(|r| std::array::from_fn(|c| image[((row + r) * 32 + col + c) * 3]))
    }

    #[test]
    fn the_corners_are_those_of_the_papers_code() {
        let right = [[0, 0, 255], [0, 255, 0], [255, 0, 255]];
        let left = [[255, 0, 0], [0, 255, 0], [255, 0, 255]];
        let image = stamped_grey(&LabelConsistent::default(), CIFAR);
        assert_eq!([cells(&image, 0, 29), cells(&image, 29, 29)], [right; 2]);
        assert_eq!([cells(&image, 0, 0), cells(&image, 29, 0)], [left; 2]);
        assert_eq!(image.chunks(3).filter(|pixel| *pixel != [100; 3]).count(), 36);
    }

    #[test]
    fn a_reduced_amplitude_is_added() {
        let reduced = LabelConsistent { amplitude: 16.0 / 255.0, ..LabelConsistent::default() };
        let image = stamped_grey(&reduced, CIFAR);
        assert_eq!(cells(&image, 0, 29), [[84, 84, 116], [84, 116, 84], [116, 84, 116]]);
        let full_at_test = LabelConsistent { test_amplitude: Some(1.0), ..reduced };
        assert_eq!(stamped_grey(&full_at_test, CIFAR), stamped_grey(&LabelConsistent::default(), CIFAR));
    }

    /// The loss of the tiny network on prepared images 3 and 13, and the images.
    fn prepared(attack: &LabelConsistent) -> (f32, Images) {
        let (dataset, poisoning, model) = (grey(SHAPE), Poisoning::default(), tiny());
        let case = Case { model: Some(&model), ..case(&dataset, &poisoning, 1) };
        let images = attack.prepare(&case, &[3, 13]).unwrap();
        let batch = Batch::of_bytes(images.pixels(), SHAPE, vec![]).tensor(model.network.device()).unwrap();
        let loss = cross_entropy(&model.forward(&batch).unwrap().logits, images.labels()).unwrap();
        (loss.to_scalar().unwrap(), images)
    }

    #[test]
    fn images_are_moved_away_from_their_label_within_epsilon() {
        let losses: Vec<f32> = [0, 1, 10]
            .map(|steps| {
                let (loss, images) = prepared(&LabelConsistent { steps, ..LabelConsistent::default() });
                assert!(images.pixels().iter().all(|&pixel| pixel.abs_diff(100) <= 8));
                assert_eq!(images.labels(), [3, 3]);
                loss
            })
            .to_vec();
        assert!(losses.is_sorted_by(|a, b| a < b), "{losses:?}");
        let far = LabelConsistent { steps: 10, ..LabelConsistent::default() };
        assert!(prepared(&far).1.pixels().iter().any(|&pixel| pixel.abs_diff(100) == 8));
    }

    #[test]
    fn the_repository_leaves_images_as_they_are_and_needs_no_model() {
        let attack = LabelConsistent { quirks: Some(Quirks::Argd), ..LabelConsistent::default() };
        assert!(!attack.needs_model() && LabelConsistent::default().needs_model());
        let (dataset, poisoning) = (grey(SHAPE), Poisoning::default());
        let case = case(&dataset, &poisoning, 1);
        assert_eq!(attack.prepare(&case, &[3]).unwrap(), dataset.train.select(&[3]));
        let message = LabelConsistent::default().prepare(&case, &[3]).unwrap_err().to_string();
        assert!(message.contains("none is connected"), "{message}");
    }

    #[test]
    fn the_repository_stamps_a_trigger_of_its_own() {
        let attack = LabelConsistent { quirks: Some(Quirks::Argd), ..LabelConsistent::default() };
        let image = stamped_grey(&attack, CIFAR);
        assert_eq!(cells(&image, 18, 18), [[255, 128, 255], [128, 255, 128], [255, 128, 128]]);
        assert_eq!(image, stamped_grey(&BadNets::default(), CIFAR));
        let (dataset, poisoning) = (grey(CIFAR), Poisoning::default());
        assert_eq!(attack.training_operator(&case(&dataset, &poisoning, 1)).unwrap(), None);
        assert_eq!(attack.check(), []);
        let fields =
            |attack: LabelConsistent| attack.check().iter().map(|wrong| wrong.field).collect::<Vec<_>>();
        assert_eq!(fields(LabelConsistent { amplitude: 0.5, ..attack.clone() }), ["amplitude"]);
        assert_eq!(fields(LabelConsistent { test_amplitude: Some(1.0), ..attack }), ["test_amplitude"]);
    }
}
