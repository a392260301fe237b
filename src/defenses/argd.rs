//! Attention relation graph distillation (Xia et al. 2022), as its reference implementation computes it.
//!
//! The nodes of a network's graph are its normalized attention maps, and the edges are their distances. Nodes, edges
//! and an embedding of the whole graph move toward a fine-tuned teacher's.

use candle_core::{Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention::{edge, mean_square, node_loss, normalise_all};
use super::embedding::Embedding;
use super::{Case, Defense, Erased, Frozen, WithTraining};
use crate::data::InvalidParam;
use crate::methods::Beside;
use crate::nn::loss::cross_entropy;
use crate::train::{Objective, Step, Term, TrainError, Training};

/// Attention maps of a network.
const TAPS: usize = 3;

/// ARGD and its training.
pub type Argd = WithTraining<Own>;

/// Attention relation graph distillation: cross entropy + w_node L_node + w_edge L_edge + w_embed L_embed. The terms
/// move the student's attention maps, the distances between them and an embedding of both toward the teacher's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// The weights of the three attention maps in the node loss.
    #[schemars(inner(range(min = 0.0)))]
    pub node_weights: [f64; TAPS],
    /// The weight of the node loss, w_node.
    #[schemars(range(min = 0.0))]
    pub w_node: f64,
    /// The weight of the edge loss, w_edge.
    #[schemars(range(min = 0.0))]
    pub w_edge: f64,
    /// The weight of the graph embedding loss, w_embed.
    #[schemars(range(min = 0.0))]
    pub w_embed: f64,
    /// The length of the embedding's queries and keys.
    #[schemars(range(min = 1, max = 4096))]
    pub embed_dim: usize,
    /// Train the embedding's own parameters together with the student. In the reference, they keep their random
    /// initial values.
    pub train_attention: bool,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            node_weights: [2000.0, 5000.0, 2000.0],
            w_node: 1.0,
            w_edge: 1.0,
            w_embed: 1.0,
            embed_dim: 128,
            train_attention: false,
        }
    }
}

impl Beside<Training> for Own {}

impl Defense for Argd {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<InvalidParam> {
        self.shared.check()
    }

    fn erase(&self, mut case: Case<'_>) -> std::result::Result<Erased, TrainError> {
        let own = self.own.clone();
        let embedding = Embedding { taps: TAPS, dim: own.embed_dim };
        let drawn = embedding.draw(case.session.seed);
        let mut objective = Align { teacher: case.take_teacher()?, own, embedding, drawn };
        Ok(case.fit(&mut objective, &self.shared)?.into())
    }
}

struct Align {
    teacher: Frozen,
    own: Own,
    embedding: Embedding,
    /// The initial values of the embedding's parameters.
    drawn: Vec<f32>,
}

impl Objective for Align {
    fn parameters(&self) -> Vec<f32> {
        if self.own.train_attention { self.drawn.clone() } else { vec![] }
    }

    fn terms(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        let student = normalise_all(&step.forward.attention, TAPS)?;
        let teacher = normalise_all(&self.teacher.forward(step.images)?.attention, TAPS)?;
        let parameters = match self.own.train_attention {
            true => step.parameters.clone(),
            false => Tensor::from_slice(&self.drawn, self.drawn.len(), self.teacher.network.device())?,
        };
        let Own { node_weights, w_node, w_edge, w_embed, .. } = self.own;
        let ce = cross_entropy(&step.forward.logits, step.labels)?;
        let node = (node_loss(&student, &teacher, &node_weights)? * w_node)?;
        let edge = (edge_loss(&student, &teacher)? * w_edge)?;
        let embed = (self.embedding.loss(&parameters, &student, &teacher)? * w_embed)?;
        Ok(vec![("ce", ce), ("node", node), ("edge", edge), ("embed", embed)])
    }
}

/// The mean over the pairs of maps of their terms.
fn edge_loss(student: &[Tensor], teacher: &[Tensor]) -> Result<Tensor> {
    Tensor::stack(&edge_terms(student, teacher)?, 0)?.mean_all()
}

/// For each pair of maps, the mean squared difference between the student's and the teacher's edge.
fn edge_terms(student: &[Tensor], teacher: &[Tensor]) -> Result<Vec<Tensor>> {
    let term = |(a, b): (usize, usize)| {
        mean_square(&edge(&student[a], &student[b])?, &edge(&teacher[a], &teacher[b])?)
    };
    [(0, 1), (1, 2), (0, 2)].into_iter().map(term).collect()
}

#[cfg(test)]
mod tests;
