//! Names from data and manifests as parts of paths. Whatever a name holds, the path stays below its folder.

use std::ffi::OsStr;

use super::name_below;

/// The most bytes of a name in a path. File systems allow 255; the rest is for what comes before or after it.
const LONGEST: usize = 160;

/// A name as one component of a path. Separators, control characters and a leading dot become `_`, and long names are cut.
/// A changed name ends with a part of its hash, so that different names stay different.
pub fn component(name: &str) -> String {
    let is_safe = |(at, letter): (usize, char)| {
        !(letter.is_control() || matches!(letter, '/' | '\\') || (at == 0 && letter == '.'))
    };
    let safe = |(at, letter)| if is_safe((at, letter)) { letter } else { '_' };
    let cleaned: String = name.char_indices().map(safe).collect();
    let end = cleaned.floor_char_boundary(LONGEST);
    if cleaned == name && end == name.len() && !name.is_empty() {
        return cleaned;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("{}~{}", &cleaned[..end], &hash[..8])
}

/// Whether a name that should be a file or a folder in a known folder is one component, and neither `.` nor `..`.
pub fn is_component(name: &str) -> bool {
    name_below(name).is_ok_and(|path| path.file_name() == Some(OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_names_stay() {
        for name in ["airplane", "trained@data=a,seed=1", "Straße", "traffic light", "a.b", "-x"] {
            assert_eq!(component(name), name);
        }
    }

    #[test]
    fn every_name_becomes_one_component_of_its_own() {
        let long = "x".repeat(300);
        let names =
            ["", ".", "..", "../../x", "/etc/passwd", "a/b", "a_b", "a\\b", "a\0", "\u{1b}[2J", "a\n", &long];
        let parts: Vec<String> = names.iter().map(|name| component(name)).collect();
        for part in &parts {
            assert!(is_component(part) && part.len() < 200 && !part.starts_with('.'), "{part}");
        }
        let mut unlike = parts.clone();
        unlike.sort();
        unlike.dedup();
        assert_eq!(unlike.len(), parts.len());
        assert!(component("../../x").starts_with("_._.._x~"));
        assert!(component(&"é".repeat(200)).is_char_boundary(10));
    }

    #[test]
    fn paths_are_no_components() {
        for name in ["", ".", "..", "a/b", "/a", "a/", "./a", "a\0b"] {
            assert!(!is_component(name), "{name:?}");
        }
        assert!(is_component("a.png") && is_component("..a"));
    }
}
