//! The state of the repository that a manifest is in.
//!
//! A repository can come from anyone, and git runs what a repository configures: monitors of the file system, filters,
//! remotes of a partial clone. So the commit is read from the repository's files. Whether files have changed is asked of
//! `git status` with a git folder of our own, which has the repository's commit and index, borrows its objects, and has
//! no configuration. Nothing of the repository runs, and nothing in it is written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::files::{name_below, open_regular};

/// The longest time that `git status` may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a running git is looked at.
const POLL: Duration = Duration::from_millis(5);

/// The most bytes of a file with references.
const REFERENCES: u64 = 16 << 20;

/// The most bytes of an index: about two million files.
const LARGEST_INDEX: u64 = 256 << 20;

/// How many references may lead to each other.
const STEPS: usize = 5;

/// The state of a repository.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The commit.
    pub commit: String,
    /// Whether tracked files differ in content from the commit. `None` if git is missing, fails or takes too long.
    #[serde(default)]
    pub dirty: Option<bool>,
}

impl Git {
    /// The state of the repository that a file is in; `None` without one, or without a commit.
    pub fn of(file: &Path) -> Option<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(folder).ok()?;
        let repository = folder.ancestors().find_map(Repository::at)?;
        let commit = repository.commit()?;
        let dirty = repository.is_dirty(&commit);
        Some(Self { commit, dirty })
    }
}

/// The folders of a repository.
struct Repository {
    /// The folder of the tracked files.
    tree: PathBuf,
    /// The git folder of this tree, with its HEAD and index.
    git: PathBuf,
    /// The git folder that all trees of the repository share, with references and objects.
    common: PathBuf,
}

impl Repository {
    /// The repository whose tracked files are in `tree`.
    fn at(tree: &Path) -> Option<Self> {
        let link = tree.join(".git");
        let git = match link.is_dir() {
            true => link,
            false => tree.join(read(&link)?.strip_prefix("gitdir:")?.trim()),
        };
        let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path.trim()));
        Some(Self { tree: tree.to_owned(), git, common })
    }

    /// The commit that HEAD leads to.
    fn commit(&self) -> Option<String> {
        let mut text = read(&self.git.join("HEAD"))?;
        for _ in 0..STEPS {
            let Some(name) = text.trim().strip_prefix("ref:") else { break };
            text = self.reference(name.trim())?;
        }
        let commit = text.trim();
        let is_hash = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| commit.to_owned())
    }

    fn reference(&self, name: &str) -> Option<String> {
        if !name.starts_with("refs/") || name_below(name).is_err() {
            return None;
        }
        let loose = [&self.git, &self.common].into_iter().find_map(|folder| read(&folder.join(name)));
        loose.or_else(|| {
            let packed = read(&self.common.join("packed-refs"))?;
            let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(_, packed)| *packed == name).map(|(commit, _)| commit.to_owned())
        })
    }

    /// Whether tracked files differ from the commit, if git finds out in time.
    fn is_dirty(&self, commit: &str) -> Option<bool> {
        let ours = self.without_configuration(commit).ok()?;
        let changes = tempfile::tempfile().ok()?;
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_"))
        {
            command.env_remove(name);
        }
        command
            .args(["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"])
            .envs([("GIT_DIR", ours.path()), ("GIT_WORK_TREE", &self.tree), ("HOME", ours.path())])
            .envs([("XDG_CONFIG_HOME", ours.path()), ("GIT_CONFIG_GLOBAL", Path::new("/dev/null"))])
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_ATTR_NOSYSTEM", "1"), ("GIT_NO_LAZY_FETCH", "1")])
            .envs([("GIT_OPTIONAL_LOCKS", "0"), ("GIT_TERMINAL_PROMPT", "0")])
            .current_dir(ours.path())
            .stdin(Stdio::null())
            .stdout(changes.try_clone().ok()?)
            .stderr(Stdio::null())
            .process_group(0);
        let status = wait(command.spawn().ok()?)?;
        status.success().then(|| changes.metadata().is_ok_and(|found| found.len() > 0))
    }

    /// A git folder with the commit, the index and the objects of the repository.
    fn without_configuration(&self, commit: &str) -> io::Result<TempDir> {
        let ours = tempfile::tempdir()?;
        let place = |name: &str| ours.path().join(name);
        fs::create_dir_all(place("objects/info"))?;
        fs::create_dir(place("refs"))?;
        let objects = fs::canonicalize(self.common.join("objects"))?;
        let objects = objects.to_str().filter(|path| !path.contains('\n'));
        let objects = objects.ok_or_else(|| io::Error::other("git cannot read this path from a file"))?;
        fs::write(place("objects/info/alternates"), format!("{objects}\n"))?;
        fs::write(place("HEAD"), format!("{commit}\n"))?;
        // Some file systems do not keep the permission to execute, and no result depends on it.
        let config = match commit.len() {
            64 => {
                "[core]\nrepositoryformatversion = 1\nfileMode = false\n[extensions]\nobjectFormat = sha256\n"
            }
            _ => "[core]\nrepositoryformatversion = 0\nfileMode = false\n",
        };
        fs::write(place("config"), config)?;
        let (from, mut to) = (open_regular(&self.git.join("index"))?, File::create(place("index"))?);
        if from.metadata()?.len() > LARGEST_INDEX {
            return Err(io::Error::other("the index is larger than any repository needs"));
        }
        io::copy(&mut (&from).take(LARGEST_INDEX), &mut to)?;
        // Git reads files again that changed after the index was written.
        to.set_modified(from.metadata()?.modified()?)?;
        Ok(ours)
    }
}

