//! Stochastic gradient descent as PyTorch defines it.

/// SGD with momentum (dampening 0) and weight decay on every parameter.
///
/// For a gradient g: d = g + decay w; v = momentum v + d (v starts at 0);
/// w -= lr (d + momentum v) with Nesterov's rule, w -= lr v without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum, in [0, 1).
    pub momentum: f32,
    /// Whether to use Nesterov's rule.
    pub nesterov: bool,
    /// Weight decay, also of batch normalization and biases.
    pub weight_decay: f32,
}

impl Sgd {
    /// SGD without Nesterov's rule.
    pub fn plain(momentum: f64, weight_decay: f64) -> Self {
        Self { momentum: momentum as f32, nesterov: false, weight_decay: weight_decay as f32 }
    }

    /// Moves `weights` one step against `gradient`; `velocity` is kept between steps and starts at 0.
    ///
    /// The three slices have the same length.
    pub fn step(&self, lr: f32, weights: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        debug_assert!(weights.len() == gradient.len() && weights.len() == velocity.len());
        for ((w, g), v) in weights.iter_mut().zip(gradient).zip(velocity) {
            let d = g + self.weight_decay * *w;
            *v = self.momentum * *v + d;
            *w -= lr * if self.nesterov { d + self.momentum * *v } else { *v };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two weights after each of three steps at learning rate 0.1.
    fn three_steps(sgd: Sgd) -> [[f32; 2]; 3] {
        let (mut weights, mut velocity) = ([1.0, -2.0], [0.0; 2]);
        [[0.5, -1.0], [0.25, 2.0], [-1.0, 0.125]].map(|gradient| {
            sgd.step(0.1, &mut weights, &gradient, &mut velocity);
            weights
        })
    }

    #[test]
    fn three_steps_of_each_variant_are_pytorchs() {
        let cases = [
            (0.0, false, 0.0, [[0.95, -1.9], [0.925, -2.1], [1.025, -2.1125]]),
            (0.0, false, 0.01, [[0.949, -1.898], [0.923_051, -2.096_102], [1.022_127_9, -2.106_505_9]]),
            (0.9, false, 0.0, [[0.95, -1.9], [0.88, -2.01], [0.917, -2.1215]]),
            (0.9, true, 0.0, [[0.905, -1.81], [0.817, -2.109], [0.9503, -2.22185]]),
            (0.9, true, 0.01, [[0.9031, -1.8062], [0.812_574_1, -2.100_148_2], [0.942_869_7, -2.206_087]]),
        ];
        for (momentum, nesterov, weight_decay, expected) in cases {
            let sgd = Sgd { momentum, nesterov, weight_decay };
            for (found, expected) in three_steps(sgd).iter().flatten().zip(expected.iter().flatten()) {
                assert!((found - expected).abs() < 5e-7, "{sgd:?}: {found} instead of {expected}");
            }
        }
    }
}
