//! The field's metrics, from predictions: exact counts, percentages in f64.
//!
//! ACC = P(f(x) = y). With a trigger T and a label rule y -> y', over the images whose label the rule changes:
//! ASR = P(f(T(x)) = y'), RA = P(f(T(x)) = y).

/// A number of cases out of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Cases that count.
    pub hits: usize,
    /// All cases.
    pub of: usize,
}

impl Rate {
    /// The fraction in percent; `None` if there are no cases.
    pub fn percent(self) -> Option<f64> {
        (self.of > 0).then(|| 100.0 * self.hits as f64 / self.of as f64)
    }

    /// Counts by class the cases (class, whether it counts), up to the highest class that occurs.
    fn by_class(cases: impl Iterator<Item = (u32, bool)>) -> Vec<Self> {
        let mut rates = vec![];
        for (class, hit) in cases {
            let class = class as usize;
            if rates.len() <= class {
                rates.resize(class + 1, Self { hits: 0, of: 0 });
            }
            rates[class].hits += usize::from(hit);
            rates[class].of += 1;
        }
        rates
    }

    fn count(cases: impl Iterator<Item = bool>) -> Self {
        cases.fold(Self { hits: 0, of: 0 }, |rate, hit| Self {
            hits: rate.hits + usize::from(hit),
            of: rate.of + 1,
        })
    }
}

/// Metrics that need a trigger, all over the images whose label its rule changes.
///
/// Under all2one these are the images outside the target class, under all2all every image, under a source-specific rule
/// those of the source class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// Clean images that are classified correctly.
    pub acc_excl_target: Rate,
    /// Triggered images that are classified as the attacker wants.
    pub asr: Rate,
    /// Triggered images that are still classified correctly.
    pub ra: Rate,
    /// [`Triggered::asr`] by true class, up to the highest that occurs.
    pub asr_by_class: Vec<Rate>,
}

/// The effect of a trigger where it should not work: on images whose label the rule keeps and that are not of the
/// target class. Under a source-specific rule these are the images of all classes but source and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Triggered images that are classified as the target.
    pub asr: Rate,
    /// Triggered images that are classified correctly.
    pub ra: Rate,
}

impl Elsewhere {
    /// Counts: `wanted` are the labels that the attacker's rule gives, `triggered` the predictions with the trigger.
    pub fn count(labels: &[u32], wanted: &[u32], triggered: &[u32], target: u32) -> Self {
        let kept = || (0..labels.len()).filter(|&i| wanted[i] == labels[i] && labels[i] != target);
        Self {
            asr: Rate::count(kept().map(|i| triggered[i] == target)),
            ra: Rate::count(kept().map(|i| triggered[i] == labels[i])),
        }
    }
}

/// Metrics of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Clean images of all classes that are classified correctly.
    pub acc: Rate,
    /// [`Report::acc`] by true class, up to the highest that occurs.
    pub acc_by_class: Vec<Rate>,
    /// The metrics with a trigger, if there is one.
    pub triggered: Option<Triggered>,
}

impl Report {
    /// Counts from true labels and the predictions for the clean images.
    pub fn clean(labels: &[u32], clean: &[u32]) -> Self {
        let cases = || labels.iter().zip(clean).map(|(label, found)| (*label, label == found));
        let acc = Rate::count(cases().map(|(_, hit)| hit));
        Self { acc, acc_by_class: Rate::by_class(cases()), triggered: None }
    }

    /// Counts with a trigger too: `wanted` are the labels that the attacker's rule gives, `triggered` the predictions
    /// for the same images with the trigger (images whose label does not change are not counted).
    pub fn with_trigger(labels: &[u32], clean: &[u32], wanted: &[u32], triggered: &[u32]) -> Self {
        let changed = || (0..labels.len()).filter(|&i| wanted[i] != labels[i]);
        let triggered = Triggered {
            acc_excl_target: Rate::count(changed().map(|i| clean[i] == labels[i])),
            asr: Rate::count(changed().map(|i| triggered[i] == wanted[i])),
            ra: Rate::count(changed().map(|i| triggered[i] == labels[i])),
            asr_by_class: Rate::by_class(changed().map(|i| (labels[i], triggered[i] == wanted[i]))),
        };
        Self { triggered: Some(triggered), ..Self::clean(labels, clean) }
    }
}

