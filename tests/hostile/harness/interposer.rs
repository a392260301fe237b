//! The library that makes a call of the program fail: `faults.c`, compiled by the tests and loaded by `LD_PRELOAD`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::site::{RUN, Site, ended, names};

/// The families of calls, and how each can fail. In the order of `faults.c`.
pub const FAMILIES: [(&str, &[How]); 14] = [
    (
        "open",
        &[
            How::Error(Errno::IO),
            How::Error(Errno::MFILE),
            How::Error(Errno::ACCESS),
            How::Error(Errno::NOSPC),
        ],
    ),
    ("read", &[How::Error(Errno::IO), How::Half, How::Error(Errno::INTR)]),
    ("write", &[How::Error(Errno::IO), How::Error(Errno::NOSPC), How::Half, How::Error(Errno::INTR)]),
    ("sync", &[How::Error(Errno::IO), How::Error(Errno::NOSPC)]),
    ("rename", &[How::Error(Errno::IO), How::Error(Errno::NOSPC), How::Error(Errno::ACCESS)]),
    ("link", &[How::Error(Errno::IO), How::Error(Errno::PERM)]),
    ("mkdir", &[How::Error(Errno::IO), How::Error(Errno::NOSPC), How::Error(Errno::ACCESS)]),
    ("unlink", &[How::Error(Errno::IO), How::Error(Errno::ACCESS)]),
    ("lock", &[How::Error(Errno::IO), How::Error(Errno::NOLCK)]),
    ("truncate", &[How::Error(Errno::IO)]),
    ("list", &[How::Error(Errno::IO), How::Error(Errno::MFILE)]),
    ("stat", &[How::Error(Errno::IO), How::Error(Errno::ACCESS)]),
    ("mode", &[How::Error(Errno::PERM)]),
    ("map", &[How::Error(Errno::NODEV), How::Error(Errno::NOMEM)]),
];

/// What happens instead of a call, or besides it.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Error(Errno),
    /// Half of the bytes are moved.
    Half,
    KilledBefore,
    KilledAfter,
}

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The position in [`FAMILIES`].
    pub family: usize,
    /// Which call fails, from 1.
    pub at: u64,
    /// How many calls fail in sequence.
    pub times: u64,
    pub how: How,
    /// Only calls on files with this in their path count.
    pub matching: &'static str,
}

/// The compiled library.
pub struct Interposer(PathBuf);

impl Interposer {
    /// Compiles the library. Reports why it cannot: then the tests that need it do nothing.
    #[expect(clippy::print_stderr, reason = "report what was not tested")]
    pub fn new() -> Option<Self> {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            eprintln!("skipped: faults are injected on Linux with glibc only");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/harness/faults.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (_, made) = NamedTempFile::new_in(folder).unwrap().keep().unwrap();
        let arguments = ["-shared", "-fPIC", "-O1", "-o"];
        let compiled = Command::new("cc").args(arguments).arg(&made).arg(source).status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `cc` cannot compile tests/hostile/harness/faults.c");
            fs::remove_file(made).unwrap();
            return None;
        }
        let library = folder.join("faults.so");
        fs::rename(made, &library).unwrap();
        Some(Self(library))
    }

    /// Loads the library into a command, which counts its calls on files below `folder`, and makes one fail.
    pub fn load(&self, command: &mut Command, folder: &Path, fault: Option<&Fault>) -> Counts {
        let counts = NamedTempFile::new().unwrap();
        counts.as_file().set_len(4096).unwrap();
        command.env("LD_PRELOAD", &self.0).env("FAULTS_COUNTS", counts.path());
        command.env("FAULTS_BELOW", folder.canonicalize().unwrap());
        if let Some(Fault { family, at, times, how, matching }) = fault {
            let how = match how {
                How::Error(error) => error.raw_os_error(),
                How::Half => 0,
                How::KilledBefore => -1,
                How::KilledAfter => -2,
            };
            command.env("FAULTS_FAMILY", FAMILIES[*family].0).env("FAULTS_AT", at.to_string());
            command.env("FAULTS_TIMES", times.to_string()).env("FAULTS_HOW", how.to_string());
            command.env("FAULTS_MATCH", matching);
        }
        Counts(counts)
    }
}

impl Interposer {
    /// Kills a run while it writes the third checkpoint of its training.
    pub fn kill_while_training(&self, site: &Site) {
        let mut program = site.command(RUN);
        let family = FAMILIES.iter().position(|(name, _)| *name == "rename").unwrap();
        let fault = Fault { family, at: 3, times: 1, how: How::KilledBefore, matching: "/partial/" };
        let _counts = self.load(&mut program, site.0.root(), Some(&fault));
        assert_eq!(ended(program, RUN).code, None, "it was killed");
        assert_eq!(names(&site.0.path("cache/v1/partial")).len(), 1, "one task has checkpoints");
    }
}

/// What the library counted. It counts as long as this lives.
#[must_use]
pub struct Counts(NamedTempFile);

impl Counts {
    /// The calls of each family.
    pub fn calls(&self) -> [u64; FAMILIES.len()] {
        let bytes = fs::read(self.0.path()).unwrap();
        let counts: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
        counts[..FAMILIES.len()].try_into().unwrap()
    }

    /// The call that failed.
    pub fn fault(&self) -> Option<String> {
        let bytes = fs::read(self.0.path()).unwrap();
        let text = bytes[8 * FAMILIES.len()..].split(|byte| *byte == 0).next().unwrap();
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }
}
