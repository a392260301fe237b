//! Events as lines of text.

use super::Verbosity;
use super::format::{self, duration, metrics};
use super::skipped::Group;
use super::style::{Style, Tone};
use crate::pipeline::Event;
use crate::plain::visible;

/// The line of an event, if it has one at this verbosity. The bars show progress, and failures are reports of several
/// lines.
pub(super) fn of(event: &Event, verbosity: Verbosity, style: Style) -> Option<String> {
    let (least, tone, word, rest) = match event {
        Event::RunStarted { .. }
        | Event::TaskStarted { .. }
        | Event::Progress { .. }
        | Event::Failed { .. } => {
            return None;
        }
        Event::Cached { task, key, .. } => {
            (Verbosity::Notes, Tone::Quiet, "cached", format!("{task}  {}", key.get(..12).unwrap_or(key)))
        }
        Event::Note { task, line } => (Verbosity::Notes, Tone::Quiet, "note", format!("{task}: {line}")),
        Event::Warning { task, line } => {
            (Verbosity::Normal, Tone::Warning, "warning:", format!("{task}: {line}"))
        }
        Event::WaitingForLock { task, holder } => {
            (Verbosity::Normal, Tone::Warning, "waiting", format!("{task}: {holder} is computing it"))
        }
        Event::Damaged { task, what } => (
            Verbosity::Normal,
            Tone::Warning,
            "damaged",
            format!("{task}: {what}; its task has to run again"),
        ),
        Event::Nondeterministic { task, key } => {
            let key = key.get(..12).unwrap_or(key);
            let what = format!("{task}  {key}: non-deterministic, computing it twice gave different outputs");
            (Verbosity::Normal, Tone::Warning, "unstable", what)
        }
        Event::Finished { task, metrics: found, seconds, .. } => {
            let found = metrics(found).map_or_else(String::new, |text| format!("  {text}"));
            (Verbosity::Normal, Tone::Good, "finished", format!("{task} in {}{found}", duration(*seconds)))
        }
        Event::Withheld { task } => {
            let what = format!("{task}: it has no result yet, and --only does not compute it");
            (Verbosity::Normal, Tone::Warning, "withheld", what)
        }
        Event::Skipped { task, ancestor, .. } => {
            let what = format!("{task}: it needs {ancestor}, which has no result");
            (Verbosity::Notes, Tone::Warning, "skipped", what)
        }
        Event::Stopped { task } => (Verbosity::Normal, Tone::Warning, "stopped", task.to_string()),
        Event::RunFinished { ran, cached, failed, skipped, unfinished, warnings, seconds } => {
            let counts = [(*ran, "ran"), (*cached, "cached"), (*failed, "failed"), (*skipped, "skipped")];
            let counts =
                counts.into_iter().chain([(*unfinished, "unfinished")]).filter(|(count, _)| *count > 0);
            let mut counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
            counts.extend((*warnings > 0).then(|| format::count(*warnings, "warning")));
            let all_done = failed + skipped + unfinished == 0;
            let (tone, word) = if all_done { (Tone::Good, "done") } else { (Tone::Warning, "ended") };
            (Verbosity::Normal, tone, word, format!("in {}: {}", duration(*seconds), counts.join(", ")))
        }
    };
    (verbosity >= least).then(|| style.headed(tone, word, &visible(&rest)) + &kept_warnings(event, style))
}

/// The lines of the warnings that a cached result has.
fn kept_warnings(event: &Event, style: Style) -> String {
    let Event::Cached { task, warnings, .. } = event else { return String::new() };
    let text = |line: &String| visible(&format!("{task}: {line}")).into_owned();
    warnings
        .iter()
        .map(|line| format!("\n{}", style.headed(Tone::Warning, "warning:", &text(line))))
        .collect()
}

/// The line of the tasks that one failed task skips.
pub(super) fn of_skipped(Group { first, tasks }: &Group, style: Style) -> Option<String> {
    match first {
        Event::Skipped { ancestor, .. } if *tasks > 1 => {
            let what = format!("{tasks} tasks: they need {ancestor}, which has no result");
            Some(style.headed(Tone::Warning, "skipped", &visible(&what)))
        }
        _ => of(first, Verbosity::Notes, style),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::pipeline::{Label, TaskId, TaskRef};

    fn task() -> TaskRef {
        Label { id: TaskId(3), stage: "erased".into(), axes: vec![("defense".into(), "argd".into())] }.into()
    }

    fn plain(event: &Event, verbosity: Verbosity) -> Option<String> {
        of(event, verbosity, Style { colored: false })
    }

    #[test]
    fn what_every_user_needs_is_always_printed() {
        let metrics = Map::from_iter([("acc".to_owned(), json!(81.5))]);
        let finished = Event::Finished { task: task(), key: "ab".repeat(32), metrics, seconds: 12.0 };
        let line = plain(&finished, Verbosity::Normal).unwrap();
        assert_eq!(line, " finished erased@defense=argd in 12s  ACC 81.50");
        let done = Event::RunFinished {
            ran: 2,
            cached: 3,
            failed: 0,
            skipped: 0,
            unfinished: 1,
            warnings: 2,
            seconds: 61.0,
        };
        assert_eq!(
            plain(&done, Verbosity::Normal).unwrap(),
            "    ended in 1m 01s: 2 ran, 3 cached, 1 unfinished, 2 warnings"
        );
    }

    #[test]
    fn cached_tasks_are_printed_on_request() {
        let cached = Event::Cached {
            task: task(),
            key: "ab".repeat(32),
            metrics: Map::new(),
            seconds: 1.0,
            warnings: vec![],
        };
        assert_eq!(plain(&cached, Verbosity::Normal), None);
        let mut warned = cached.clone();
        if let Event::Cached { warnings, .. } = &mut warned {
            warnings.push("1 image".to_owned());
        }
        let lines = "   cached erased@defense=argd  abababababab\n warning: erased@defense=argd: 1 image";
        assert_eq!(plain(&warned, Verbosity::Notes).unwrap(), lines);
        let warning = Event::Warning { task: task(), line: "1 image".to_owned() };
        assert_eq!(plain(&warning, Verbosity::Normal).unwrap(), " warning: erased@defense=argd: 1 image");
        assert_eq!(plain(&cached, Verbosity::Notes).unwrap(), "   cached erased@defense=argd  abababababab");
    }
}
