//! Corruptions: a file of the cache is changed, lost or replaced. The next run reports what it cannot use, and computes
//! it again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cases::{Draw, each};
use super::interposer::Interposer;
use super::site::{Left, RUN, Site, Undisturbed, names, tree};

/// What happens to a file.
const CORRUPTIONS: [&str; 9] = [
    "flip a bit",
    "flip a bit",
    "cut",
    "extend",
    "blank",
    "remove",
    "mix up",
    "replace by a folder",
    "empty",
];

/// A random file of the cache; every kind of file is as likely as the others.
fn victim(draw: &mut Draw, cache: &Path) -> PathBuf {
    let files: Vec<String> = tree(cache).into_keys().collect();
    let kind = |path: &str| path.split_once('/').map_or(path.to_owned(), |(kind, _)| kind.to_owned());
    let mut kinds: Vec<String> = files.iter().map(|path| kind(path)).collect();
    kinds.dedup();
    // Artifacts, records and checkpoints are what results come from.
    kinds.extend(["objects", "objects", "records", "records", "partial"].map(str::to_owned));
    kinds.retain(|wanted| files.iter().any(|path| kind(path) == *wanted));
    let chosen = draw.one_of(&kinds).clone();
    let of_kind: Vec<&String> = files.iter().filter(|path| kind(path) == chosen).collect();
    cache.join(draw.one_of(&of_kind))
}

fn corrupt(draw: &mut Draw, path: &Path) -> &'static str {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(path).unwrap();
    let corruption = *draw.one_of(&CORRUPTIONS);
    match corruption {
        "flip a bit" if !bytes.is_empty() => {
            let at = draw.below(bytes.len());
            bytes[at] ^= 1 << draw.below(8);
        }
        "cut" if !bytes.is_empty() => bytes.truncate(draw.below(bytes.len())),
        "blank" if !bytes.is_empty() => {
            let at = draw.below(bytes.len());
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
        }
        "empty" => bytes.clear(),
        "mix up" => {
            let folder = path.parent().unwrap();
            let others = tree(folder.parent().unwrap());
            let others: Vec<&Vec<u8>> = others.values().collect();
            bytes = (*draw.one_of(&others)).clone();
        }
        "remove" => {
            fs::remove_file(path).unwrap();
            return corruption;
        }
        "replace by a folder" => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
            if draw.below(2) == 0 {
                fs::write(path.join("file"), draw.bytes(100)).unwrap();
            }
            return corruption;
        }
        _ => bytes.extend(draw.bytes(1000)),
    }
    fs::write(path, bytes).unwrap();
    corruption
}

/// Whether a run may refuse to go on and leave a file to the user, if it names the file.
fn is_for_the_user(shown: &Path, stderr: &str) -> bool {
    // One flipped bit in the number of a record's format makes it a record of a newer argd-pipe.
    let newer = shown.starts_with("records") && stderr.contains("newer argd-pipe");
    let folder = shown.starts_with("locks") && stderr.contains(&*shown.to_string_lossy());
    newer || folder
}

fn case(draw: &mut Draw, undisturbed: &Undisturbed, stopped: Option<&Site>) -> String {
    let site = stopped.filter(|_| draw.below(2) == 0).unwrap_or(&undisturbed.site).copy();
    let cache = site.0.path("cache/v1");
    let path = victim(draw, &cache);
    let corruption = corrupt(draw, &path);
    let shown = path.strip_prefix(&cache).unwrap();
    draw.tell(format!("{corruption}: {}", shown.display()));

    if draw.below(3) == 0 {
        let verified = site.run("cache verify");
        draw.tell(verified.all());
        assert!(matches!(verified.code, Some(0 | 6)), "exit code {:?}", verified.code);
    }
    let first = site.run(RUN);
    draw.tell(first.all());
    if first.code == Some(6) && is_for_the_user(shown, &first.stderr) {
        if path.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    site.ends_like(undisturbed);
    // A folder is not the mark of a process.
    if shown.starts_with("live") && path.is_dir() {
        fs::remove_dir_all(&path).unwrap();
    }
    site.is_clean(Left::Nothing);
    assert_eq!(names(&cache.join("corrupt")), [""; 0]);
    let kind = shown.iter().next().unwrap().to_string_lossy();
    format!("{corruption}: {kind}")
}

#[test]
fn a_corrupt_file_of_the_cache_is_computed_again() {
    let undisturbed = Undisturbed::new();
    let stopped = Interposer::new().map(|interposer| {
        let site = Site::new();
        interposer.kill_while_training(&site);
        site
    });
    each("corruptions", 16, 300, |draw| case(draw, &undisturbed, stopped.as_ref()));
}
