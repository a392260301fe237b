//! Mode connectivity repair (Zhao et al. 2020): on a curve of low loss between two networks, points away from the ends
//! lose the backdoor but keep the accuracy.
//!
//! The curve phi(t) from the student w1 to the teacher w2 has one control point theta. Only theta is trained, on E_t
//! [CE(phi(t)) + decay/2 ||phi(t)||^2] with t drawn uniformly for each step (Garipov et al. 2018). The running
//! statistics of batch normalization are recomputed at every point that is used.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::held_out::accuracy;
use super::{Case, Defense, Erased};
use crate::data::{Augment, Images, TrainView};
use crate::models::Weights;
use crate::rng::stream;
use crate::train::{
    CrossEntropy, Curve, CurveForm, Loss, Point, Progress, Quiet, Schedule, Settings, Sgd, Slope, Supervised,
    TrainError, Unit, Values, batch_norm_statistics, descend,
};

/// Mode connectivity repair: a point of a curve between the student and the teacher, which have the same architecture.
/// The paper connects two networks that may both have backdoors. With only one network, connect it with its fine-tuned
/// version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mcr {
    /// The shape of the curve.
    pub form: CurveForm,
    /// The position of the result on the curve, t: 0 is the student, 1 the teacher. If not given, held-out clean
    /// images choose it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub t: Option<f64>,
    /// The number of equal parts of the curve for the choice of t. Of the points between the parts with nearly the
    /// best held-out accuracy, the one closest to the middle is chosen, because both ends may have a backdoor.
    #[schemars(range(min = 2, max = 1000))]
    pub grid: usize,
    /// The largest loss of held-out accuracy compared with the best point, as a fraction of the best accuracy.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_drop: f64,
    /// The fraction of the clean images that choose t. The curve is trained on the others, or on all if t is given.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub held_out: f64,
    /// The number of passes over the images.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// The number of images in one step; the last step of an epoch may have fewer.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// The learning rate of the first half of the epochs. It then falls linearly to 1% of itself at 90% of the epochs.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// The momentum of the optimizer.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// The weight decay, on the point of the curve.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// The augmentation of images, for the training and for the running statistics.
    pub augment: Augment,
}

impl Default for Mcr {
    fn default() -> Self {
        Self {
            form: CurveForm::Bezier,
            t: None,
            grid: 10,
            max_drop: 0.02,
            held_out: 0.2,
            epochs: 100,
            batch: 128,
            lr: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            augment: Augment::CROP_AND_FLIP,
        }
    }
}

impl Defense for Mcr {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn makes_curve(&self) -> bool {
        true
    }

    fn erase(&self, mut case: Case<'_>) -> Result<Erased, TrainError> {
        let teacher = case.take_teacher()?;
        if teacher.network.graph() != case.network.graph() {
            let problem = "mcr connects student and teacher, which must have the same architecture";
            return Err(TrainError::Mismatch(problem.to_owned()));
        }
        let ends = [case.student.theta.clone(), teacher.theta.to_vec1()?];
        let (curve, t) = match self.t {
            Some(t) => (self.connect(ends, &case, &case.samples)?, t),
            None => {
                let (samples, held_out) = case.hold_out(self.held_out)?;
                let curve = self.connect(ends, &case, &samples)?;
                let t = self.choose(&curve, &case, &samples, &held_out)?;
                (curve, t)
            }
        };
        case.session.observer.note(&format!("the result is at t = {t}"));
        let weights = self.point(&curve, t, &case, &case.samples)?;
        let metrics = [("t".to_owned(), json!(t))].into_iter().collect();
        Ok(Erased { weights, curve: Some(curve), metrics })
    }
}

impl Mcr {
    /// Trains the control point between two ends.
    fn connect(
        &self,
        [start, end]: [Vec<f32>; 2],
        case: &Case<'_>,
        samples: &Arc<TrainView>,
    ) -> Result<Curve, TrainError> {
        let middle = start.iter().zip(&end).map(|(start, end)| 0.5 * (start + end)).collect();
        let first = Values { trainable: middle, state: case.student.state.clone() };
        let mut loss = OnCurve {
            plain: Supervised { network: case.network, objective: &mut CrossEntropy },
            form: self.form,
            ends: [&start, &end],
            weight_decay: self.weight_decay,
            seed: case.session.seed,
        };
        let control = descend(&mut loss, first, Arc::clone(samples), &self.settings(), case.session)?;
        Ok(Curve { form: self.form, points: [start, control.trainable, end] })
    }

