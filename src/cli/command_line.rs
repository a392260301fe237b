//! Commands that messages suggest. They are quoted for a shell, and repeat the given options, so that they work on the
//! same folder, cache, backend and manifest.

use super::options::{BackendName, DEFAULT_CACHE, Global, ManifestArgs};
use crate::plain::visible;

impl Global {
    /// Writes `argd-pipe` with these words, in the same folder, with the same cache and backend.
    pub(super) fn command(&self, words: &[&str]) -> String {
        let cache = Some(&self.cache_dir).filter(|folder| folder.as_os_str() != DEFAULT_CACHE);
        let folders = [("-C", self.directory.as_ref()), ("--cache-dir", cache)];
        let mut line = "argd-pipe".to_owned();
        for (option, folder) in folders {
            folder.iter().for_each(|folder| add(&mut line, &[option, &folder.to_string_lossy()]));
        }
        if self.backend == BackendName::Candle {
            add(&mut line, &["--backend", "candle"]);
        }
        add(&mut line, words);
        line
    }
}

impl ManifestArgs {
    /// Writes the command `name` with the same manifest and the same changes to it; `words` come last.
    pub(super) fn command(&self, global: &Global, name: &str, words: &[&str]) -> String {
        let mut line = global.command(&[name, &self.manifest.to_string_lossy()]);
        self.set.iter().for_each(|change| add(&mut line, &["--set", &change.to_string()]));
        for axis in &self.matrix {
            let axis = axis.to_string();
            add(&mut line, &["--matrix", axis.strip_prefix("matrix.").unwrap_or(&axis)]);
        }
        add(&mut line, words);
        line
    }
}

/// Appends words to a command.
pub(super) fn add(line: &mut String, words: &[&str]) {
    words.iter().for_each(|word| *line += &format!(" {}", quoted(word)));
}

/// Quotes a word if a shell would not leave it as it is.
fn quoted(word: &str) -> String {
    match word {
        word if is_plain(word) => word.to_owned(),
        word if visible(word) != word => format!("$'{}'", in_dollar_quotes(word)),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether a shell leaves a word as it is.
pub(super) fn is_plain(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=,:@%+".contains(c);
    !word.is_empty() && word.chars().all(is_plain)
}

/// Writes control characters as bytes, so that the command is one line which can be copied.
fn in_dollar_quotes(word: &str) -> String {
    let byte = |byte: u8| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    word.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        manifest: ManifestArgs,
        #[command(flatten)]
        global: Global,
    }

    #[test]
    fn what_changes_the_meaning_is_repeated_for_a_shell() {
        let of = |words: &[&str]| Line::try_parse_from(words).unwrap();
        let plain = of(&["x", "m.yaml", "--cache-dir", "cache"]);
        assert_eq!(plain.manifest.command(&plain.global, "run", &[]), "argd-pipe run m.yaml");
        let given = of(&[
            "x",
            "my m.yaml",
            "--set",
            "matrix.r=[1, 2]",
            "--matrix",
            "seed=1..2",
            "-C",
            "it's",
            "--cache-dir",
            "/c",
            "--backend",
            "candle",
        ]);
        assert_eq!(
            given.manifest.command(&given.global, "run", &["after@r=1", "*"]),
            r"argd-pipe -C 'it'\''s' --cache-dir /c --backend candle run 'my m.yaml' --set 'matrix.r=[1, 2]' --matrix 'seed=[1, 2]' after@r=1 '*'"
        );
        assert_eq!(quoted("it's\n\u{9b}a"), r"$'it\'s\x0a\xc2\x9ba'");
        let list = given.global.command(&["cache", "ls"]);
        assert_eq!(list, r"argd-pipe -C 'it'\''s' --cache-dir /c --backend candle cache ls");
    }
}
