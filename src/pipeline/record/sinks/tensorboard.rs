//! Scalars for TensorBoard: a folder per task with its losses and speed over time, and its metrics.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::tfrecord::{scalar_event, version_event, write_record};
use super::{Sink, now};
use crate::files::{Folder, check_writable, names};
use crate::pipeline::{Event, TaskId, TaskRef};
use crate::stages::Progress;
use crate::store;

/// Writes event files below a folder: `<folder>/<task>/events.out.tfevents.<time>.<host>`. No link below it is followed.
#[derive(Debug)]
pub struct TensorBoard {
    folder: Folder,
    tasks: HashMap<TaskId, Curve>,
}

/// The file of a task, and the last step in it.
#[derive(Debug)]
struct Curve {
    file: File,
    step: u64,
}

impl TensorBoard {
    /// Creates the folder, and checks that it can be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let opened = Folder::create(folder)?;
        check_writable(&folder.join("task"))?;
        Ok(Self { folder: opened, tasks: HashMap::new() })
    }

    /// The file of a task. It is created before the first write.
    fn curve(&mut self, task: &TaskRef) -> io::Result<&mut Curve> {
        if !self.tasks.contains_key(&task.id) {
            let name = names::component(&task.to_string());
            let folder = self.folder.create_folder(&self.folder.path().join(name))?;
            let time = now();
            let name = format!("events.out.tfevents.{:010}.{}", time as u64, store::host());
            let path = folder.path().join(name);
            // A run in the same second replaces it.
            let mut file = folder.update(&path)?;
            file.set_len(0)?;
            write_record(&mut file, &version_event(time))?;
            self.tasks.insert(task.id, Curve { file, step: 0 });
        }
        self.tasks.get_mut(&task.id).ok_or_else(|| io::Error::other("a file was lost"))
    }

    fn write(&mut self, task: &TaskRef, step: Option<u64>, scalars: &[(String, f32)]) -> io::Result<()> {
        if scalars.is_empty() {
            return Ok(());
        }
        let curve = self.curve(task)?;
        curve.step = step.unwrap_or(curve.step);
        write_record(&mut curve.file, &scalar_event(now(), curve.step, scalars))
    }
}

impl Sink for TensorBoard {
    fn observe(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Progress { task, progress } => {
                self.write(task, Some(step(progress)), &of_progress(progress))
            }
            // Metrics are at the last step of the training.
            Event::Finished { task, metrics, .. } | Event::Cached { task, metrics, .. } => {
                self.write(task, None, &of_metrics(metrics))
            }
            _ => Ok(()),
        }
    }
}

/// Steps since the first epoch.
fn step(progress: &Progress) -> u64 {
    (progress.epoch * progress.steps + progress.step) as u64
}

fn of_progress(progress: &Progress) -> Vec<(String, f32)> {
    let terms = progress.terms.iter().map(|(name, value)| (format!("loss/{name}"), *value as f32));
    let speed = (progress.images_per_second > 0.0)
        .then(|| ("speed/images_per_second".to_owned(), progress.images_per_second as f32));
    let tests = progress.tests.iter().map(|(name, percent)| (format!("test/{name}"), *percent as f32));
    terms.chain(speed).chain(tests).collect()
}

fn of_metrics(metrics: &Map<String, Value>) -> Vec<(String, f32)> {
    let scalar = |(name, value): (&String, &Value)| Some((format!("metrics/{name}"), value.as_f64()? as f32));
    metrics.iter().filter_map(scalar).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::pipeline::Label;

    #[test]
    fn a_link_below_the_folder_is_not_followed() {
        let [folder, out] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(out.path(), folder.path().join("trained")).unwrap();
        let mut sink = TensorBoard::create(folder.path()).unwrap();
        let task: TaskRef = Label { id: TaskId(1), stage: "trained".into(), axes: vec![] }.into();
        let metrics = Map::from_iter([("acc".to_owned(), json!(50.0))]);
        let written = sink.observe(&Event::Finished { task, key: String::new(), metrics, seconds: 1.0 });
        assert!(written.unwrap_err().to_string().ends_with("is a link"));
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_task_has_a_folder_after_its_first_scalar() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = TensorBoard::create(folder.path()).unwrap();
        let axes = vec![("data".to_owned(), "a/b".to_owned())];
        let task: TaskRef = Label { id: TaskId(1), stage: "trained".into(), axes }.into();
        sink.observe(&Event::TaskStarted { task: task.clone(), key: String::new(), threads: 1 }).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let terms = vec![("total".into(), 0.5)];
        let tests = vec![("asr".into(), 3.5)];
        let progress = Progress {
            epoch: 2,
            epochs: 3,
            step: 1,
            steps: 10,
            images_per_second: 9.0,
            terms,
            tests,
            ..Default::default()
        };
        sink.observe(&Event::Progress { task: task.clone(), progress }).unwrap();
        let metrics = Map::from_iter([("acc".to_owned(), json!(50.0)), ("name".to_owned(), json!("x"))]);
        sink.observe(&Event::Finished { task, key: String::new(), metrics, seconds: 1.0 }).unwrap();

        let folders = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let folders: Vec<_> = folders.collect();
        assert!(folders[0].file_name().unwrap().to_str().unwrap().starts_with("trained@data=a_b~"));
        let files = fs::read_dir(&folders[0]).unwrap();
        let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert!(files[0].file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.1"));
        let bytes = fs::read(&files[0]).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(has(b"brain.Event:2") && has(b"loss/total") && has(b"speed/images_per_second"));
        assert!(has(b"test/asr") && has(b"metrics/acc") && !has(b"metrics/name"));
    }
}
