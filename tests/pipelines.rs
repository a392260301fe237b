//! The manifests in `pipelines` are ones that this program takes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use argd_pipe::manifest::Draft;
use argd_pipe::nn::Backend;
use argd_pipe::{pipeline, stages};

/// The manifests in a folder and the folders in it.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let all = paths.flat_map(|path| if path.is_dir() { manifests(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn every_pipeline_can_be_planned() {
    let paths = manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines"));
    assert!(paths.len() >= 7, "{paths:?}");
    for path in paths {
        let draft = Draft::load(&path, &[]).unwrap();
        let plan = pipeline::plan(draft, &stages::all(), &Backend::default());
        let plan = plan.unwrap_or_else(|errors| panic!("{path:?}: {errors}"));
        assert!(plan.len() > 5, "{path:?}");
    }
}