    fn settings(&self) -> Settings {
        let &Self { epochs, batch, lr, augment, .. } = self;
        let factor = |epoch| match epoch as f64 / epochs as f64 {
            done if done <= 0.5 => 1.0,
            done if done <= 0.9 => 1.0 - (done - 0.5) / 0.4 * 0.99,
            _ => 0.01,
        };
        let schedule = Schedule::by_epoch(epochs, |epoch| lr * factor(epoch));
        // The loss has the weight decay, because it applies to the point of the curve, not to the trained control
        // point.
        let sgd = Sgd::plain(self.momentum, 0.0);
        Settings { epochs, batch, schedule, sgd, augment, shuffle: true }
    }

    /// Chooses t with the held-out images.
    fn choose(
        &self,
        curve: &Curve,
        case: &Case<'_>,
        samples: &Arc<TrainView>,
        held_out: &Images,
    ) -> Result<f64, TrainError> {
        let (mut tried, observer) = (vec![], case.session.observer);
        for k in 1..self.grid {
            let t = k as f64 / self.grid as f64;
            observer.progress(&Progress::of_steps(Unit::Point, k, self.grid - 1));
            let weights = self.point(curve, t, case, samples)?;
            let accuracy = accuracy(case.network, &weights, held_out, &Quiet(observer))?;
            observer.note(&format!("t {t:.3}: held-out accuracy {:.2}", 100.0 * accuracy));
            tried.push((t, accuracy));
        }
        Ok(nearest_to_the_middle(&tried, self.max_drop))
    }

    /// The network at a point of the curve, with the running statistics of `samples`.
    fn point(
        &self,
        curve: &Curve,
        t: f64,
        case: &Case<'_>,
        samples: &Arc<TrainView>,
    ) -> Result<Weights, TrainError> {
        let theta = curve.at(t);
        let state = batch_norm_statistics(case.network, &theta, samples, self.augment, case.session)?;
        Ok(Weights { theta, state })
    }
}

/// Of pairs (t, accuracy), the t closest to 1/2 whose accuracy is at most a fraction `max_drop` below the best; the
/// smaller t on a tie.
fn nearest_to_the_middle(tried: &[(f64, f64)], max_drop: f64) -> f64 {
    let best = tried.iter().map(|(_, accuracy)| *accuracy).fold(0.0, f64::max);
    let near = tried.iter().filter(|(_, accuracy)| *accuracy >= best * (1.0 - max_drop)).map(|(t, _)| *t);
    near.min_by(|a, b| (a - 0.5).abs().total_cmp(&(b - 0.5).abs())).unwrap_or(0.5)
}

/// The loss of the control point, at a point of the curve that each step draws.
struct OnCurve<'a> {
    plain: Supervised<'a>,
    form: CurveForm,
    ends: [&'a [f32]; 2],
    weight_decay: f64,
    seed: u64,
}

