//! A curve of networks: a path through the parameters of one architecture, from one network to another.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{DataError, NamedTensor, TensorFile, write_tensors};
use crate::models::{Architecture, Model};
use crate::nn::Normalise;
use crate::shape::Shape;

/// What a curve through three points looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CurveForm {
    /// The quadratic Bezier curve (1-t)^2 a + 2t(1-t) b + t^2 c, which b draws to itself.
    #[default]
    Bezier,
    /// The chain of the straight lines a to b, for t up to 1/2, and b to c.
    Polygon,
}

impl CurveForm {
    /// How much each of the three points weighs at `t`, in [0, 1].
    pub fn coefficients(self, t: f64) -> [f64; 3] {
        match self {
            Self::Bezier => [(1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t],
            Self::Polygon if t <= 0.5 => [1.0 - 2.0 * t, 2.0 * t, 0.0],
            Self::Polygon => [0.0, 2.0 - 2.0 * t, 2.0 * t - 1.0],
        }
    }

    /// The parameters at `t`, in [0, 1], of the curve through three points of one length.
    pub fn at(self, t: f64, [a, b, c]: [&[f32]; 3]) -> Vec<f32> {
        let [u, v, w] = self.coefficients(t);
        let mix =
            |((&a, &b), &c): ((&f32, &f32), &f32)| u * f64::from(a) + v * f64::from(b) + w * f64::from(c);
        a.iter().zip(b).zip(c).map(|each| mix(each) as f32).collect()
    }
}

/// A curve of networks. It has no running statistics: they belong to points, not to curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What it looks like.
    pub form: CurveForm,
    /// Parameters of the network at t = 0, of the control point, and of the network at t = 1.
    pub points: [Vec<f32>; 3],
}

const TENSORS: [&str; 3] = ["start", "control", "end"];

/// What the file holds beside tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    form: CurveForm,
    architecture: Architecture,
    /// Height, width, channels.
    image: [usize; 3],
    classes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalise: Option<Normalise>,
}

impl Curve {
    /// The parameters at `t`, in [0, 1].
    pub fn at(&self, t: f64) -> Vec<f32> {
        let [a, b, c] = &self.points;
        self.form.at(t, [a, b, c])
    }

    /// Writes a curve of networks like `model`, whose own numbers are not looked at.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, model: &Model, path: &Path) -> Result<(), DataError> {
        let &Model { architecture, image: Shape { height, width, channels }, classes, ref normalise, .. } =
            model;
        let (image, normalise) = ([height, width, channels], normalise.clone());
        let config = Config { form: self.form, architecture, image, classes, normalise };
        let tensor =
            |(name, values): (&'static str, &Vec<f32>)| NamedTensor::f32(name, vec![values.len()], values);
        let tensors: Vec<_> = TENSORS.into_iter().zip(&self.points).map(tensor).collect();
        write_tensors(path, &tensors, &config)
    }

    /// Reads a curve, and the model that its points are numbers of; the model itself has none.
    ///
    /// # Errors
    /// If the file cannot be read, or its tensors are not of its architecture's length.
    pub fn load(path: &Path) -> Result<(Self, Model), DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { form, architecture, image: [height, width, channels], classes, normalise } =
            file.config()?;
        if let Some(fault) = normalise.as_ref().and_then(|normalise| normalise.fault(channels)) {
            return Err(DataError::damaged(path, None, fault));
        }
        let image = Shape { height, width, channels };
        let model = Model { architecture, image, classes, normalise, theta: vec![], state: vec![] };
        let len = model.graph().theta_len();
        let mut read = |name| {
            let ([found], values) = file.f32(name)?;
            let problem = || format!("`{name}` has {found} values, {architecture} has {len}");
            if found == len { Ok(values) } else { Err(DataError::damaged(path, None, problem())) }
        };
        let points = [read(TENSORS[0])?, read(TENSORS[1])?, read(TENSORS[2])?];
        Ok((Self { form, points }, model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [&[f32]; 3] = [&[0.0, 8.0], &[4.0, 0.0], &[8.0, 4.0]];

    #[test]
    fn both_forms_start_and_end_at_their_ends() {
        for form in [CurveForm::Bezier, CurveForm::Polygon] {
            assert_eq!(form.at(0.0, POINTS), POINTS[0]);
            assert_eq!(form.at(1.0, POINTS), POINTS[2]);
            for t in [0.0, 0.2, 0.5, 0.7, 1.0] {
                assert!((form.coefficients(t).iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn the_polygon_meets_its_control_point_and_the_bezier_curve_passes_half_way() {
        assert_eq!(CurveForm::Polygon.at(0.5, POINTS), [4.0, 0.0]);
        assert_eq!(CurveForm::Polygon.at(0.25, POINTS), [2.0, 4.0]);
        assert_eq!(CurveForm::Polygon.at(0.75, POINTS), [6.0, 2.0]);
        assert_eq!(CurveForm::Bezier.at(0.5, POINTS), [4.0, 3.0]);
    }

    #[test]
    fn a_saved_curve_loads_with_its_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve");
        let image = Shape { height: 8, width: 8, channels: 3 };
        let architecture = "wrn-10-1".parse().unwrap();
        let normalise = Some(Normalise { mean: vec![0.5; 3], std: vec![0.25; 3] });
        let model = Model { architecture, image, classes: 4, normalise, theta: vec![], state: vec![] };
        let len = model.graph().theta_len();
        let points = [1.0, 2.0, 3.0].map(|value| vec![value; len]);
        let curve = Curve { form: CurveForm::Polygon, points };
        curve.save(&model, &path).unwrap();
        assert_eq!(Curve::load(&path).unwrap(), (curve.clone(), model.clone()));

        let short = Curve { points: [vec![0.0; len], vec![0.0; len - 1], vec![0.0; len]], ..curve };
        short.save(&model, &path).unwrap();
        let message = Curve::load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("`control` has {} values", len - 1)), "{message}");
    }
}
