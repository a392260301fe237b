//! A stage's parameters in one cell: resolved, checked against the kind's schema, and typed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::manifest::{Cell, Diagnostic, Entry, Manifest, Node, StageDef, schema};
use crate::plain::visible;
use crate::stages::{Bound, Need, ParamError, Stage};

/// The parameters of a stage in a cell.
#[derive(Clone)]
pub(super) struct Binding {
    /// As in the manifest, with references resolved.
    pub with: Arc<Value>,
    /// Typed.
    pub bound: Arc<dyn Bound>,
}

/// Types the parameters of a stage in a cell, or reports all their errors.
pub(super) fn bind(
    manifest: &Manifest,
    def: &StageDef,
    kind: &dyn Stage,
    schema: &Value,
    cell: &Cell,
) -> Result<Binding, Vec<Diagnostic>> {
    let with = manifest.instantiate(def, cell).map_err(|errors| errors.0)?;
    let path = format!("stages.{}.with", def.name);
    let wrong = schema::check(&with, schema, &path);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let json = with.to_json();
    let bound = kind
        .bind(&json)
        .map_err(|wrong| wrong.iter().map(|error| locate(error, &with, &path)).collect::<Vec<_>>())?;
    let is_fed = |need: &Need| def.needs.iter().any(|(port, _)| port.value == need.port);
    let missing: Vec<Diagnostic> = bound
        .needs()
        .iter()
        .filter(|need| !is_fed(need))
        .map(|need| lacks(need, kind, &with, &path))
        .collect();
    let sources = bound.sources();
    let missing: Vec<Diagnostic> = missing.into_iter().chain(in_home(&sources, &with, &path)).collect();
    if missing.is_empty() { Ok(Binding { with: json.into(), bound: bound.into() }) } else { Err(missing) }
}

/// Reports paths below `~`. A shell would put the user's folder there; a manifest means the same for everyone.
fn in_home(sources: &[PathBuf], with: &Node, path: &str) -> Vec<Diagnostic> {
    let is_in_home = |entry: &&Entry| {
        let source = entry.value.as_str().map(Path::new);
        source.is_some_and(|source| source.starts_with("~") && sources.iter().any(|known| known == source))
    };
    let found = with.entries().iter().filter(is_in_home);
    let report = |Entry { key, value }: &Entry| {
        let (path, text) = (format!("{path}.{}", key.value), value.to_text());
        Diagnostic::new(path, &value.place, format!("`{text}` begins with `~`, which only a shell replaces"))
            .with_use(value.used_at.as_ref())
            .with_help("write the whole path, or one from the folder where the program runs")
            .with_help(format!("for a folder that is called `~`, write `./{}`", visible(&text)))
    };
    found.map(report).collect()
}

/// Reports a missing input at the parameter that requires it.
fn lacks(need: &Need, kind: &dyn Stage, with: &Node, path: &str) -> Diagnostic {
    let &Need { port, parameter } = need;
    let value = with.child(parameter).unwrap_or(with);
    let message = format!("`{}` needs the input `{port}`, which is not connected", value.to_text());
    let input = kind.inputs().iter().find(|input| input.name == port);
    let about = input.map_or(String::new(), |input| format!("\n`{port}`: {}", input.about));
    Diagnostic::new(format!("{path}.{parameter}"), &value.place, message)
        .with_use(value.used_at.as_ref())
        .with_help(format!("add `{port}: <stage>` to the `needs` of this stage{about}"))
}

/// Finds the place of a wrong parameter in the manifest. A parameter that is not written there is reported at the place
/// where it could be.
pub(super) fn locate(error: &ParamError, with: &Node, path: &str) -> Diagnostic {
    let mut at = with;
    for step in &error.path {
        let Some(below) = at.child(step) else { break };
        at = below;
    }
    let path =
        std::iter::once(path).chain(error.path.iter().map(String::as_str)).collect::<Vec<_>>().join(".");
    let found = Diagnostic::new(path, &at.place, &*error.message).with_use(at.used_at.as_ref());
    error.help.iter().fold(found, |found, help| found.with_help(help.as_str()))
}
