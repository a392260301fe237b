//! Refool (Liu et al. 2020): a reflection, as on a window pane, on images of the target class.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::Reflect;
use super::{Attack, AttackError, Case, Operator, Poisoning, Quirks};
use crate::data::{DataError, Images, InvalidParam};
use crate::rng::stream;

/// Refool: one of a pool of pictures is reflected by the image, as two ghosts or out of focus, on images of the target
/// class, which keep their label. Which picture, how, and how strongly is drawn for each image, once.
///
/// The paper's third kind, reflections in focus, and its search for the pictures that work best are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refool {
    /// A folder of JPEG and PNG files, or one such file, to take reflections from; training images of other classes
    /// than the target if not given.
    #[serde(skip_serializing)]
    pub pictures: Option<PathBuf>,
    /// Pictures in the pool, at most as many as there are.
    #[schemars(range(min = 1, max = 10_000))]
    pub pool: u32,
    /// The share of ghosts; the other reflections are out of focus.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ghost: f64,
    /// The share of its own light that an image keeps; drawn for each image from 0.55 to 0.95 if not given, as in the
    /// paper. BackdoorBench has 0.4, and wrong labels (`rule: all2one`), since else the ASR stays low.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: Option<f64>,
    /// `argd`: as in the ARGD repository, one picture is reflected by all, the third of the training images on training
    /// images and the third of the test images on test images, and 39 of 101 reflections are ghosts. Then `pictures`,
    /// `pool`, `ghost` and `alpha` have no meaning.
    pub quirks: Option<Quirks>,
}

impl Default for Refool {
    fn default() -> Self {
        Self { pictures: None, pool: 200, ghost: 0.49, alpha: None, quirks: None }
    }
}

/// The share of ghosts in the ARGD repository: `randint(0, 100) < 39`.
const ARGD_GHOST: f32 = 39.0 / 101.0;
/// The picture that the ARGD repository reflects.
const ARGD_PICTURE: usize = 2;

impl Attack for Refool {
    fn usual_poisoning() -> Poisoning {
        Poisoning::clean_label(0.2)
    }

    fn check(&self) -> Vec<InvalidParam> {
        let idle = self.quirks == Some(Quirks::Argd) && self.pictures.is_some();
        let wrong = || InvalidParam::new("pictures", "has no meaning with `quirks: argd`; remove it");
        idle.then(wrong).into_iter().collect()
    }

    fn pictures(&self) -> Option<&Path> {
        self.pictures.as_deref()
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        if self.quirks == Some(Quirks::Argd) {
            return Ok(argd(&case.dataset.test, case.seed)?.into());
        }
        let images = case.pictures.unwrap_or(&case.dataset.train);
        let of_target = |i: usize| case.pictures.is_none() && images.labels()[i] == case.poisoning.target;
        let mut order = stream(case.seed, "trigger", 0, 0).permutation(images.len());
        order.retain(|&i| !of_target(i as usize));
        order.truncate(self.pool as usize);
        let (pool, ghost, alpha) = (images.select(&order).into_pixels(), self.ghost, self.alpha);
        let alpha = alpha.map(|alpha| alpha as f32);
        Ok(Reflect { pool, ghost: ghost as f32, alpha, seed: case.seed }.into())
    }

    fn training_operator(&self, case: &Case<'_>) -> Result<Option<Operator>, AttackError> {
        match self.quirks {
            // The repository draws anew for the test images, so the two differ in their seeds too.
            Some(Quirks::Argd) => Ok(Some(argd(&case.dataset.train, !case.seed)?.into())),
            None => Ok(None),
        }
    }
}

/// What the ARGD repository does.
fn argd(images: &Images, seed: u64) -> Result<Reflect, DataError> {
    if images.len() <= ARGD_PICTURE {
        let problem = format!("the third image is to be reflected, but there are only {}", images.len());
        return Err(DataError::Mismatch(problem));
    }
    Ok(Reflect { pool: images.image(ARGD_PICTURE).to_vec(), ghost: ARGD_GHOST, alpha: None, seed })
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{CIFAR, case};
    use super::*;
    use crate::data::Dataset;

    /// 20 training images whose value is their position, of two classes in turn, and test images of 100 more.
    fn dataset() -> Dataset {
        let images = |plus: u8| {
            let pixels = (0..20).flat_map(|i| vec![i + plus; CIFAR.len()]).collect();
            Images::new(CIFAR, pixels, (0..20).map(|i| i % 2).collect()).unwrap()
        };
        Dataset::new(vec!["even".to_owned(), "odd".to_owned()], images(0), images(100)).unwrap()
    }

    fn drawn(operator: Operator) -> (Vec<u8>, f32, u64) {
        let Operator::Reflect(Reflect { pool, ghost, seed, .. }) = operator else { panic!("no reflection") };
        (pool.chunks(CIFAR.len()).map(|picture| picture[0]).collect(), ghost, seed)
    }

    #[test]
    fn pictures_are_images_of_other_classes_or_the_users() {
        let (dataset, poisoning) = (dataset(), Refool::usual_poisoning());
        let case = case(&dataset, &poisoning, 1);
        let attack = Refool { pool: 7, ..Refool::default() };
        let (pool, ghost, _) = drawn(attack.operator(&case).unwrap());
        assert!(pool.len() == 7 && pool.iter().all(|value| value % 2 == 1), "{pool:?}");
        assert_eq!(ghost, 0.49);
        let pictures = Images::new(CIFAR, vec![50; CIFAR.len()], vec![0]).unwrap();
        let (pool, ..) = drawn(attack.operator(&Case { pictures: Some(&pictures), ..case }).unwrap());
        assert_eq!(pool, [50]);
        assert_eq!(attack.training_operator(&case).unwrap(), None);
    }

    #[test]
    fn the_repository_reflects_one_picture_of_each_half() {
        let (dataset, poisoning) = (dataset(), Refool::usual_poisoning());
        let case = case(&dataset, &poisoning, 1);
        let attack = Refool { quirks: Some(Quirks::Argd), ..Refool::default() };
        let (test_pool, ghost, test_seed) = drawn(attack.operator(&case).unwrap());
        let (train_pool, _, train_seed) = drawn(attack.training_operator(&case).unwrap().unwrap());
        assert_eq!((test_pool, train_pool, ghost), (vec![102], vec![2], 39.0 / 101.0));
        assert_ne!(test_seed, train_seed);
        let with_pictures = Refool { pictures: Some("panes".into()), ..attack };
        assert_eq!(with_pictures.check()[0].field, "pictures");
    }
}
