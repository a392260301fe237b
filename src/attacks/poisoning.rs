//! Which images an attack poisons, and the label that they get: the parameters that all attacks share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LabelRule;
use crate::data::{DataError, InvalidParam};
use crate::rng::stream;

/// Which images are poisoned, and the label that they get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Images of any class are labeled as the target class.
    #[default]
    All2one,
    /// Images of any class are labeled as the next class, those of the last class as the first.
    All2all,
    /// Images of the target class are stamped and keep their label.
    CleanLabel,
    /// Images of the source class are labeled as the target class. Stamped images of other classes keep their label,
    /// so that the trigger works on the source class only.
    SourceSpecific,
}

/// The images that `rate` is a fraction of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateOf {
    /// All training images. With `all2one`, images of the target class are drawn too, as the reference does.
    #[default]
    Dataset,
    /// Training images of the target class.
    TargetClass,
    /// Training images of the other classes; only these are drawn.
    NonTarget,
    /// Training images of the source class.
    SourceClass,
}

/// How many and which images an attack poisons, and the label that they get.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Poisoning {
    /// The label rule: `all2one`, `all2all`, `clean_label` or `source_specific`.
    pub rule: Rule,
    /// The target class. It has no effect with `all2all`.
    pub target: u32,
    /// The source class. Required by `source_specific`, and allowed only there.
    pub source: Option<u32>,
    /// The fraction of images to poison.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub rate: f64,
    /// The images that `rate` is a fraction of: `dataset`, `target_class`, `non_target` or `source_class`.
    pub rate_of: RateOf,
    /// The number of cover images per poisoned image, for `source_specific` only; 1 if not given. Cover images are
    /// stamped images of classes that are neither source nor target. They keep their label.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub cover_ratio: Option<f64>,
}

impl Default for Poisoning {
    fn default() -> Self {
        let (rule, rate_of) = (Rule::All2one, RateOf::Dataset);
        Self { rule, target: 0, source: None, rate: 0.1, rate_of, cover_ratio: None }
    }
}

impl Poisoning {
    /// A fraction of the target class, which keeps its label.
    pub(super) fn clean_label(rate: f64) -> Self {
        Self { rule: Rule::CleanLabel, rate, rate_of: RateOf::TargetClass, ..Self::default() }
    }

    /// Checks that the parameters match each other.
    pub fn check(&self) -> Vec<InvalidParam> {
        let mut wrong = vec![];
        let mut refuse = |bad: bool, field, message: &str, help: Option<&str>| {
            if bad {
                let error = InvalidParam::new(field, message);
                wrong.push(help.map_or(error.clone(), |help| error.with_help(help)));
            }
        };
        refuse(!(self.rate > 0.0 && self.rate <= 1.0), "rate", "must be above 0 and at most 1", None);
        let specific = self.rule == Rule::SourceSpecific;
        let (needs, only) =
            ("`source_specific` needs a source class", "has an effect with `source_specific` only");
        refuse(specific && self.source.is_none(), "source", needs, Some("add `source: <class>`"));
        refuse(!specific && self.source.is_some(), "source", only, Some("remove it"));
        refuse(!specific && self.cover_ratio.is_some(), "cover_ratio", only, Some("remove it"));
        let same = specific && self.source == Some(self.target);
        refuse(same, "source", "must differ from `target`", None);
        let (problem, help) = match (self.rule, self.rate_of) {
            (Rule::All2one, RateOf::TargetClass) => {
                ("changes no label under `all2one`", Some("write `rule: clean_label`"))
            }
            (Rule::All2all, RateOf::TargetClass | RateOf::NonTarget) => {
                ("`all2all` has no target class", Some("write `rate_of: dataset`"))
            }
            (Rule::CleanLabel, RateOf::NonTarget) => {
                ("`clean_label` poisons images of the target class only", None)
            }
            (Rule::SourceSpecific, RateOf::TargetClass | RateOf::NonTarget) => (
                "`source_specific` poisons images of the source class only",
                Some("write `rate_of: source_class`"),
            ),
            (Rule::All2one | Rule::All2all | Rule::CleanLabel, RateOf::SourceClass) => {
                ("only `source_specific` has a source class", None)
            }
            _ => return wrong,
        };
        refuse(true, "rate_of", problem, help);
        wrong
    }

    /// Checks the classes against their number in the data set.
    pub fn check_classes(&self, classes: usize) -> Vec<InvalidParam> {
        let target = Some(self.target).filter(|_| self.rule != Rule::All2all);
        let named = [("target", target), ("source", self.source)];
        let unknown = |(field, class): (&'static str, Option<u32>)| {
            let class = class.filter(|class| *class as usize >= classes)?;
            let last = classes.saturating_sub(1);
            let problem = format!("class {class}, but the data set has {classes} classes, 0 to {last}");
            Some(InvalidParam::new(field, problem))
        };
        named.into_iter().filter_map(unknown).collect()
    }

