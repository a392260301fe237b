//! The labels of tasks in messages, events, run files and jobs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::in_order;

/// A task's position in its plan. A task comes after the tasks that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub usize);

/// The label of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The task's position in the plan.
    pub id: TaskId,
    /// The stage's name.
    pub stage: String,
    /// Axis and value label for each axis that the task uses, in the manifest's axis order.
    pub axes: Vec<(String, String)>,
}

impl Label {
    /// The label of the task's value on an axis, if it uses that axis.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str())
    }
}

/// Writes `stage`, or `stage@axis=value,axis=value`.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        for (i, (axis, value)) in self.axes.iter().enumerate() {
            write!(f, "{}{axis}={value}", if i == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

/// A label that is cheap to copy into every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRef(Arc<Label>);

impl From<Label> for TaskRef {
    fn from(label: Label) -> Self {
        Self(Arc::new(label))
    }
}

impl Deref for TaskRef {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.0
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A label in JSON. The name follows from the stage and the axes; it is included for readers of the JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Task")]
struct Written {
    id: TaskId,
    #[serde(default)]
    name: String,
    stage: String,
    #[serde(with = "in_order")]
    axes: Vec<(String, String)>,
}

/// Writes `{id, name, stage, axes: {axis: value}}`.
impl Serialize for TaskRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Label { id, stage, axes } = &**self;
        Written { id: *id, name: self.to_string(), stage: stage.clone(), axes: axes.clone() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TaskRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { id, stage, axes, .. } = Written::deserialize(deserializer)?;
        Ok(Label { id, stage, axes }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back_with_its_axes_in_order() {
        let axes = vec![("ratio".into(), "0.05".into()), ("defense".into(), "argd".into())];
        let task = TaskRef::from(Label { id: TaskId(7), stage: "erased".into(), axes });
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(
            json,
            r#"{"id":7,"name":"erased@ratio=0.05,defense=argd","stage":"erased","axes":{"ratio":"0.05","defense":"argd"}}"#
        );
        assert_eq!(serde_json::from_str::<TaskRef>(&json).unwrap(), task);
    }
}