impl Loss for OnCurve<'_> {
    fn device(&self) -> &Device {
        self.plain.device()
    }

    fn slope(&mut self, at: &Point<'_>, images: &Tensor, labels: &[u32]) -> Result<Slope, TrainError> {
        let t = f64::from(stream(self.seed, "curve", at.epoch as u64, at.step as u64).uniform());
        let phi = self.form.at(t, [self.ends[0], at.trainable, self.ends[1]]);
        let Slope { mut terms, gradient, .. } = self.plain.slope(&at.moved_to(&phi), images, labels)?;
        let decay = self.weight_decay;
        terms.push(("decay", decay / 2.0 * phi.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>()));
        // The gradient of the control point is that of phi times its weight.
        let [_, share, _] = self.form.coefficients(t);
        let slope = |(g, w): (&f32, &f32)| (share * (f64::from(*g) + decay * f64::from(*w))) as f32;
        let gradient = gradient.iter().zip(&phi).map(slope).collect();
        Ok(Slope { terms, gradient, state: None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, teacher};
    use super::*;

    #[test]
    fn the_control_points_gradient_agrees_with_finite_differences() {
        let bench = Bench::new();
        let case = bench.case();
        let end = teacher("wrn-10-1").theta.to_vec1().unwrap();
        let pixels: Vec<f32> = (0..4 * 192).map(|i| 0.5 + 0.5 * (i as f32 * 0.37).sin()).collect();
        let images = Tensor::from_vec(pixels, (4, 8, 8, 3), &Device::Cpu).unwrap();
        for (form, step) in [(CurveForm::Bezier, 0), (CurveForm::Polygon, 0), (CurveForm::Polygon, 1)] {
            let slope = |control: &[f32]| {
                let mut loss = OnCurve {
                    plain: Supervised { network: case.network, objective: &mut CrossEntropy },
                    form,
                    ends: [&case.student.theta, &end],
                    weight_decay: 0.1,
                    seed: 3,
                };
                let at = Point { trainable: control, state: &case.student.state, epoch: 0, step };
                loss.slope(&at, &images, &[0, 1, 2, 1]).unwrap()
            };
            let gradient = slope(&case.student.theta).gradient;
            // Along the gradient, the slope of the loss is the squared norm.
            let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
            let value = |slope: &Slope| slope.terms.iter().map(|(_, value)| value).sum::<f64>();
            let by = 1e-3 / norm.sqrt();
            let moved = |by: f64| {
                let moved = |(w, g): (&f32, &f32)| w + (by * f64::from(*g)) as f32;
                let control: Vec<f32> = case.student.theta.iter().zip(&gradient).map(moved).collect();
                value(&slope(&control))
            };
            let found = (moved(by) - moved(-by)) / (2.0 * by);
            assert!((found / norm - 1.0).abs() < 0.02, "{form:?}: {found} instead of {norm}");
        }
    }

    #[test]
    fn the_learning_rate_is_constant_then_falls_in_a_line() {
        let schedule = Mcr { epochs: 10, lr: 1.0, ..Mcr::default() }.settings().schedule;
        assert_eq!([0, 5, 9].map(|epoch| schedule.lr(epoch)), [1.0, 1.0, 0.01]);
        assert!((schedule.lr(7) - 0.505).abs() < 1e-6);
    }

    #[test]
    fn the_middle_is_chosen_unless_it_costs_too_much() {
        let tried = [(0.25, 0.9), (0.5, 0.7), (0.75, 0.89)];
        assert_eq!(nearest_to_the_middle(&tried, 0.5), 0.5);
        assert_eq!(nearest_to_the_middle(&tried, 0.02), 0.25);
        assert_eq!(nearest_to_the_middle(&tried[1..], 0.0), 0.75);
    }

    #[test]
    fn the_result_is_a_point_of_a_curve_between_student_and_teacher() {
        let bench = Bench::new();
        let with = json!({"method": "mcr", "t": 0.25, "form": "polygon", "epochs": 2, "batch": 8});
        let erased = bench.erase_with(with, Some(teacher("wrn-10-1"))).unwrap();
        let curve = erased.curve.unwrap();
        let [start, control, end] = &curve.points;
        assert_eq!((start, end), (&bench.student.theta, &teacher("wrn-10-1").theta.to_vec1().unwrap()));
        assert!((0..control.len()).any(|i| control[i] != 0.5 * (start[i] + end[i])));
        assert_eq!(erased.weights.theta, curve.at(0.25));
        assert_ne!(erased.weights.state, bench.student.state);
        assert_eq!(erased.metrics["t"], json!(0.25));
    }

    #[test]
    fn held_out_images_choose_t_where_it_is_not_given() {
        let with = json!({"method": "mcr", "epochs": 1, "batch": 8, "grid": 4});
        let erased = Bench::new().erase_with(with, Some(teacher("wrn-10-1"))).unwrap();
        let t = erased.metrics["t"].as_f64().unwrap();
        assert!([0.25, 0.5, 0.75].contains(&t));
        assert_eq!(erased.weights.theta, erased.curve.unwrap().at(t));
    }

    #[test]
    fn ends_of_two_architectures_are_refused() {
        let erased = Bench::new().erase_with(json!({"method": "mcr"}), Some(teacher("wrn-10-2")));
        assert!(erased.unwrap_err().to_string().contains("the same architecture"));
    }
}