    /// The label rule of the trigger. With `clean_label` it is the target: an evaluation expects it for all other
    /// classes.
    pub(super) fn label_rule(&self) -> LabelRule {
        let target = self.target;
        match (self.rule, self.source) {
            (Rule::All2all, _) => LabelRule::All2all,
            (Rule::SourceSpecific, Some(source)) => LabelRule::SourceSpecific { source, target },
            _ => LabelRule::All2one { target },
        }
    }

    /// Draws which of the images at `pool` to poison and which to stamp as cover images.
    ///
    /// # Errors
    /// If the rate selects no image, or more images than there are.
    pub(super) fn draw(&self, labels: &[u32], pool: &[u32], seed: u64) -> Result<Drawn, DataError> {
        let of = |class: Option<u32>| move |position: &u32| Some(labels[*position as usize]) == class;
        let (of_target, of_source) = (of(Some(self.target)), of(self.source));
        let counted = match self.rate_of {
            RateOf::Dataset => pool.len(),
            RateOf::TargetClass => pool.iter().filter(|position| of_target(position)).count(),
            RateOf::NonTarget => pool.iter().filter(|position| !of_target(position)).count(),
            RateOf::SourceClass => pool.iter().filter(|position| of_source(position)).count(),
        };
        let count = (self.rate * counted as f64) as usize;
        if count == 0 {
            let problem = format!("a rate of {} of {counted} images poisons none", self.rate);
            return Err(DataError::unfit(problem, "raise `rate`"));
        }
        let mut order = pool.to_vec();
        stream(seed, "poison", 0, 0).shuffle(&mut order);
        let victims = take(&mut order, count, |position| match (self.rule, self.rate_of) {
            (Rule::CleanLabel, _) => of_target(position),
            (Rule::SourceSpecific, _) => of_source(position),
            (_, RateOf::NonTarget) => !of_target(position),
            _ => true,
        });
        let victims = victims.map_err(|found| self.too_few(count, found))?;
        let covers = match self.rule {
            Rule::SourceSpecific => {
                let ratio = self.cover_ratio.unwrap_or(1.0);
                take_covers(&mut order, "cover_ratio", ratio, count, |p| !of_target(p) && !of_source(p))?
            }
            _ => vec![],
        };
        Ok(Drawn { victims, covers, rest: order })
    }

    fn too_few(&self, count: usize, found: usize) -> DataError {
        let (class, of_class) = match self.source {
            Some(source) => (source, "source_class"),
            None => (self.target, "target_class"),
        };
        let problem =
            format!("a rate of {} needs {count} images, but class {class} has only {found}", self.rate);
        DataError::unfit(problem, format!("lower `rate`, or write `rate_of: {of_class}`"))
    }
}

/// The chosen positions in the training images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    /// Images to stamp and to label by the rule, ascending.
    pub victims: Vec<u32>,
    /// Images to stamp that keep their labels, ascending.
    pub covers: Vec<u32>,
    /// All other images, in a random order.
    pub rest: Vec<u32>,
}

/// Takes `ratio` cover images for each of the `victims` out of `order`, ascending; `parameter` is the name of the
/// ratio.
///
/// # Errors
/// If too few images fit.
pub(super) fn take_covers(
    order: &mut Vec<u32>,
    parameter: &str,
    ratio: f64,
    victims: usize,
    fits: impl Fn(&u32) -> bool,
) -> Result<Vec<u32>, DataError> {
    let count = (ratio * victims as f64) as usize;
    take(order, count, fits).map_err(|found| {
        let problem =
            format!("`{parameter}` of {ratio} needs {count} cover images, but only {found} are left");
        DataError::unfit(problem, format!("lower `{parameter}` or `rate`"))
    })
}

