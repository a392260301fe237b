//! Every format that is read from others, with damage of all kinds: whatever the bytes are, the reader answers with a
//! value or an error. It neither panics, nor takes long, nor takes more memory than its limit.
//!
//! A case is a seed with a few random changes; case 17 of a target is always the same. Seeds are valid input, and the files
//! in `corpus/<target>/`, which hold what was found before and are also read as they are. CONTRIBUTING.md has the commands.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a panic is how a test fails")]

mod memory;
mod mutate;
mod targets;

use std::fs;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use targets::Target;

/// The number of cases of each target.
const CASES: &str = "ARGD_PIPE_FUZZ";
const DEFAULT_CASES: u64 = 1000;
/// One case to run, of the targets that the test's filter selects.
const CASE: &str = "ARGD_PIPE_FUZZ_CASE";

/// No reader takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A larger file in a corpus is only read as it is: it may unpack to much more.
const LARGE: usize = 10_000;

/// The count of memory is that of the process: one target runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let name = stringify!($name);
            run(targets::ALL.iter().find(|target| target.name == name).unwrap());
        }
    )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert!(targets::ALL.iter().map(|target| target.name).eq(tested));
        }
    };
}

tests!(manifest record journal pickle zip safetensors idx gtsrb tar png jpeg ppm);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

/// The files in the corpus of a target, sorted.
fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn run(target: &Target) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // In memory, where the system has such a folder.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut bench = Bench {
        target,
        read: (target.start)(folder.path()),
        slowest: (Duration::ZERO, String::new()),
        faults: vec![],
    };
    let mut seeds = (target.seeds)();
    for file in corpus(target.name) {
        let bytes = fs::read(&file).unwrap();
        bench.answer(&bytes, &file.display().to_string());
        if bytes.len() < LARGE {
            seeds.push(bytes);
        }
    }
    for seed in &seeds {
        bench.answer(seed, "a seed");
    }
    let cases = number(CASE).map_or(0..number(CASES).unwrap_or(DEFAULT_CASES), |case| case..case + 1);
    let (started, count) = (Instant::now(), cases.end - cases.start);
    // After an abort this file has the number of the case.
    let mut now = fs::File::create(kept(target.name, "now")).unwrap();
    for case in cases {
        now.rewind().and_then(|()| write!(now, "{case:20}")).unwrap();
        bench.answer(&mutate::case(target.name, case, &seeds, target.pieces), &format!("case {case}"));
    }
    let Bench { slowest: (slowest, which), faults, .. } = bench;
    eprintln!(
        "{}: {count} cases in {:.1?}; the slowest took {slowest:.1?} ({which})",
        target.name,
        started.elapsed()
    );
    assert!(faults.is_empty(), "{}:\n{}", target.name, faults.join("\n"));
}

/// Where a file about a target is kept for a person to look at.
fn kept(name: &str, what: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{what}"))
}

struct Bench<'t> {
    target: &'t Target,
    read: targets::Read,
    /// The longest time, and the case that took it.
    slowest: (Duration, String),
    faults: Vec<String>,
}

impl Bench<'_> {
    /// Reads some bytes; keeps them if the answer is a fault.
    fn answer(&mut self, bytes: &[u8], which: &str) {
        let started = Instant::now();
        let mut ended = Ok(());
        let peak = memory::peak_of(|| ended = catch_unwind(AssertUnwindSafe(|| (self.read)(bytes))));
        let took = started.elapsed();
        if took > self.slowest.0 {
            self.slowest = (took, which.to_owned());
        }
        let most = self.target.memory + 64 * bytes.len();
        let fault = match ended {
            Err(_) => "it panicked".to_owned(),
            Ok(()) if took > LIMIT => format!("it took {took:?}"),
            Ok(()) if peak > most => format!("it took {peak} bytes of memory, and the limit is {most}"),
            Ok(()) => return,
        };
        let path = kept(self.target.name, &self.faults.len().to_string());
        fs::write(&path, bytes).unwrap();
        self.faults.push(format!("{which}: {fault}; kept as {}", path.display()));
        assert!(self.faults.len() < 10, "{}", self.faults.join("\n"));
    }
}
