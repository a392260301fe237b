//! Neural attention distillation (Li et al. 2021): moves the student's attention maps toward a fine-tuned teacher's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention::{node_loss, normalise_all};
use super::{Case, Defense, Erased, Frozen, WithTraining};
use crate::data::InvalidParam;
use crate::methods::Beside;
use crate::nn::loss::cross_entropy;
use crate::train::{Objective, Step, Term, TrainError, Training};

/// NAD and its training.
pub type Nad = WithTraining<Own>;

/// Neural attention distillation: cross entropy + sum_l beta_l mean (A_l student - A_l teacher)^2, with A_l the
/// normalized attention maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// The weights of the attention maps of the three groups, beta 1 to 3: three numbers, or the name of a published
    /// set.
    pub betas: Betas,
}

/// Three weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Choice", into = "[f64; 3]")]
pub struct Betas(pub [f64; 3]);

/// The weights in a manifest.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Choice {
    Published(Published),
    Numbers(#[schemars(inner(range(min = 0.0)))] [f64; 3]),
}

/// The published sets.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Published {
    /// 500, 1000, 1000: the weights of NAD's reference implementation and of BackdoorBench.
    Nad,
    /// 5000, 5000, 5000: the weights of NAD in ARGD's reference implementation.
    Argd,
}

impl From<Choice> for Betas {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Published(Published::Nad) => Self([500.0, 1000.0, 1000.0]),
            Choice::Published(Published::Argd) => Self([5000.0; 3]),
            Choice::Numbers(betas) => Self(betas),
        }
    }
}

impl From<Betas> for [f64; 3] {
    fn from(betas: Betas) -> Self {
        betas.0
    }
}

impl Default for Own {
    fn default() -> Self {
        Self { betas: Choice::Published(Published::Nad).into() }
    }
}

impl Beside<Training> for Own {}

impl Defense for Nad {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<InvalidParam> {
        self.shared.check()
    }

    fn erase(&self, mut case: Case<'_>) -> Result<Erased, TrainError> {
        let mut objective = Distil { teacher: case.take_teacher()?, betas: self.own.betas.0 };
        Ok(case.fit(&mut objective, &self.shared)?.into())
    }
}

struct Distil {
    teacher: Frozen,
    betas: [f64; 3],
}

impl Objective for Distil {
    fn terms(&mut self, step: &Step<'_>) -> candle_core::Result<Vec<Term>> {
        let taps = self.betas.len();
        let student = normalise_all(&step.forward.attention, taps)?;
        let teacher = normalise_all(&self.teacher.forward(step.images)?.attention, taps)?;
        let ce = cross_entropy(&step.forward.logits, step.labels)?;
        Ok(vec![("ce", ce), ("attention", node_loss(&student, &teacher, &self.betas)?)])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use serde_json::json;

    use super::super::AnyDefense;
    use super::super::tests::{Setup, assert_close, scalar};
    use super::*;

    const BETAS: [f64; 3] = [500.0, 700.0, 1100.0];

    fn setup() -> Setup<Distil> {
        Setup::new(|teacher| Distil { teacher, betas: BETAS })
    }

    /// The value of the attention term.
    fn attention(setup: &mut Setup<Distil>, betas: [f64; 3]) -> f64 {
        setup.objective.betas = betas;
        let (theta, none) = (setup.theta.clone(), setup.own());
        scalar(&setup.terms(&theta, &none)[1].1)
    }

    /// Each image's cells, divided by their norm plus 1e-6, one after the other.
    fn normalised(map: &Tensor) -> Vec<f64> {
        let image = |rows: Vec<Vec<f64>>| {
            let cells = rows.concat();
            let norm = cells.iter().map(|cell| cell * cell).sum::<f64>().sqrt();
            cells.into_iter().map(move |cell| cell / (norm + 1e-6))
        };
        map.to_vec3().unwrap().into_iter().flat_map(image).collect()
    }

    #[test]
    fn terms_are_named_and_a_beta_weighs_its_map_alone() {
        let mut setup = setup();
        let (theta, none) = (setup.theta.clone(), setup.own());
        let terms = setup.terms(&theta, &none);
        assert_eq!(terms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["ce", "attention"]);
        let whole = attention(&mut setup, BETAS);
        let shares = [0, 1, 2].map(|l| {
            let mut alone = [0.0; 3];
            alone[l] = BETAS[l];
            let share = attention(&mut setup, alone);
            let mut doubled = BETAS;
            doubled[l] *= 2.0;
            assert_close(attention(&mut setup, doubled), whole + share);
            share
        });
        assert!(shares.iter().all(|&share| share > 0.0), "{shares:?}");
        assert_close(shares.iter().sum(), whole);
    }

    #[test]
    fn the_attention_term_is_what_the_maps_values_give() {
        let mut setup = setup();
        let student = setup.forward(&setup.theta).attention;
        let teacher = setup.objective.teacher.forward(&setup.images).unwrap().attention;
        let term = |((student, teacher), beta): ((&Tensor, &Tensor), f64)| {
            let (student, teacher) = (normalised(student), normalised(teacher));
            let squares = student.iter().zip(&teacher).map(|(s, t)| (s - t).powi(2));
            beta * squares.sum::<f64>() / student.len() as f64
        };
        let expected = student.iter().zip(&teacher).zip(BETAS).map(term).sum();
        assert_close(attention(&mut setup, BETAS), expected);
    }

    #[test]
    fn gradients_of_the_whole_loss_agree_with_finite_differences() {
        setup().assert_gradients();
    }

    #[test]
    fn published_weights_have_names_and_are_the_same_as_their_numbers() {
        let betas = |betas: serde_json::Value| {
            let defense = serde_json::from_value(json!({"method": "nad", "betas": betas})).unwrap();
            let AnyDefense::Nad(nad) = &defense else { panic!("not nad") };
            (nad.own.betas.0, serde_json::to_value(&defense).unwrap()["betas"].clone())
        };
        assert_eq!(betas(json!("nad")), (Nad::default().own.betas.0, json!([500.0, 1000.0, 1000.0])));
        assert_eq!(betas(json!("argd")), betas(json!([5000.0, 5000.0, 5000.0])));
        let typo = json!({"method": "nad", "betas": "nod"});
        assert!(serde_json::from_value::<AnyDefense>(typo).is_err());
    }
}