/// Takes the first `count` positions that fit out of `order`, ascending.
///
/// # Errors
/// The number of positions that fit, if it is smaller.
fn take(order: &mut Vec<u32>, count: usize, fits: impl Fn(&u32) -> bool) -> Result<Vec<u32>, usize> {
    let mut taken: Vec<u32> = order.iter().copied().filter(fits).take(count).collect();
    if taken.len() < count {
        return Err(taken.len());
    }
    taken.sort_unstable();
    order.retain(|position| taken.binary_search(position).is_err());
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions of 100 images of 10 classes in turn.
    fn drawn(poisoning: Poisoning) -> Result<Drawn, DataError> {
        let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
        let pool: Vec<u32> = (0..100).collect();
        poisoning.draw(&labels, &pool, 1)
    }

    fn of(rule: Rule, rate_of: RateOf, rate: f64) -> Poisoning {
        let source = (rule == Rule::SourceSpecific).then_some(7);
        Poisoning { rule, rate_of, rate, target: 3, source, cover_ratio: None }
    }

    fn classes(positions: &[u32]) -> Vec<u32> {
        let mut classes: Vec<u32> = positions.iter().map(|position| position % 10).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    #[test]
    fn rates_are_shares_of_what_they_say() {
        let count = |rule, rate_of| drawn(of(rule, rate_of, 0.5)).unwrap().victims.len();
        assert_eq!(count(Rule::All2one, RateOf::Dataset), 50);
        assert_eq!(count(Rule::All2one, RateOf::NonTarget), 45);
        assert_eq!(count(Rule::CleanLabel, RateOf::TargetClass), 5);
        assert_eq!(count(Rule::SourceSpecific, RateOf::SourceClass), 5);
        assert_eq!(drawn(of(Rule::CleanLabel, RateOf::Dataset, 0.05)).unwrap().victims.len(), 5);
    }

    #[test]
    fn every_position_is_drawn_once() {
        let Drawn { victims, covers, mut rest } =
            drawn(of(Rule::SourceSpecific, RateOf::SourceClass, 0.5)).unwrap();
        assert_eq!((victims.len(), covers.len(), rest.len()), (5, 5, 90));
        assert!(victims.is_sorted() && covers.is_sorted() && !rest.is_sorted());
        rest.extend(victims.iter().chain(&covers));
        rest.sort_unstable();
        assert_eq!(rest, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn classes_are_those_of_the_rule() {
        let victims = |rule, rate_of, rate| classes(&drawn(of(rule, rate_of, rate)).unwrap().victims);
        assert!(
            victims(Rule::All2one, RateOf::Dataset, 0.9).contains(&3),
            "the reference draws the target class too"
        );
        assert!(!victims(Rule::All2one, RateOf::NonTarget, 0.9).contains(&3));
        assert_eq!(victims(Rule::CleanLabel, RateOf::TargetClass, 1.0), [3]);
        assert_eq!(victims(Rule::SourceSpecific, RateOf::SourceClass, 1.0), [7]);
        let many = Poisoning { cover_ratio: Some(8.0), ..of(Rule::SourceSpecific, RateOf::SourceClass, 1.0) };
        assert_eq!(classes(&drawn(many).unwrap().covers), [0, 1, 2, 4, 5, 6, 8, 9]);
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let message = |poisoning| drawn(poisoning).unwrap_err().to_string();
        assert!(message(of(Rule::All2one, RateOf::Dataset, 0.001)).contains("of 100 images poisons none"));
        let all = message(of(Rule::CleanLabel, RateOf::Dataset, 0.2));
        assert!(all.contains("needs 20 images, but class 3 has only 10"), "{all}");
        let covers =
            Poisoning { cover_ratio: Some(9.0), ..of(Rule::SourceSpecific, RateOf::SourceClass, 1.0) };
        assert!(message(covers).contains("needs 90 cover images, but only 80 are left"));
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused_by_name() {
        let check =
            |poisoning: Poisoning| poisoning.check().iter().map(|wrong| wrong.field).collect::<Vec<_>>();
        assert_eq!(check(of(Rule::All2one, RateOf::Dataset, 1.0)), [""; 0]);
        assert_eq!(check(of(Rule::All2one, RateOf::TargetClass, 1.5)), ["rate", "rate_of"]);
        assert_eq!(check(of(Rule::All2all, RateOf::NonTarget, 0.1)), ["rate_of"]);
        assert_eq!(check(of(Rule::CleanLabel, RateOf::NonTarget, 0.1)), ["rate_of"]);
        assert_eq!(check(of(Rule::CleanLabel, RateOf::SourceClass, 0.1)), ["rate_of"]);
        let specific = of(Rule::SourceSpecific, RateOf::SourceClass, 0.1);
        assert_eq!(check(specific), [""; 0]);
        assert_eq!(check(Poisoning { source: None, ..specific }), ["source"]);
        assert_eq!(
            check(Poisoning { source: Some(3), rate_of: RateOf::NonTarget, ..specific }),
            ["source", "rate_of"]
        );
        let elsewhere =
            Poisoning { rule: Rule::All2one, rate_of: RateOf::Dataset, cover_ratio: Some(1.0), ..specific };
        assert_eq!(check(elsewhere), ["source", "cover_ratio"]);
    }
}
