//! Statistics for the decisions of detectors, in f64.

/// The median; the mean of the two middle values if their number is even. 0 without values.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The standard deviation of a normal distribution over its median absolute deviation.
const CONSISTENCY: f64 = 1.4826;

/// Distances from the median in robust standard deviations: |x - median| / (1.4826 median |x - median|).
///
/// All are 0 if the median absolute deviation is 0, because there is no scale then.
pub(super) fn anomaly_indices(values: &[f64]) -> Vec<f64> {
    let middle = median(values);
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let scale = CONSISTENCY * median(&distances);
    distances.iter().map(|distance| if scale > 0.0 { distance / scale } else { 0.0 }).collect()
}

/// The mean and the standard deviation of the population; zeros without values.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// The quantile of the standard normal distribution at `p` in (0, 1), by bisection of its distribution function.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if below(middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The area under the ROC curve: the probability that a positive scores above a negative, with a tie counted as one
/// half. `None` without a positive or a negative.
pub(super) fn auroc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let positives = positives.iter().map(|&score| (score, true));
    let mut scores: Vec<(f64, bool)> =
        positives.chain(negatives.iter().map(|&score| (score, false))).collect();
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut won, mut below, mut positives) = (0.0, 0.0, 0.0);
    for tied in scores.chunk_by(|a, b| a.0 == b.0) {
        let here = tied.iter().filter(|(_, positive)| *positive).count() as f64;
        let others = tied.len() as f64 - here;
        won += here * (below + 0.5 * others);
        below += others;
        positives += here;
    }
    Some(won / (positives * below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_mean_of_the_two_middle_values() {
        assert_eq!(median(&[5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 100.0]), 3.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn anomaly_indices_are_distances_in_robust_deviations() {
        let indices = anomaly_indices(&[10.0, 50.0, 52.0, 54.0, 58.0]);
        let expected = [42.0, 2.0, 0.0, 2.0, 6.0].map(|distance| distance / (1.4826 * 2.0));
        assert_eq!(indices, expected);
        assert_eq!(anomaly_indices(&[3.0, 3.0, 3.0, 9.0]), [0.0; 4]);
    }

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        let cases =
            [(0.01, -2.326_347_874_040_841), (0.05, -1.644_853_626_951_473), (0.975, 1.959_963_984_540_054)];
        for (p, expected) in cases {
            assert!((normal_quantile(p) - expected).abs() < 1e-12, "{p}");
        }
        assert!(normal_quantile(0.5).abs() < 1e-12);
    }

    #[test]
    fn moments_are_those_of_the_population() {
        assert_eq!(moments(&[1.0, 3.0, 5.0, 7.0]), (4.0, 5f64.sqrt()));
        assert_eq!(moments(&[]), (0.0, 0.0));
    }

    #[test]
    fn auroc_counts_pairs_and_halves_ties() {
        let by_pairs = |positives: &[f64], negatives: &[f64]| {
            let score = |p: f64, n: f64| {
                if p > n {
                    1.0
                } else if p == n {
                    0.5
                } else {
                    0.0
                }
            };
            let won: f64 = positives.iter().flat_map(|&p| negatives.iter().map(move |&n| score(p, n))).sum();
            won / (positives.len() * negatives.len()) as f64
        };
        let (positives, negatives) = ([0.9, 0.4, 0.4, 0.7], [0.1, 0.4, 0.8]);
        assert_eq!(auroc(&positives, &negatives), Some(by_pairs(&positives, &negatives)));
        assert_eq!(auroc(&[2.0, 3.0], &[1.0]), Some(1.0));
        assert_eq!(auroc(&[1.0], &[1.0, 1.0]), Some(0.5));
        assert_eq!(auroc(&[], &[1.0]), None);
    }
}