/// Waits for a process, but not for long: then it is killed, with the processes that it has started.
fn wait(mut child: Child) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(None) => thread::sleep(POLL),
            ended => return ended.ok()?,
        }
    }
    tracing::debug!("git status takes too long");
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
    None
}

/// Reads a text of the repository. A pipe or a device in its place counts as missing.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    open_regular(path).ok()?.take(REFERENCES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    /// A repository of files: HEAD and its references.
    fn commit(files: &[(&str, &str)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(".git").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("COMMIT", COMMIT)).unwrap();
        }
        Repository::at(folder.path())?.commit()
    }

    #[test]
    fn a_commit_is_found_by_references_of_every_form() {
        let found = Some(COMMIT.to_owned());
        assert_eq!(commit(&[("HEAD", "COMMIT\n")]), found);
        assert_eq!(commit(&[("HEAD", "ref: refs/heads/main\n"), ("refs/heads/main", "COMMIT\n")]), found);
        let packed = "# pack-refs with: peeled\nabc refs/heads/other\nCOMMIT refs/heads/main\n";
        assert_eq!(commit(&[("HEAD", "ref: refs/heads/main\n"), ("packed-refs", packed)]), found);
        let linked = [("HEAD", "ref: refs/heads/a"), ("refs/heads/a", "ref: refs/b"), ("refs/b", "COMMIT")];
        assert_eq!(commit(&linked), found);
        let shared =
            [("HEAD", "ref: refs/heads/a"), ("commondir", "shared"), ("shared/refs/heads/a", "COMMIT")];
        assert_eq!(commit(&shared), found);
    }

    #[test]
    fn what_leads_to_no_commit_is_no_commit() {
        assert_eq!(commit(&[]), None);
        assert_eq!(commit(&[("HEAD", "ref: refs/heads/main\n")]), None, "nothing was committed");
        assert_eq!(commit(&[("HEAD", "ref: refs/a\n"), ("refs/a", "ref: refs/a")]), None, "a circle");
        assert_eq!(commit(&[("HEAD", "ref: refs/../../outside\n"), ("outside", "COMMIT")]), None);
        assert_eq!(commit(&[("HEAD", "a secret\n")]), None);
    }
}
