//! Targets: patterns that pick tasks of a plan.
//!
//! `stage`, or `stage@axis=value,axis=value`. In the stage's name and in values, `*` matches any text and `?` any
//! character. Numbers are compared by value. An axis that is not named matches any value; `stage@*` names no axis.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

use super::dag::Plan;
use super::label::TaskId;
use super::task::Task;
use crate::manifest::suggest::did_you_mean;

/// A pattern that picks tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    stage: String,
    axes: Vec<(String, String)>,
}

/// A target that picks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Diagnostic, Error)]
#[error("`{target}`: {problem}")]
pub struct TargetError {
    target: String,
    problem: String,
    #[help]
    hint: String,
}

impl FromStr for Target {
    type Err = Infallible;

    /// Reads any text. Unknown names are found when it [picks](Plan::picked).
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (stage, axes) = text.split_once('@').unwrap_or((text, ""));
        let axes = axes.split(',').filter(|axis| !["", "*"].contains(axis)).map(|axis| {
            let (axis, value) = axis.split_once('=').unwrap_or((axis, ""));
            (axis.to_owned(), value.to_owned())
        });
        Ok(Self { text: text.to_owned(), stage: stage.to_owned(), axes: axes.collect() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Plan {
    /// The tasks that the targets pick together.
    ///
    /// # Errors
    /// If a target picks nothing. The hint has the nearest names.
    pub fn picked(&self, targets: &[Target]) -> Result<BTreeSet<TaskId>, TargetError> {
        let mut picked = BTreeSet::new();
        for target in targets {
            picked.extend(self.picked_by(target)?);
        }
        Ok(picked)
    }

    /// The one task that a target picks.
    ///
    /// # Errors
    /// If it picks none or several.
    pub fn picked_one(&self, target: &Target) -> Result<&Task, TargetError> {
        let picked = self.picked_by(target)?;
        match picked[..] {
            [one] => Ok(self.task(one)),
            _ => Err(target.error(
                format!("the name matches {} tasks", picked.len()),
                format!(
                    "name one of them: {}",
                    some(picked.iter().map(|&id| self.task(id).label.to_string()))
                ),
            )),
        }
    }

    fn picked_by(&self, target: &Target) -> Result<Vec<TaskId>, TargetError> {
        let of_stage: Vec<&Task> =
            self.tasks().filter(|task| fits(&target.stage, &task.label.stage)).collect();
        if of_stage.is_empty() {
            let names: Vec<&str> = self.stages().iter().map(String::as_str).collect();
            let hint = did_you_mean(&target.stage, "stages", &names);
            return Err(target.error(format!("unknown stage `{}`", target.stage), hint));
        }
        let mut left = of_stage;
        for (axis, value) in &target.axes {
            left = target.narrow(left, axis, value)?;
        }
        Ok(left.iter().map(|task| task.id()).collect())
    }
}

impl Target {
    /// Keeps the tasks whose value on an axis matches.
    fn narrow<'t>(
        &self,
        tasks: Vec<&'t Task>,
        axis: &str,
        value: &str,
    ) -> Result<Vec<&'t Task>, TargetError> {
        let axes: BTreeSet<&str> =
            tasks.iter().flat_map(|task| &task.label.axes).map(|(axis, _)| axis.as_str()).collect();
        if !axes.contains(axis) {
            let axes: Vec<&str> = axes.into_iter().collect();
            let hint = did_you_mean(axis, &format!("axes of `{}`", self.stage), &axes);
            return Err(self.error(format!("`{}` has no axis `{axis}`", self.stage), hint));
        }
        let left: Vec<&Task> = tasks
            .iter()
            .filter(|task| task.label.axis(axis).is_some_and(|of| fits(value, of)))
            .copied()
            .collect();
        if left.is_empty() {
            let values: BTreeSet<&str> = tasks.iter().filter_map(|task| task.label.axis(axis)).collect();
            let values: Vec<&str> = values.into_iter().collect();
            let hint = did_you_mean(value, &format!("values of `{axis}`"), &values);
            return Err(self.error(format!("no task has the value `{value}` of `{axis}`"), hint));
        }
        Ok(left)
    }

    fn error(&self, problem: String, hint: String) -> TargetError {
        TargetError { target: self.text.clone(), problem, hint }
    }
}

/// The first few of many names.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = names.take(SHOWN).map(|name| format!("`{name}`")).collect();
    shown.extend((more > 0).then(|| format!("and {more} more")));
    shown.join(", ")
}

/// Whether a text matches a pattern, or is the same number. In the pattern, `*` matches any text and `?` any character.
pub fn fits(pattern: &str, text: &str) -> bool {
    is_like(pattern, text) || is_same_number(pattern, text)
}

fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to resume after a mismatch: behind the last `*`, which then matches one more character.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                retry = Some((p, t));
            }
            Some(&c) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, taken)) = retry else { return false };
                retry = Some((after, taken + 1));
                (p, t) = (after, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether two texts are the same number: `0.10` and `0.1`, `1e30` and `1e+30`.
fn is_same_number(a: &str, b: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    number(a).is_some_and(|a| number(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_in_a_shell() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abcbc"),
            ("?b*", "ab"),
            ("*b*d", "abcbd"),
            ("0.0?", "0.05"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("?", ""), ("a*c", "abd"), ("", "a"), ("a?", "a"), ("*bd", "abcb")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for (a, b) in [("0.10", "0.1"), ("1e30", "1e+30"), ("10", "1e1"), ("-0.0", "0")] {
            assert!(is_same_number(a, b), "{a} {b}");
        }
        for (a, b) in [("0.1", "0.11"), ("nan", "nan"), ("x", "x"), ("", "0")] {
            assert!(!is_same_number(a, b), "{a} {b}");
        }
    }
}
