//! Seeded random streams: the only source of randomness in the project.
//!
//! A stream is named by (seed, purpose, epoch, index), so a draw never depends on the thread or on earlier draws:
//! image 17 of epoch 3 is augmented in the same way in any order of work. Nothing else may draw random numbers;
//! candle's CPU generator cannot be seeded.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A random stream, fully determined by its name.
pub struct Stream(ChaCha8Rng);

/// Opens the stream named (`seed`, `purpose`, `epoch`, `index`).
///
/// `purpose` is the use of the draws (`"init"`, `"shuffle"`, `"augment"`); two purposes never share numbers.
pub fn stream(seed: u64, purpose: &str, epoch: u64, index: u64) -> Stream {
    let mut hasher = blake3::Hasher::new_derive_key("argd-pipe random stream v1");
    for word in [seed, epoch, index] {
        hasher.update(&word.to_le_bytes());
    }
    hasher.update(purpose.as_bytes());
    Stream(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
}

impl Stream {
    /// Draws 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws from `0..n` without bias (Lemire's multiply-and-reject); 0 when `n` is 0 or 1.
    pub fn below(&mut self, n: u32) -> u32 {
        if n < 2 {
            return 0;
        }
        let reject_below = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(n);
            if product as u32 >= reject_below {
                return (product >> 32) as u32;
            }
        }
    }

    /// Draws from [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Draws from [`low`, `high`).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Draws true with probability `p`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.uniform() < p
    }

    /// Draws from the standard normal distribution (Box-Muller in f64; `libm`, so that every platform agrees).
    pub fn normal(&mut self) -> f32 {
        let unit = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
        let (u, v) = (1.0 - unit(self.bits()), unit(self.bits()));
        (libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Shuffles in place, each order equally likely (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// Draws an order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_name() {
        let draw = |seed, purpose, epoch, index| stream(seed, purpose, epoch, index).bits();
        assert_eq!(draw(1, "init", 2, 3), draw(1, "init", 2, 3));
        let names =
            [draw(1, "init", 2, 3), draw(2, "init", 2, 3), draw(1, "augment", 2, 3), draw(1, "init", 3, 3)];
        for (i, a) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(draw(1, "init", 2, 3), draw(1, "init", 3, 2));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut stream = stream(7, "test", 0, 0);
        let mut seen = [0u32; 6];
        (0..6000).for_each(|_| seen[stream.below(6) as usize] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn normal_has_the_moments_of_a_normal() {
        let mut stream = stream(7, "test", 0, 0);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(stream.normal())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "mean {mean}, variance {variance}");
    }

    #[test]
    fn a_permutation_holds_each_index_once() {
        let mut order = stream(7, "test", 0, 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
