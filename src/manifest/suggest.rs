//! Suggests the nearest valid name for a misspelled one, and lists the valid names.

use crate::plain::visible;

/// Returns the candidate that is most likely meant by `wrong`, if one is near enough.
///
/// Two names are near if they differ only in case, `-` and `_`; or if at most a third of their letters (and at least one)
/// is wrong, missing, added or swapped with its neighbor; or if one begins with the other.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(wrong);
    let ranked = candidates.into_iter().filter_map(|name| Some((rank(&folded, &fold(name))?, name)));
    ranked.min_by_key(|&(rank, _)| rank).map(|(_, name)| name)
}

/// Lists the valid names: ``fields: `a`, `b` ``, or `there are no fields`.
pub fn listed(what: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return format!("there are no {what}");
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", visible(name))).collect();
    format!("{what}: {}", quoted.join(", "))
}

/// Suggests the nearest valid name, if one is near enough, and lists the valid names.
pub fn did_you_mean(wrong: &str, what: &str, names: &[&str]) -> String {
    let listed = listed(what, names);
    nearest(wrong, names.iter().copied())
        .map_or_else(|| listed.clone(), |name| format!("did you mean `{}`? {listed}", visible(name)))
}

fn fold(name: &str) -> String {
    name.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// The lower, the nearer; `None` if too far.
fn rank(wrong: &str, name: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(wrong, name);
    let letters = wrong.chars().count().max(name.chars().count());
    if distance <= (letters / 3).max(1) && distance < letters {
        return Some(distance);
    }
    let shorter = wrong.len().min(name.len());
    let begins = shorter >= 3 && (name.starts_with(wrong) || wrong.starts_with(name));
    begins.then_some(distance + letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["finetune", "nad", "argd", "learning_rate"];
        assert_eq!(nearest("agrd", names), Some("argd"));
        assert_eq!(nearest("Fine-Tune", names), Some("finetune"));
        assert_eq!(nearest("NAD", names), Some("nad"));
        assert_eq!(nearest("learning-rate", names), Some("learning_rate"));
        assert_eq!(nearest("learning", names), Some("learning_rate"));
    }

    #[test]
    fn is_silent_when_nothing_is_near() {
        assert_eq!(nearest("mcr", ["finetune", "argd"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest("x", ["a"]), None, "one letter cannot be mostly right");
    }

    #[test]
    fn suggests_before_it_lists() {
        assert_eq!(
            did_you_mean("agrd", "names", &["nad", "argd"]),
            "did you mean `argd`? names: `nad`, `argd`"
        );
        assert_eq!(did_you_mean("mcr", "names", &["argd"]), "names: `argd`");
    }

    #[test]
    fn lists_names_in_quotes() {
        assert_eq!(listed("axes", &["a", "b"]), "axes: `a`, `b`");
        assert_eq!(listed("axes", &[]), "there are no axes");
    }
}
