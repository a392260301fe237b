//! Which images an attack poisons and what label they get: what all attacks share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AnyAttack, LabelRule, Trigger};
use crate::data::{DataError, Dataset, InvalidParam, Overlay};
use crate::rng::stream;

/// Which images are poisoned, and the label that they get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Images of any class are labelled as the target class.
    #[default]
    All2one,
    /// Images of any class are labelled as the next class, those of the last as the first.
    All2all,
    /// Images of the target class are stamped and keep their label.
    CleanLabel,
}

/// Which images `rate` is a share of.
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
}

/// How many images an attack poisons, which, and the label that they get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisoning {
    /// The label rule.
    pub rule: Rule,
    /// The target class; without meaning for [`Rule::All2all`].
    pub target: u32,
    /// The share of images to poison, in (0, 1].
    pub rate: f64,
    /// Which images it is a share of.
    pub rate_of: RateOf,
}

/// What poisoning makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Poisoned {
    /// What the attack stamps on an image.
    pub trigger: Trigger,
    /// The poisoned training images.
    pub overlay: Overlay,
    /// Poisoned images per training image, or per image of the pool that they were drawn from.
    pub rate_actual: f64,
}

impl Poisoning {
    /// Checks that the parameters go together.
    pub fn check(&self) -> Vec<InvalidParam> {
        let mut wrong = vec![];
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            wrong.push(InvalidParam::new("rate", "must be above 0 and at most 1"));
        }
        let problem = match (self.rule, self.rate_of) {
            (Rule::All2one, RateOf::TargetClass) => {
                "changes no label under `all2one`; use `rule: clean_label`"
            }
            (Rule::All2all, RateOf::TargetClass | RateOf::NonTarget) => {
                "`all2all` has no target class; use `dataset`"
            }
            (Rule::CleanLabel, RateOf::NonTarget) => "`clean_label` poisons images of the target class only",
            _ => return wrong,
        };
        wrong.push(InvalidParam::new("rate_of", problem));
        wrong
    }

    /// The label rule of the trigger. A clean label is the target's: evaluation asks for it on all other classes.
    fn label_rule(&self) -> LabelRule {
        match self.rule {
            Rule::All2one | Rule::CleanLabel => LabelRule::All2one { target: self.target },
            Rule::All2all => LabelRule::All2all,
        }
    }

    /// Draws which of the images at `pool` to poison, sorted.
    fn victims(&self, labels: &[u32], pool: &[u32], seed: u64) -> Result<Vec<u32>, DataError> {
        let of_target = |position: &u32| labels[*position as usize] == self.target;
        let counted = match self.rate_of {
            RateOf::Dataset => pool.len(),
            RateOf::TargetClass => pool.iter().filter(|position| of_target(position)).count(),
            RateOf::NonTarget => pool.iter().filter(|position| !of_target(position)).count(),
        };
        let count = (self.rate * counted as f64) as usize;
        let mut victims = pool.to_vec();
        stream(seed, "poison", 0, 0).shuffle(&mut victims);
        match (self.rule, self.rate_of) {
            (Rule::CleanLabel, _) => victims.retain(of_target),
            (_, RateOf::NonTarget) => victims.retain(|position| !of_target(position)),
            _ => {}
        }
        if count == 0 {
            let problem = format!("a rate of {} of {counted} images poisons none", self.rate);
            return Err(DataError::Mismatch(format!("{problem}; raise `rate`")));
        }
        if count > victims.len() {
            let problem =
                format!("a rate of {} asks for {count} images, but class {}", self.rate, self.target);
            let advice = "lower `rate`, or use `rate_of: target_class`";
            return Err(DataError::Mismatch(format!("{problem} has only {}; {advice}", victims.len())));
        }
        victims.truncate(count);
        victims.sort_unstable();
        Ok(victims)
    }
}

/// Poisons training images of `dataset`, those at `pool` if there is one.
///
/// # Errors
/// If the trigger does not fit the images, the target is not a class, or the rate asks for no image or for more
/// than there are.
pub fn poison(
    attack: &AnyAttack,
    dataset: &Dataset,
    pool: Option<&[u32]>,
    seed: u64,
) -> Result<Poisoned, DataError> {
    let poisoning = attack.attack().poisoning();
    let classes = dataset.classes.len() as u32;
    let operator = attack.attack().operator(dataset.shape(), seed)?;
    let trigger = Trigger::new(attack.name(), dataset.shape(), classes, poisoning.label_rule(), operator)?;

    let all: Vec<u32> = (0..dataset.train.len() as u32).collect();
    let pool = pool.unwrap_or(&all);
    if let Some(beyond) = pool.iter().find(|&&position| position as usize >= all.len()) {
        let problem = format!("position {beyond}, but there are {} training images", all.len());
        return Err(DataError::Mismatch(problem));
    }
    let victims = poisoning.victims(dataset.train.labels(), pool, seed)?;
    let rate_actual = victims.len() as f64 / pool.len() as f64;
    let images = trigger.stamp(&dataset.train, &victims)?;
    Ok(Poisoned { trigger, overlay: Overlay::new(victims, images)?, rate_actual })
}