/// Defense effectiveness rating in percent: (max(0, ASR before - ASR) - max(0, ACC before - ACC) + 100) / 2.
///
/// All arguments in percent, each pair (before, after) the defense; 50 means no change.
pub fn der(acc: (f64, f64), asr: (f64, f64)) -> f64 {
    let drop = |(before, after): (f64, f64)| (before - after).max(0.0);
    (drop(asr) - drop(acc) + 100.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [u32; 6] = [0, 0, 1, 1, 2, 2];
    const CLEAN: [u32; 6] = [0, 1, 1, 1, 2, 0];

    fn rate(hits: usize, of: usize) -> Rate {
        Rate { hits, of }
    }

    #[test]
    fn accuracy_counts_all_classes() {
        let report = Report::clean(&LABELS, &CLEAN);
        assert_eq!((report.acc, report.triggered), (rate(4, 6), None));
        assert_eq!(report.acc.percent(), Some(100.0 * 4.0 / 6.0));
        assert_eq!(report.acc_by_class, [rate(1, 2), rate(2, 2), rate(1, 2)]);
    }

    #[test]
    fn all2one_leaves_out_the_target_class() {
        let wanted = LABELS.map(|_| 0);
        let report = Report::with_trigger(&LABELS, &CLEAN, &wanted, &[0, 0, 0, 1, 0, 1]);
        let asr_by_class = vec![rate(0, 0), rate(1, 2), rate(1, 2)];
        let expected =
            Triggered { acc_excl_target: rate(3, 4), asr: rate(2, 4), ra: rate(1, 4), asr_by_class };
        assert_eq!((report.acc, report.triggered), (rate(4, 6), Some(expected)));
    }

    #[test]
    fn all2all_leaves_out_none() {
        let wanted = LABELS.map(|label| (label + 1) % 3);
        let report = Report::with_trigger(&LABELS, &CLEAN, &wanted, &[1, 0, 2, 2, 0, 1]);
        let asr_by_class = vec![rate(1, 2), rate(2, 2), rate(1, 2)];
        let expected =
            Triggered { acc_excl_target: rate(4, 6), asr: rate(4, 6), ra: rate(1, 6), asr_by_class };
        assert_eq!(report.triggered, Some(expected));
    }

    #[test]
    fn a_source_specific_rule_counts_its_source_and_tells_of_the_others() {
        // Source 1, target 0: images of class 2 keep their label.
        let wanted = LABELS.map(|label| if label == 1 { 0 } else { label });
        let triggered = [0, 0, 0, 1, 0, 2];
        let report = Report::with_trigger(&LABELS, &CLEAN, &wanted, &triggered).triggered.unwrap();
        assert_eq!((report.acc_excl_target, report.asr, report.ra), (rate(2, 2), rate(1, 2), rate(1, 2)));
        let elsewhere = Elsewhere::count(&LABELS, &wanted, &triggered, 0);
        assert_eq!(elsewhere, Elsewhere { asr: rate(1, 2), ra: rate(1, 2) });
    }

    #[test]
    fn a_rate_of_nothing_has_no_percentage() {
        assert_eq!(rate(0, 0).percent(), None);
        let report = Report::with_trigger(&[3, 3], &[3, 3], &[3, 3], &[3, 3]);
        assert_eq!(report.triggered.unwrap().asr.percent(), None);
    }

    #[test]
    fn der_rewards_a_lower_asr_and_charges_a_lower_accuracy() {
        assert_eq!(der((90.0, 90.0), (100.0, 100.0)), 50.0);
        assert_eq!(der((90.0, 90.0), (100.0, 0.0)), 100.0);
        assert_eq!(der((90.0, 80.0), (100.0, 10.0)), 90.0);
        // Neither a higher accuracy nor a higher ASR counts.
        assert_eq!(der((80.0, 90.0), (50.0, 60.0)), 50.0);
    }
}
