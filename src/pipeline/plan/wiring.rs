//! Finds the kind of each stage and the outputs that feed its ports.

use std::collections::HashMap;

use crate::manifest::{Diagnostic, Manifest, Spanned, StageDef};
use crate::stages::{Artifact, Input, Stage};

/// A stage with its kind and its fed ports.
pub(super) struct Wired<'k> {
    pub kind: &'k dyn Stage,
    pub ports: Vec<Port>,
}

/// A fed port.
pub(super) struct Port {
    pub name: &'static str,
    /// The position of the stage that feeds it.
    pub producer: usize,
    /// The input's name (`port`, `port.part`) and the producer's output.
    pub artifacts: Vec<(String, &'static str)>,
}

/// Finds every stage's kind and the outputs that feed its ports. A stage of an unknown kind is `None`.
pub(super) fn wire<'k>(
    manifest: &Manifest,
    kinds: &'k [Box<dyn Stage>],
    errors: &mut Vec<Diagnostic>,
) -> Vec<Option<Wired<'k>>> {
    let found: Vec<Option<&dyn Stage>> = manifest
        .stages
        .iter()
        .map(|def| find_kind(def, kinds).map_err(|error| errors.push(*error)).ok())
        .collect();
    let wirer = Wirer { manifest, kinds, found: &found, positions: positions(manifest) };
    let wired = manifest.stages.iter().zip(&found).map(|(def, kind)| {
        let kind = (*kind)?;
        Some(Wired { kind, ports: wirer.ports(def, kind, errors) })
    });
    wired.collect()
}

fn find_kind<'k>(def: &StageDef, kinds: &'k [Box<dyn Stage>]) -> Result<&'k dyn Stage, Box<Diagnostic>> {
    let Spanned { value: wanted, place } = &def.kind;
    kinds.iter().map(AsRef::as_ref).find(|kind| kind.kind() == wanted).ok_or_else(|| {
        let names = kinds.iter().map(|kind| kind.kind());
        let path = format!("stages.{}.kind", def.name);
        let error = Diagnostic::new(path, place, format!("unknown stage kind `{wanted}`"));
        Box::new(error.with_names("kinds", wanted, names))
    })
}

struct Wirer<'a, 'k> {
    manifest: &'a Manifest,
    kinds: &'k [Box<dyn Stage>],
    /// By position of the stage.
    found: &'a [Option<&'k dyn Stage>],
    positions: HashMap<&'a str, usize>,
}

/// The positions of the stages by name.
fn positions(manifest: &Manifest) -> HashMap<&str, usize> {
    // Of stages with one name, which is an error, the first one counts.
    manifest.stages.iter().enumerate().rev().map(|(at, def)| (def.name.as_str(), at)).collect()
}

impl Wirer<'_, '_> {
    /// Feeds the ports of a stage, in the order of its kind.
    fn ports(&self, def: &StageDef, kind: &dyn Stage, errors: &mut Vec<Diagnostic>) -> Vec<Port> {
        errors.extend(unknown_ports(def, kind));
        let mut ports = vec![];
        for input in kind.inputs() {
            match def.needs.iter().find(|(port, _)| port.value == input.name) {
                Some((_, stage)) => match self.feed(def, input, stage) {
                    Ok(port) => ports.extend(port),
                    Err(error) => errors.push(*error),
                },
                None if input.required => errors.push(self.missing_port(def, kind, input)),
                None => {}
            }
        }
        ports
    }

    /// Feeds a port. `None` if the feeding stage has an unknown kind, which is reported at that stage.
    fn feed(
        &self,
        def: &StageDef,
        input: &Input,
        stage: &Spanned<String>,
    ) -> Result<Option<Port>, Box<Diagnostic>> {
        let producer = self.positions.get(stage.value.as_str());
        let Some((producer, Some(kind))) = producer.map(|&producer| (producer, self.found[producer])) else {
            return Ok(None);
        };
        let made =
            only_output(kind, input.takes).ok_or_else(|| Box::new(self.mismatch(def, input, stage, kind)))?;
        let parts = input.also.iter().filter_map(|&(part, artifact)| {
            only_output(kind, artifact).map(|output| (format!("{}.{part}", input.name), output))
        });
        let artifacts = std::iter::once((input.name.to_owned(), made)).chain(parts).collect();
        Ok(Some(Port { name: input.name, producer, artifacts }))
    }

