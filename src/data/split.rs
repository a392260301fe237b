//! Seeded splits: lists of positions in the training images.

use std::path::Path;

use super::DataError;
use crate::files::tensors::{NamedTensor, TensorFile, write_tensors};
use crate::rng::stream;

/// How to choose a part of the images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// The fraction to choose, in (0, 1].
    pub ratio: f64,
    /// Whether every class keeps its proportion.
    pub stratified: bool,
}

impl Split {
    /// Chooses `int(ratio * pool.len())` positions of `pool`, at least one, and sorts them.
    ///
    /// `labels` are those of all training images. `excluded` are ascending positions that are never chosen. With one seed,
    /// the choice of a smaller ratio is a part of the choice of a larger one, unless it is stratified.
    ///
    /// # Errors
    /// If too few positions are not excluded, or a position has no label.
    pub fn draw(
        &self,
        labels: &[u32],
        pool: &[u32],
        excluded: &[u32],
        seed: u64,
    ) -> Result<Vec<u32>, DataError> {
        if let Some(beyond) = pool.iter().find(|&&position| position as usize >= labels.len()) {
            let problem = format!("position {beyond}, but there are {} training images", labels.len());
            return Err(DataError::Mismatch(problem));
        }
        let count = share(self.ratio, pool.len()).max(1);
        let mut order = pool.to_vec();
        stream(seed, "split", 0, 0).shuffle(&mut order);
        order.retain(|position| excluded.binary_search(position).is_err());
        if order.len() < count {
            let left = format!("the split needs {count} images, but only {} are not poisoned", order.len());
            return Err(DataError::unfit(left, "lower its ratio"));
        }
        let mut chosen =
            if self.stratified { stratified(&order, labels, count) } else { order[..count].to_vec() };
        chosen.sort_unstable();
        Ok(chosen)
    }
}

/// The integer part of `ratio * of`, as PyTorch scripts count.
pub(crate) fn share(ratio: f64, of: usize) -> usize {
    (ratio * of as f64) as usize
}

/// The first positions of `order` that fill the quota of every class. A quota is the proportional part of `count`, rounded
/// down, and one more for the classes with the largest remainders.
fn stratified(order: &[u32], labels: &[u32], count: usize) -> Vec<u32> {
    let class = |position: &u32| labels[*position as usize] as usize;
    let classes = order.iter().map(|position| class(position) + 1).max().unwrap_or(0);
    let mut sizes = vec![0; classes];
    order.iter().for_each(|position| sizes[class(position)] += 1);
    let mut quotas: Vec<usize> = sizes.iter().map(|size| size * count / order.len()).collect();
    let mut by_remainder: Vec<usize> = (0..classes).collect();
    by_remainder.sort_by_key(|&c| std::cmp::Reverse(sizes[c] * count % order.len()));
    let missing = count - quotas.iter().sum::<usize>();
    by_remainder[..missing].iter().for_each(|&c| quotas[c] += 1);

    let mut chosen = Vec::with_capacity(count);
    for position in order {
        let quota = &mut quotas[class(position)];
        if *quota > 0 {
            *quota -= 1;
            chosen.push(*position);
        }
    }
    chosen
}

/// Writes positions as an artifact.
pub fn save_indices(path: &Path, indices: &[u32]) -> Result<(), DataError> {
    Ok(write_tensors(path, &[NamedTensor::u32("indices", vec![indices.len()], indices)], &())?)
}

/// Reads the artifact.
pub fn load_indices(path: &Path) -> Result<Vec<u32>, DataError> {
    let ([_], indices) = TensorFile::open(path)?.u32("indices")?;
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(n: usize) -> Vec<u32> {
        (0..n as u32).map(|i| if i % 4 == 0 { 1 } else { 0 }).collect()
    }

    fn all(n: usize) -> Vec<u32> {
        (0..n as u32).collect()
    }

    fn draw(ratio: f64, stratified: bool, n: usize, seed: u64) -> Vec<u32> {
        Split { ratio, stratified }.draw(&labels(n), &all(n), &[], seed).unwrap()
    }

    #[test]
    fn the_seed_decides_and_a_small_split_is_part_of_a_larger_one() {
        assert_eq!(draw(0.1, false, 400, 3), draw(0.1, false, 400, 3));
        assert_ne!(draw(0.1, false, 400, 3), draw(0.1, false, 400, 4));
        let large = draw(0.1, false, 400, 3);
        assert!(draw(0.01, false, 400, 3).iter().all(|position| large.contains(position)));
    }

    #[test]
    fn counts_are_truncated_but_never_zero() {
        assert_eq!(draw(0.05, false, 50_000, 0).len(), 2500);
        assert_eq!(draw(0.29, false, 100, 0).len(), 28);
        assert_eq!(draw(0.001, false, 100, 0).len(), 1);
        assert_eq!(draw(1.0, false, 100, 0), all(100));
    }

    #[test]
    fn excluded_positions_are_never_chosen() {
        let excluded = [0, 1, 2, 3, 4, 50];
        let split = Split { ratio: 0.9, stratified: false };
        let chosen = split.draw(&labels(100), &all(100), &excluded, 1).unwrap();
        assert!(chosen.len() == 90 && chosen.iter().all(|position| !excluded.contains(position)));
        let split = Split { ratio: 1.0, stratified: false };
        let message = split.draw(&labels(100), &all(100), &excluded, 1).unwrap_err().to_string();
        assert_eq!(message, "the split needs 100 images, but only 94 are not poisoned");
        assert!(split.draw(&labels(100), &[100], &[], 1).is_err());
    }

    #[test]
    fn positions_survive_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("indices");
        save_indices(&path, &[1, 4, 7]).unwrap();
        assert_eq!(load_indices(&path).unwrap(), [1, 4, 7]);
    }

    proptest! {
        #[test]
        fn a_stratified_split_keeps_shares_and_size(ratio in 0.01f64..=1.0, n in 8usize..300, seed: u64) {
            let labels = labels(n);
            let chosen = draw(ratio, true, n, seed);
            prop_assert_eq!(chosen.len(), share(ratio, n).max(1));
            prop_assert!(chosen.is_sorted_by(|a, b| a < b));
            let of_class_1 = chosen.iter().filter(|&&i| labels[i as usize] == 1).count() as f64;
            let all_of_class_1 = labels.iter().filter(|&&label| label == 1).count() as f64;
            let fair = all_of_class_1 / n as f64 * chosen.len() as f64;
            prop_assert!((of_class_1 - fair).abs() <= 1.0);
        }
    }
}
