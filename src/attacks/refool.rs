//! Refool (Liu et al. 2020): a reflection, as on a window pane, on images of the target class.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::Reflect;
use super::{Attack, AttackError, Case, Operator, Poisoning, Quirks};
use crate::data::{DataError, Images, InvalidParam};
use crate::rng::stream;

/// Refool: images of the target class reflect a picture of a pool, as two ghosts or out of focus, and keep their
/// label. The picture, the kind of reflection and its strength are drawn once for each image.
///
/// The paper's reflections in focus, and its search for the pictures with the highest ASR, are not implemented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refool {
    /// The pictures to reflect: a JPEG or PNG file, or a folder of such files. If not given, training images of the
    /// other classes.
    #[serde(skip_serializing)]
    pub pictures: Option<PathBuf>,
    /// The largest number of pictures in the pool.
    #[schemars(range(min = 1, max = 10_000))]
    pub pool: u32,
    /// The fraction of ghosts; the other reflections are out of focus.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ghost: f64,
    /// The weight of the image itself, alpha. If not given, it is drawn from 0.55 to 0.95 for each image, as in the
    /// paper. BackdoorBench uses 0.4 and wrong labels (`rule: all2one`), because otherwise the ASR stays low.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: Option<f64>,
    /// `argd`: as in the ARGD repository, all images reflect one picture: training images the third training image,
    /// test images the third test image. Of 101 reflections, 39 are ghosts. Then `pictures` is not allowed, and
    /// `pool`, `ghost` and `alpha` have no effect.
    pub quirks: Option<Quirks>,
}

impl Default for Refool {
    fn default() -> Self {
        Self { pictures: None, pool: 200, ghost: 0.49, alpha: None, quirks: None }
    }
}

/// The fraction of ghosts in the ARGD repository: `randint(0, 100) < 39`.
const ARGD_GHOST: f32 = 39.0 / 101.0;
/// The position of the picture that the ARGD repository reflects.
const ARGD_PICTURE: usize = 2;

impl Attack for Refool {
    fn usual_poisoning() -> Poisoning {
        Poisoning::clean_label(0.2)
    }

    fn check(&self) -> Vec<InvalidParam> {
        let idle = self.quirks == Some(Quirks::Argd) && self.pictures.is_some();
        let wrong =
            || InvalidParam::new("pictures", "has no effect with `quirks: argd`").with_help("remove it");
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
            // The repository makes new draws for the test images, so the seeds of the two differ too.
            Some(Quirks::Argd) => Ok(Some(argd(&case.dataset.train, !case.seed)?.into())),
            None => Ok(None),
        }
    }
}

/// The attack of the ARGD repository.
fn argd(images: &Images, seed: u64) -> Result<Reflect, DataError> {
    if images.len() <= ARGD_PICTURE {
        let problem = format!("the attack reflects the third image, but there are only {}", images.len());
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