#[cfg(test)]
mod tests {
    use super::super::BadNets;
    use super::*;
    use crate::data::{ImageShape, Images};

    const SHAPE: ImageShape = ImageShape { height: 6, width: 6, channels: 1 };

    /// 100 images of 10 classes, all of value 100.
    fn dataset() -> Dataset {
        let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
        let images = Images::new(SHAPE, vec![100; SHAPE.len() * 100], labels).unwrap();
        Dataset::new((0..10).map(|class| class.to_string()).collect(), images.clone(), images).unwrap()
    }

    fn badnets(rule: Rule, rate_of: RateOf, rate: f64) -> AnyAttack {
        AnyAttack::BadNets(BadNets { rule, rate_of, rate, target: 3, ..BadNets::default() })
    }

    fn poisoned(rule: Rule, rate_of: RateOf, rate: f64) -> Result<Poisoned, DataError> {
        poison(&badnets(rule, rate_of, rate), &dataset(), None, 1)
    }

    fn old_labels(poisoned: &Poisoned) -> Vec<u32> {
        poisoned.overlay.indices().iter().map(|index| index % 10).collect()
    }

    #[test]
    fn all2one_labels_every_drawn_image_as_the_target() {
        let poisoned = poisoned(Rule::All2one, RateOf::Dataset, 0.5).unwrap();
        assert_eq!((poisoned.overlay.images().len(), poisoned.rate_actual), (50, 0.5));
        assert!(poisoned.overlay.images().labels().iter().all(|&label| label == 3));
        assert!(old_labels(&poisoned).contains(&3), "the reference draws images of the target class too");
        assert!(
            (0..50).all(|i| poisoned.overlay.images().image(i).iter().filter(|&&v| v != 100).count() == 9)
        );
    }

    #[test]
    fn non_target_counts_and_draws_other_classes_only() {
        let poisoned = poisoned(Rule::All2one, RateOf::NonTarget, 0.5).unwrap();
        assert_eq!((poisoned.overlay.images().len(), poisoned.rate_actual), (45, 0.45));
        assert!(!old_labels(&poisoned).contains(&3));
    }

    #[test]
    fn all2all_labels_as_the_next_class() {
        let poisoned = poisoned(Rule::All2all, RateOf::Dataset, 1.0).unwrap();
        let next: Vec<u32> = old_labels(&poisoned).iter().map(|label| (label + 1) % 10).collect();
        assert_eq!(poisoned.overlay.images().labels(), next);
    }

    #[test]
    fn clean_labels_stay_and_evaluation_asks_for_the_target() {
        let of_class = poisoned(Rule::CleanLabel, RateOf::TargetClass, 0.5).unwrap();
        assert_eq!((of_class.overlay.images().len(), old_labels(&of_class)), (5, vec![3; 5]));
        assert!(of_class.overlay.images().labels().iter().all(|&label| label == 3));
        assert_eq!(of_class.trigger.target_label(7), 3);
        assert_eq!(poisoned(Rule::CleanLabel, RateOf::Dataset, 0.05).unwrap().overlay.images().len(), 5);
        let message = poisoned(Rule::CleanLabel, RateOf::Dataset, 0.2).unwrap_err().to_string();
        assert!(message.contains("asks for 20 images, but class 3 has only 10"), "{message}");
    }

    #[test]
    fn the_seed_draws_the_images_and_the_pool_limits_them() {
        let attack = badnets(Rule::All2one, RateOf::Dataset, 0.5);
        let indices =
            |pool, seed| poison(&attack, &dataset(), pool, seed).unwrap().overlay.indices().to_vec();
        assert_eq!(indices(None, 1), indices(None, 1));
        assert_ne!(indices(None, 1), indices(None, 2));
        let pool = [2, 30, 31, 32];
        let of_pool = indices(Some(&pool), 1);
        assert!(of_pool.len() == 2 && of_pool.iter().all(|index| pool.contains(index)));
        assert!(poison(&attack, &dataset(), Some(&[100]), 1).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(
            poisoned(Rule::All2one, RateOf::Dataset, 0.001).unwrap_err().to_string().contains("poisons none")
        );
        let check = |rule, rate_of, rate| {
            let wrong = badnets(rule, rate_of, rate).attack().poisoning().check();
            wrong.iter().map(|wrong| wrong.field).collect::<Vec<_>>()
        };
        assert_eq!(check(Rule::All2one, RateOf::Dataset, 1.0), [""; 0]);
        assert_eq!(check(Rule::All2one, RateOf::TargetClass, 1.5), ["rate", "rate_of"]);
        assert_eq!(check(Rule::All2all, RateOf::NonTarget, 0.1), ["rate_of"]);
        assert_eq!(check(Rule::CleanLabel, RateOf::NonTarget, 0.1), ["rate_of"]);
    }
}
