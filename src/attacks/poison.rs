//! Poisoning: from an attack to its trigger and the changed training images.

use rayon::prelude::*;

use super::poisoning::{Drawn, take_covers};
use super::{AnyAttack, AttackError, Case, Change, Covers, Trigger};
use crate::data::{DataError, Images, Overlay};

/// The result of poisoning.
#[derive(Clone, Debug, PartialEq)]
pub struct Poisoned {
    /// The trigger of the attack.
    pub trigger: Trigger,
    /// The changed training images: poisoned ones and cover images.
    pub overlay: Overlay,
    /// The number of poisoned images.
    pub poisoned: usize,
    /// The number of cover images: changed images with their own labels.
    pub covers: usize,
    /// The fraction of poisoned images among the training images, or in the pool that they were drawn from.
    pub rate_actual: f64,
}

/// Poisons training images.
///
/// # Errors
/// If the trigger does not fit the images, a class is unknown, there are too few images, or the model cannot be used.
pub fn poison(attack: &AnyAttack, case: &Case<'_>) -> Result<Poisoned, AttackError> {
    let (name, attack) = (attack.name(), attack.attack());
    let train = &case.dataset.train;
    let all: Vec<u32> = (0..train.len() as u32).collect();
    let pool = case.pool.unwrap_or(&all);
    if let Some(beyond) = pool.iter().find(|&&position| position as usize >= all.len()) {
        let problem = format!("position {beyond}, but there are {} training images", all.len());
        return Err(DataError::Mismatch(problem).into());
    }
    let labels = case.poisoning.label_rule();
    let classes = case.dataset.classes.len() as u32;
    let trigger_of = |operator| Trigger::new(name, case.shape(), classes, labels, operator);
    let trigger = trigger_of(attack.operator(case)?)?;
    let training = attack.training_operator(case)?.map(trigger_of).transpose()?;
    let stamp = training.as_ref().unwrap_or(&trigger);

    let Drawn { victims, covers, mut rest } = case.poisoning.draw(train.labels(), pool, case.seed)?;
    let poisoned = victims.len();
    let stamped = stamp.stamp_selected(attack.prepare(case, &victims)?, &victims)?;
    let kept = changed(train, &covers, &|index, pixels| stamp.apply(index, pixels))?;
    let mut parts = vec![(victims, stamped), (covers, kept)];
    if let Some(Covers { ratio, parameter, change }) = attack.covers(case, trigger.operator()) {
        let covers = take_covers(&mut rest, parameter, ratio, poisoned, |_| true)?;
        let images = changed(train, &covers, &*change)?;
        parts.push((covers, images));
    }
    let overlay = Overlay::join(&parts)?;
    let covers = overlay.indices().len() - poisoned;
    Ok(Poisoned { trigger, overlay, poisoned, covers, rate_actual: poisoned as f64 / pool.len() as f64 })
}

/// Copies the images at `positions`, changed, with their labels.
fn changed(images: &Images, positions: &[u32], change: &Change<'_>) -> Result<Images, DataError> {
    let (shape, chosen) = (images.shape(), images.select(positions));
    let labels = chosen.labels().to_vec();
    let mut pixels = chosen.into_pixels();
    let each = pixels.par_chunks_exact_mut(shape.len()).zip(positions);
    each.for_each(|(image, &position)| change(position as usize, image));
    Images::new(shape, pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{case, grey};
    use super::super::{BadNets, Poisoning, RateOf, Rule, WithPoisoning};
    use super::*;
    use crate::shape::Shape;

    const SHAPE: Shape = Shape { height: 6, width: 6, channels: 1 };

    fn poisoned(poisoning: Poisoning, pool: Option<&[u32]>, seed: u64) -> Result<Poisoned, AttackError> {
        let attack = AnyAttack::BadNets(WithPoisoning { own: BadNets::default(), shared: poisoning });
        poison(&attack, &Case { pool, ..case(&grey(SHAPE), &poisoning, seed) })
    }

    fn of(rule: Rule, rate_of: RateOf, rate: f64) -> Poisoning {
        Poisoning { rule, rate_of, rate, target: 3, ..Poisoning::default() }
    }

    /// The old and the new label of every changed image.
    fn labels(poisoned: &Poisoned) -> Vec<(u32, u32)> {
        let old = poisoned.overlay.indices().iter().map(|index| index % 10);
        old.zip(poisoned.overlay.images().labels().iter().copied()).collect()
    }

    #[test]
    fn every_poisoned_image_is_stamped_and_labeled_by_the_rule() {
        let all2one = poisoned(of(Rule::All2one, RateOf::Dataset, 0.5), None, 1).unwrap();
        assert_eq!((all2one.poisoned, all2one.covers, all2one.rate_actual), (50, 0, 0.5));
        assert!(labels(&all2one).iter().all(|&(_, new)| new == 3));
        let changed = |i| all2one.overlay.images().image(i).iter().filter(|&&value| value != 100).count();
        assert!((0..50).all(|i| changed(i) == 9));
        let all2all = poisoned(of(Rule::All2all, RateOf::Dataset, 1.0), None, 1).unwrap();
        assert!(labels(&all2all).iter().all(|&(old, new)| new == (old + 1) % 10));
        let clean = poisoned(of(Rule::CleanLabel, RateOf::TargetClass, 0.5), None, 1).unwrap();
        assert_eq!(labels(&clean), [(3, 3); 5]);
        assert_eq!(clean.trigger.target_label(7), 3, "the evaluation expects the target");
    }

    #[test]
    fn cover_images_of_other_classes_are_stamped_and_keep_their_label() {
        let specific = of(Rule::SourceSpecific, RateOf::SourceClass, 0.5);
        let poisoned =
            poisoned(Poisoning { source: Some(7), cover_ratio: Some(2.0), ..specific }, None, 1).unwrap();
        assert_eq!((poisoned.poisoned, poisoned.covers, poisoned.rate_actual), (5, 10, 0.05));
        let (victims, covers): (Vec<_>, Vec<_>) =
            labels(&poisoned).into_iter().partition(|&(old, _)| old == 7);
        assert_eq!(victims, [(7, 3); 5]);
        assert!(covers.len() == 10 && covers.iter().all(|&(old, new)| old == new && old != 3));
        let images = poisoned.overlay.images();
        assert!((0..15).all(|i| images.image(i) == images.image(0)), "all are stamped alike");
    }

    #[test]
    fn the_seed_draws_the_images_and_the_pool_limits_them() {
        let half = of(Rule::All2one, RateOf::Dataset, 0.5);
        let indices = |pool, seed| poisoned(half, pool, seed).unwrap().overlay.indices().to_vec();
        assert_eq!(indices(None, 1), indices(None, 1));
        assert_ne!(indices(None, 1), indices(None, 2));
        let pool = [2, 30, 31, 32];
        let of_pool = indices(Some(&pool), 1);
        assert!(of_pool.len() == 2 && of_pool.iter().all(|index| pool.contains(index)));
        assert!(poisoned(half, Some(&[100]), 1).is_err());
    }

    #[test]
    fn a_class_that_there_is_not_is_refused() {
        let specific = Poisoning { source: Some(10), ..of(Rule::SourceSpecific, RateOf::SourceClass, 0.5) };
        let message = poisoned(specific, None, 1).unwrap_err().to_string();
        assert_eq!(message, "source 10, but the data set has 10 classes, 0 to 9");
    }
}
