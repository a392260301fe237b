//! Tasks that are skipped because of one failed task: a sweep can have thousands, so one line counts them.

use crate::pipeline::Event;

/// The skipped tasks that have no line yet. They follow each other: those of one failed task come together.
#[derive(Default)]
pub(super) struct Skipped(Option<Group>);

/// Tasks that need the same failed task.
pub(super) struct Group {
    /// The event of the first of them.
    pub first: Event,
    /// How many there are.
    pub tasks: usize,
}

impl Skipped {
    /// Takes in an event. Returns the tasks that were skipped before it, if it is not one more of them.
    pub(super) fn observe(&mut self, event: &Event) -> Option<Group> {
        let Event::Skipped { ancestor, .. } = event else { return self.0.take() };
        match &mut self.0 {
            Some(Group { first: Event::Skipped { ancestor: known, .. }, tasks }) if known == ancestor => {
                *tasks += 1;
                None
            }
            before => before.replace(Group { first: event.clone(), tasks: 1 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Label, TaskId, TaskRef};

    fn task(id: usize) -> TaskRef {
        Label { id: TaskId(id), stage: format!("s{id}"), axes: vec![] }.into()
    }

    #[test]
    fn the_tasks_of_each_failure_are_counted() {
        let mut skipped = Skipped::default();
        let skip = |id, ancestor| Event::Skipped {
            task: task(id),
            ancestor: task(ancestor),
            message: String::new(),
        };
        let stopped = Event::Stopped { task: task(9) };
        let events = [skip(2, 1), skip(3, 1), skip(4, 0), stopped.clone(), stopped];
        let groups =
            events.iter().map(|event| skipped.observe(event).map(|group| (group.first, group.tasks)));
        let groups: Vec<_> = groups.collect();
        assert_eq!(groups, [None, None, Some((skip(2, 1), 2)), Some((skip(4, 0), 1)), None]);
    }
}