    fn mismatch(
        &self,
        def: &StageDef,
        input: &Input,
        stage: &Spanned<String>,
        kind: &dyn Stage,
    ) -> Diagnostic {
        let path = format!("stages.{}.needs.{}", def.name, input.name);
        let (port, wanted) = (input.name, noun(input.takes));
        let fitting = kind.outputs().iter().filter(|output| output.makes == input.takes).count();
        let makes = match kind.outputs() {
            [] => "nothing".to_owned(),
            _ if fitting > 1 => format!("{fitting} of them, which is ambiguous"),
            outputs => outputs.iter().map(|output| noun(output.makes)).collect::<Vec<_>>().join(" and "),
        };
        let message = format!("`{port}` takes {wanted}, but `{}` makes {makes}", stage.value);
        Diagnostic::new(path, &stage.place, message)
            .with_label(format!("a stage of kind `{}`", kind.kind()))
            .with_help(self.makers_of(input.takes))
    }

    fn missing_port(&self, def: &StageDef, kind: &dyn Stage, input: &Input) -> Diagnostic {
        let path = format!("stages.{}.needs", def.name);
        let message = format!("a stage of kind `{}` needs `{}`: {}", kind.kind(), input.name, input.about);
        // For an example the first stages are enough: thousands of stages can lack a port.
        let makers = self.manifest.stages.iter().zip(self.found).take(200);
        let maker = makers
            .filter(|(maker, _)| maker.name != def.name)
            .find_map(|(maker, kind)| only_output((*kind)?, input.takes).map(|_| maker.name.as_str()));
        let example = format!("write `needs: {{{}: {}}}`", input.name, maker.unwrap_or("<stage>"));
        Diagnostic::new(path, &def.place, message)
            .with_label(format!("`{}` is not connected", input.name))
            .with_help(format!("{example}\n{}", self.makers_of(input.takes)))
    }

    /// Lists the kinds that can feed a port.
    fn makers_of(&self, artifact: Artifact) -> String {
        let makers = self.kinds.iter().filter(|kind| only_output(kind.as_ref(), artifact).is_some());
        let makers: Vec<String> = makers.map(|kind| format!("`{}`", kind.kind())).collect();
        format!("kinds that make {}: {}", noun(artifact), makers.join(", "))
    }
}

fn unknown_ports(def: &StageDef, kind: &dyn Stage) -> Vec<Diagnostic> {
    let is_known = |port: &str| kind.inputs().iter().any(|input| input.name == port);
    let unknown = def.needs.iter().map(|(port, _)| port).filter(|port| !is_known(&port.value));
    let report = |port: &Spanned<String>| {
        let path = format!("stages.{}.needs.{}", def.name, port.value);
        let message = format!("a stage of kind `{}` has no input `{}`", kind.kind(), port.value);
        let names = kind.inputs().iter().map(|input| input.name);
        Diagnostic::new(path, &port.place, message).with_names("inputs", &port.value, names)
    };
    unknown.map(report).collect()
}

/// Reports stages in `results.from` that make no report.
pub(super) fn check_results(manifest: &Manifest, wired: &[Option<Wired<'_>>]) -> Vec<Diagnostic> {
    let from = manifest.results.iter().flat_map(|results| &results.from).enumerate();
    let positions = positions(manifest);
    let kind = |name: &str| wired[*positions.get(name)?].as_ref().map(|wired| wired.kind);
    let reports = |kind: &dyn Stage| kind.outputs().iter().any(|output| output.makes == Artifact::Report);
    let silent = from.filter_map(|(i, stage)| Some((i, stage, kind(&stage.value)?)));
    let report = |(i, stage, kind): (usize, &Spanned<String>, &dyn Stage)| {
        let message = format!("`{}` makes no metrics", stage.value);
        Diagnostic::new(format!("results.from.{i}"), &stage.place, message)
            .with_label(format!("a stage of kind `{}`", kind.kind()))
            .with_help("name stages of kind `evaluate` or `detect`")
    };
    silent.filter(|(_, _, kind)| !reports(*kind)).map(report).collect()
}

/// The only output of a type. `None` if the kind has none or several.
fn only_output(kind: &dyn Stage, artifact: Artifact) -> Option<&'static str> {
    let mut outputs = kind.outputs().iter().filter(|output| output.makes == artifact);
    let first = outputs.next()?;
    outputs.next().is_none().then_some(first.name)
}

pub(super) fn noun(artifact: Artifact) -> &'static str {
    match artifact {
        Artifact::Dataset => "a data set",
        Artifact::Indices => "a split",
        Artifact::Overlay => "poisoned images",
        Artifact::Trigger => "a trigger",
        Artifact::Model => "a model",
        Artifact::Curve => "a curve",
        Artifact::Report => "a report",
        Artifact::Evidence => "evidence",
    }
}
