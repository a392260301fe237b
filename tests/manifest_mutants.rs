//! Manifests that nobody would write: valid ones with random damage, and random text. Whatever it is, the answer is a
//! plan or errors that can be shown; it comes at once, and takes little memory.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use argd_pipe::manifest::Draft;
use argd_pipe::nn::Backend;
use argd_pipe::{pipeline, stages};
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

const LIMIT: Duration = Duration::from_secs(2);

/// How much more memory than at its start the process may ever have, in bytes.
const MEMORY: u64 = 200_000_000;

static START: OnceLock<u64> = OnceLock::new();

/// The most memory that this process ever had resident, in bytes; 0 where the system does not tell.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| 1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap())
}

/// How much that is more than when the first manifest was read.
fn growth() -> u64 {
    let start = *START.get_or_init(peak);
    peak() - start
}

/// Pieces of syntax, references and numbers, to be put where they do not belong.
const PIECES: [&str; 32] = [
    "*a",
    "&a ",
    "<<: ",
    "${",
    "}",
    "${vars.x}",
    "${matrix.x}",
    "${seed}",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    ", ",
    "\n",
    "\n  ",
    "\t",
    "'",
    "\"",
    "#",
    "|\n",
    "!!binary ",
    "---\n",
    "null",
    ".nan",
    "-1",
    "1e999",
    "99999999999999999999",
    "\u{0}",
    "\u{feff}",
    "é",
];

/// A change of a text; places are relative to its length.
#[derive(Clone, Debug)]
enum Mutation {
    Cut(Index, usize),
    Repeat(Index, usize),
    Move(Index, usize, Index),
    Insert(Index, &'static str),
}

impl Mutation {
    fn apply(&self, text: &mut Vec<char>) {
        let mut splice = |at: &Index, cut: usize, with: &[char]| {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, with.iter().copied()).collect::<Vec<char>>()
        };
        match self {
            Self::Cut(at, length) => drop(splice(at, *length, &[])),
            Self::Repeat(at, length) => {
                let part = splice(at, *length, &[]);
                splice(at, 0, &part.repeat(2));
            }
            Self::Move(from, length, to) => {
                let part = splice(from, *length, &[]);
                splice(to, 0, &part);
            }
            Self::Insert(at, piece) => drop(splice(at, 0, &piece.chars().collect::<Vec<char>>())),
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 1..60usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (place(), 1..200usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (place(), 1..60usize, place()).prop_map(|(from, length, to)| Mutation::Move(from, length, to)),
        (place(), select(&PIECES[..])).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
    ]
}

/// The manifests in a folder and below.
fn manifests(folder: &Path) -> Vec<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let texts = paths.into_iter().flat_map(|path| match path.extension() {
        _ if path.is_dir() => manifests(&path),
        Some(extension) if extension == "yaml" => vec![fs::read_to_string(path).unwrap()],
        _ => vec![],
    });
    texts.collect()
}

/// Plans a manifest, and shows what is wrong with it.
fn answer(text: &str) -> Result<(), TestCaseError> {
    growth();
    let started = Instant::now();
    let planned = pipeline::plan(Draft::parse("m.yaml", text, &[]), &stages::all(), &Backend::default());
    if let Err(errors) = planned {
        prop_assert!(!errors.0.is_empty());
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        for error in &errors.0 {
            prop_assert!(handler.render_report(&mut String::new(), error).is_ok(), "{}", error.line());
        }
    }
    prop_assert!(started.elapsed() < LIMIT, "it took {:?}", started.elapsed());
    prop_assert!(growth() < MEMORY, "it took {} bytes", growth());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_manifests_are_answered_at_once(
        text in select(manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines"))),
        mutations in proptest::collection::vec(mutation(), 1..6),
    ) {
        let mut text: Vec<char> = text.chars().collect();
        mutations.iter().for_each(|mutation| mutation.apply(&mut text));
        answer(&String::from_iter(text))?;
    }

    #[test]
    fn random_text_is_answered_at_once(text in "[\\PC\\n\\t]{0,300}", pieces in proptest::collection::vec(select(&PIECES[..]), 0..60)) {
        answer(&text)?;
        answer(&pieces.concat())?;
        answer(&format!("name: m\nstages: {{s: {{kind: split, with: {}}}}}", pieces.concat()))?;
    }
}
