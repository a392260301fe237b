//! Stages that need each other in a circle.

use std::collections::{HashMap, HashSet};

use super::diagnostic::Diagnostic;
use super::fields::join;
use super::source::Spanned;
use super::stage::StageDef;

/// A stage and what it needs.
type Edge<'s> = (&'s StageDef, &'s Spanned<String>);

/// Finds circles in `needs`, one error each. A stage is named in one of them at most, so where circles share
/// stages some show only when others are resolved. Names that no stage has are ignored.
pub(super) fn find(stages: &[StageDef]) -> Vec<Diagnostic> {
    let by_name: HashMap<&str, &StageDef> = stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
    let mut open = never_ready(stages, &by_name);
    let mut errors = vec![];
    for stage in stages {
        let mut walk: Vec<Edge<'_>> = vec![];
        let mut positions: HashMap<&str, usize> = HashMap::new();
        let mut at = stage;
        while open.contains(at.name.as_str()) {
            if let Some(&start) = positions.get(at.name.as_str()) {
                errors.push(circle(&walk[start..]));
                break;
            }
            let open_need = |(_, need): &&(_, Spanned<String>)| open.contains(need.value.as_str());
            let Some((_, need)) = at.needs.iter().find(open_need) else { break };
            let Some(&next) = by_name.get(need.value.as_str()) else { break };
            positions.insert(&at.name, walk.len());
            walk.push((at, need));
            at = next;
        }
        // What was walked leads to a circle that is reported by now.
        open.remove(at.name.as_str());
        for (walked, _) in walk {
            open.remove(walked.name.as_str());
        }
    }
    errors
}

/// Returns the stages that are on a circle or need one, by doing all others in order.
fn never_ready<'s>(stages: &'s [StageDef], by_name: &HashMap<&str, &'s StageDef>) -> HashSet<&'s str> {
    let known = |(_, need): &&(_, Spanned<String>)| by_name.contains_key(need.value.as_str());
    let mut consumers: HashMap<&str, Vec<&StageDef>> = HashMap::new();
    let mut waiting: HashMap<&str, usize> = HashMap::new();
    for stage in stages {
        let needs = stage.needs.iter().filter(known);
        needs.for_each(|(_, need)| consumers.entry(&need.value).or_default().push(stage));
        waiting.insert(&stage.name, stage.needs.iter().filter(known).count());
    }
    let mut ready: Vec<&str> =
        stages.iter().map(|s| s.name.as_str()).filter(|name| waiting[name] == 0).collect();
    while let Some(done) = ready.pop() {
        waiting.remove(done);
        for consumer in consumers.remove(done).unwrap_or_default() {
            let Some(left) = waiting.get_mut(consumer.name.as_str()) else { continue };
            *left -= 1;
            if *left == 0 {
                ready.push(&consumer.name);
            }
        }
    }
    waiting.into_keys().collect()
}

fn circle(cycle: &[Edge<'_>]) -> Diagnostic {
    let (first, need) = cycle[0];
    let message = if cycle.len() == 1 {
        format!("the stage `{}` needs itself", first.name)
    } else {
        let names = cycle.iter().chain(cycle.first()).map(|(stage, _)| stage.name.as_str());
        format!("stages need each other in a circle: {}", names.collect::<Vec<_>>().join(" → "))
    };
    let label = |(stage, need): &Edge<'_>| format!("`{}` needs `{}`", stage.name, need.value);
    let error = Diagnostic::new(join("stages", &first.name), &need.place, message)
        .with_label(label(&cycle[0]))
        .with_help("one of these stages must do without the output of the other");
    cycle[1..].iter().fold(error, |error, edge| error.with_related(&edge.1.place, label(edge)))
}
