//! Cases that are drawn at random, and can be repeated.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Selects the long form.
const LONG: &str = "ARGD_PIPE_ENDURANCE";
/// The seed of all draws; the long form takes the time without it.
const SEED: &str = "ARGD_PIPE_ENDURANCE_SEED";
/// Selects a single case.
const CASE: &str = "ARGD_PIPE_ENDURANCE_CASE";

/// The draws of one case, and what it did with them.
pub struct Draw {
    stream: ChaCha8Rng,
    told: String,
}

impl Draw {
    fn new(seed: u64, case: usize) -> Self {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        stream.set_stream(case as u64);
        Self { stream, told: String::new() }
    }

    /// Remembers what the case does, to be printed if it fails.
    pub fn tell(&mut self, what: impl Display) {
        self.told += &format!("--- {what}\n");
    }

    /// A number from 0 that is less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.stream.next_u64() % end as u64) as usize
    }

    /// A number from 0 that is less than 1.
    pub fn fraction(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Random bytes, at most `most` and at least one.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; 1 + self.below(most)];
        self.stream.fill_bytes(&mut bytes);
        bytes
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Whether the long form runs.
pub fn long() -> bool {
    number(LONG).is_some_and(|times| times > 0)
}

/// Runs the cases of a part: `few` of them, or `many` in the long form. All run, also after one that failed. A case
/// returns what became of it, in a few words; these are counted.
#[expect(clippy::print_stderr, reason = "libtest shows it after a failure, or with --nocapture")]
pub fn each(part: &str, few: usize, many: usize, case: impl Fn(&mut Draw) -> String) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number(SEED).unwrap_or_else(|| if long() { now() } else { 0 });
    let chosen = number(CASE).map(|case| case as usize);
    let count = if long() { many } else { few };
    let (mut ends, mut failed) = (BTreeMap::<String, usize>::new(), vec![]);
    for number in chosen.map_or(0..count, |case| case..case + 1) {
        let mut draw = Draw::new(seed, number);
        match catch_unwind(AssertUnwindSafe(|| case(&mut draw))) {
            Ok(end) => *ends.entry(end).or_default() += 1,
            Err(_) => {
                eprintln!("{}^ {part}, case {number}; {SEED}={seed} {CASE}={number} repeats it", draw.told);
                failed.push(number);
            }
        }
    }
    eprintln!("{part}, seed {seed}: {ends:#?}");
    assert!(failed.is_empty(), "{part}: of {count} cases these failed: {failed:?}");
}
