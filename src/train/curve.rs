//! A curve of networks: a path through the parameters of one architecture, from one network to another.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::DataError;
use crate::files::tensors::{NamedTensor, TensorFile, write_tensors};
use crate::models::Spec;

/// The shape of a curve through three points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CurveForm {
    /// The quadratic Bezier curve (1-t)^2 a + 2t(1-t) b + t^2 c.
    #[default]
    Bezier,
    /// The straight lines from a to b, for t up to 1/2, and from b to c.
    Polygon,
}

impl CurveForm {
    /// The weights of the three points at `t`, in [0, 1].
    pub fn coefficients(self, t: f64) -> [f64; 3] {
        match self {
            Self::Bezier => [(1.0 - t) * (1.0 - t), 2.0 * t * (1.0 - t), t * t],
            Self::Polygon if t <= 0.5 => [1.0 - 2.0 * t, 2.0 * t, 0.0],
            Self::Polygon => [0.0, 2.0 - 2.0 * t, 2.0 * t - 1.0],
        }
    }

    /// The parameters at `t`, in [0, 1], of the curve through three points of the same length.
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
    /// The shape.
    pub form: CurveForm,
    /// The parameters of the network at t = 0, of the control point, and of the network at t = 1.
    pub points: [Vec<f32>; 3],
}

const TENSORS: [&str; 3] = ["start", "control", "end"];

/// The content of the file besides tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    form: CurveForm,
    #[serde(flatten)]
    spec: Spec,
}

impl Curve {
    /// The parameters at `t`, in [0, 1].
    pub fn at(&self, t: f64) -> Vec<f32> {
        let [a, b, c] = &self.points;
        self.form.at(t, [a, b, c])
    }

    /// Writes a curve of networks of this spec.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, spec: &Spec, path: &Path) -> Result<(), DataError> {
        let config = Config { form: self.form, spec: spec.clone() };
        let tensor =
            |(name, values): (&'static str, &Vec<f32>)| NamedTensor::f32(name, vec![values.len()], values);
        let tensors: Vec<_> = TENSORS.into_iter().zip(&self.points).map(tensor).collect();
        Ok(write_tensors(path, &tensors, &config)?)
    }

    /// Reads a curve and the spec of its networks.
    ///
    /// # Errors
    /// If the file cannot be read, or its tensors do not match its architecture.
    pub fn load(path: &Path) -> Result<(Self, Spec), DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { form, spec } = file.config()?;
        let (architecture, len) = (spec.architecture, spec.graph().theta_len());
        let mut read = |name| {
            let ([found], values) = file.f32(name)?;
            let problem = || format!("`{name}` has {found} values, {architecture} has {len}");
            if found == len { Ok(values) } else { Err(DataError::damaged(path, None, problem())) }
        };
        let points = [read(TENSORS[0])?, read(TENSORS[1])?, read(TENSORS[2])?];
        Ok((Self { form, points }, spec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Normalise;
    use crate::shape::Shape;

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

    /// A curve of WRN-10-1.
    fn curve() -> (Curve, Spec) {
        let image = Shape { height: 8, width: 8, channels: 3 };
        let normalise = Some(Normalise { mean: vec![0.5; 3], std: vec![0.25; 3] });
        let spec = Spec { architecture: "wrn-10-1".parse().unwrap(), image, classes: 4, normalise };
        let points = [1.0, 2.0, 3.0].map(|value| vec![value; spec.graph().theta_len()]);
        (Curve { form: CurveForm::Polygon, points }, spec)
    }

    #[test]
    fn a_saved_curve_loads_with_its_spec() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve");
        let (curve, spec) = curve();
        curve.save(&spec, &path).unwrap();
        assert_eq!(Curve::load(&path).unwrap(), (curve.clone(), spec.clone()));

        let [start, _, end] = curve.points;
        let short = Curve { points: [start, vec![0.0; end.len() - 1], end.clone()], ..curve };
        short.save(&spec, &path).unwrap();
        let message = Curve::load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("`control` has {} values", end.len() - 1)), "{message}");
    }

    /// Curves are addressed by the hash of their bytes.
    #[test]
    fn the_text_of_a_curve_is_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve");
        let (curve, spec) = curve();
        curve.save(&spec, &path).unwrap();
        let text = r#"{"form":"polygon","architecture":"wrn-10-1","image":[8,8,3],"classes":4,"normalise":{"mean":[0.5,0.5,0.5],"std":[0.25,0.25,0.25]}}"#;
        assert_eq!(TensorFile::open(&path).unwrap().text("config"), Some(text));

        let more = text.replace(r#""classes":4"#, r#""classes":4,"more":1"#);
        assert!(serde_json::from_str::<Config>(text).is_ok());
        assert!(serde_json::from_str::<Config>(&more).err().unwrap().to_string().contains("unknown field"));
    }
}
