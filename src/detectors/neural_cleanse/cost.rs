//! The dynamic weight of the mask's size: it rises while triggers succeed, and falls while they fail.

use super::NeuralCleanse;

/// The schedule of the weight for one class, and the end of the search. It is updated after every pass.
pub(super) struct Cost<'a> {
    params: &'a NeuralCleanse,
    /// The weight of the next pass.
    pub weight: f64,
    /// Successes in a row while the weight is 0.
    ready: usize,
    /// Successes in a row.
    up: usize,
    /// Failures in a row.
    down: usize,
    /// Whether the weight has risen, and whether it has fallen.
    moved: (bool, bool),
    /// Passes in a row without a smaller mask.
    stale: usize,
    /// The smallest mask that succeeded.
    best: f64,
}

impl<'a> Cost<'a> {
    /// Before the first pass.
    pub fn new(params: &'a NeuralCleanse) -> Self {
        let moved = (false, false);
        Self { params, weight: 0.0, ready: 0, up: 0, down: 0, moved, stale: 0, best: f64::INFINITY }
    }

    /// Updates the weight after a pass, with the trigger's success in percent and the size of its mask. Returns
    /// whether this is the smallest mask that succeeded so far.
    pub fn after_pass(&mut self, success: f64, norm: f64) -> bool {
        let succeeded = success >= self.params.success;
        let is_best = succeeded && norm < self.best;
        let before = self.best;
        if is_best {
            self.best = norm;
        }
        if self.best.is_finite() {
            let is_smaller = self.best < self.params.early_stop_threshold * before;
            self.stale = if is_smaller { 0 } else { self.stale + 1 };
        }
        self.adapt(succeeded);
        is_best
    }

    /// Whether the search can stop.
    pub fn ends(&self) -> bool {
        self.moved == (true, true) && self.stale >= self.params.early_stop_patience
    }

    fn adapt(&mut self, succeeded: bool) {
        let NeuralCleanse { cost, patience, multiplier, .. } = *self.params;
        if self.weight == 0.0 && succeeded {
            self.ready += 1;
            if self.ready >= patience {
                self.weight = cost;
                (self.up, self.down, self.moved) = (0, 0, (false, false));
            }
        } else {
            self.ready = 0;
        }
        (self.up, self.down) = if succeeded { (self.up + 1, 0) } else { (0, self.down + 1) };
        if self.up >= patience {
            self.up = 0;
            self.weight *= multiplier;
            self.moved.0 = true;
        } else if self.down >= patience {
            self.down = 0;
            self.weight /= multiplier.powf(1.5);
            self.moved.1 = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> NeuralCleanse {
        NeuralCleanse { patience: 2, early_stop_patience: 3, ..NeuralCleanse::default() }
    }

    #[test]
    fn the_weight_starts_at_zero_and_follows_streaks() {
        let params = params();
        let mut cost = Cost::new(&params);
        let mut weights = vec![];
        // Two successes in a row start it, and the second one counts for its doubling. One failure does not change it;
        // two in a row divide it by 2^1.5.
        for success in [50.0, 99.0, 100.0, 99.0, 99.5, 98.9, 99.0, 50.0, 60.0] {
            cost.after_pass(success, 10.0);
            weights.push(cost.weight);
        }
        let down = 2e-3 / 2f64.powf(1.5);
        assert_eq!(weights, [0.0, 0.0, 1e-3, 2e-3, 2e-3, 2e-3, 2e-3, 2e-3, down]);
    }

    #[test]
    fn the_best_mask_is_the_smallest_that_succeeds() {
        let params = params();
        let mut cost = Cost::new(&params);
        let passes = [(99.0, 9.0), (50.0, 1.0), (99.0, 8.0), (100.0, 8.5), (99.0, 7.99)];
        assert_eq!(
            passes.map(|(success, norm)| cost.after_pass(success, norm)),
            [true, false, true, false, true]
        );
    }

    #[test]
    fn the_search_ends_when_the_weight_has_gone_both_ways_and_nothing_gets_smaller() {
        let params = params();
        let mut cost = Cost::new(&params);
        let mut pass = |success, norm| {
            cost.after_pass(success, norm);
            cost.ends()
        };
        // A weight that has not changed yet never ends the search.
        assert!((0..4).all(|_| !pass(100.0, 9.0)));
        // 8.95 is not 1% below 9, 8.0 is.
        assert!(!pass(100.0, 8.95) && !pass(100.0, 8.0) && !pass(50.0, 7.0));
        assert!(!pass(50.0, 7.0));
        assert!(pass(50.0, 7.0));
    }
}
