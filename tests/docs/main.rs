//! Files that are written from the code: the schema, the command line, the stage kinds. These tests compare them
//! with the code; with `UPDATE_DOCS=1` they write them again.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod architectures;
mod stages;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use argd_pipe::{cli, pipeline};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a file with what it should hold.
fn assert_current(name: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        fs::write(path(name), text).unwrap();
    }
    let found = fs::read_to_string(path(name)).unwrap_or_default();
    assert!(
        found == text,
        "{name} differs from the code: `UPDATE_DOCS=1 cargo test --release --test docs` writes it again"
    );
}

fn schema() -> Value {
    pipeline::manifest_schema(&argd_pipe::stages::all())
}

#[test]
fn the_schema_is_current() {
    assert_current("pipelines/manifest.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_stage_kinds_are_current() {
    assert_current("docs/stages.md", &stages::reference());
}

#[test]
fn the_table_of_architectures_is_current() {
    let page = fs::read_to_string(path("docs/checkpoints.md")).unwrap();
    assert_current("docs/checkpoints.md", &architectures::with_table(&page));
}

#[test]
fn the_command_line_is_current() {
    let mut text = String::from(
        "# The command line\n\nThe output of `--help` for every command, written from the program. The first section lists the \
         global options, which every command takes. An option that several commands share is explained where it first appears.\n",
    );
    let mut command = cli::command().term_width(100);
    command.build();
    describe(command, &mut BTreeSet::new(), &mut text);
    assert_current("docs/cli.md", &text);
}

/// Appends the help of a command and of its subcommands. `explained` holds the long texts that are already there.
fn describe(command: clap::Command, explained: &mut BTreeSet<String>, text: &mut String) {
    let is_root = explained.is_empty();
    let mut command = command.mut_args(|arg| {
        let again = arg.get_long_help().is_some_and(|help| !explained.insert(help.to_string()));
        let everywhere = arg.is_global_set() || matches!(arg.get_action(), clap::ArgAction::Help);
        let arg = match arg.get_help().cloned() {
            Some(short) if again => arg.long_help(short),
            _ => arg,
        };
        arg.hide(everywhere && !is_root)
    });
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    *text += &format!("\n## {name}\n\n```text\n{}\n```\n", help.trim_end());
    let is_listed = |below: &&clap::Command| below.get_name() != "help" && !below.is_hide_set();
    for below in command.get_subcommands().filter(is_listed) {
        describe(below.clone(), explained, text);
    }
}

/// The manifests below a folder.
fn manifests(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

/// The text of a manifest as an editor's validator sees it.
fn as_json(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn every_pipeline_fits_the_schema_and_names_it() {
    let (validator, pipelines) = (validator(), path("pipelines"));
    let mut found = manifests(&pipelines);
    found.push(path("src/cli/starter.yaml"));
    assert!(found.len() > 2, "{found:?}");
    for file in found {
        let text = fs::read_to_string(&file).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&as_json(&text))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}:\n{}", file.display(), wrong.join("\n"));

        let depth = file.strip_prefix(&pipelines).map_or(0, |name| name.components().count() - 1);
        let first = format!("# yaml-language-server: $schema={}manifest.schema.json", "../".repeat(depth));
        assert_eq!(text.lines().next(), Some(first.as_str()), "the first line of {}", file.display());
    }
}

#[test]
fn the_schema_refuses_what_editors_should_underline() {
    let validator = validator();
    let stage = |text: &str| format!("name: x\nstages:\n  a: {text}\n");
    let good = [
        stage("{kind: dataset, with: {source: synthetic, train: '${vars.n}'}}"),
        stage("{kind: dataset, with: '${matrix.data}'}"),
        stage("{kind: train, needs: {dataset: b}, with: }"),
        stage("{kind: erase, needs: {student: b, dataset: c}, with: {<<: '${vars.x}', w_node: 5}}"),
        stage("{kind: erase, needs: {student: b, dataset: c}, with: {method: '${matrix.defense}'}}"),
        "name: x\nseed: 3\nmatrix: {r: [1, 2], exclude: [{r: 1}]}\nstages: {a: {kind: dataset, with: {source: synthetic}}}"
            .to_owned(),
    ];
    for text in &good {
        assert!(validator.is_valid(&as_json(text)), "{text}: {:?}", validator.validate(&as_json(text)).err());
    }
    let bad = [
        "stages: {}".to_owned(),
        "name: x\nstages: {}\nstage: 1".to_owned(),
        "name: X Y\nstages: {a: {kind: dataset, with: {source: synthetic}}}".to_owned(),
        stage("{kind: trian, needs: {dataset: b}}"),
        stage("{kind: train}"),
        stage("{kind: train, needs: {datset: b}}"),
        stage("{kind: train, needs: {dataset: b}, with: {epoch: 3}}"),
        stage("{kind: train, needs: {dataset: b}, with: {epochs: many}}"),
        stage("{kind: train, needs: {dataset: b}, with: {epochs: 0}}"),
        stage("{kind: erase, needs: {student: b, dataset: c}, with: {method: nda}}"),
        stage("{kind: dataset, with: {source: cifar10}}"),
        stage("{kind: dataset, epochs: 3}"),
    ];
    for text in &bad {
        assert!(!validator.is_valid(&as_json(text)), "{text}");
    }
}

#[test]
fn every_method_and_every_parameter_is_documented() {
    for kind in argd_pipe::stages::all() {
        let schema = kind.schema().to_value();
        assert!(
            !schema.to_string().contains("[`"),
            "`{}` has a link, which only rustdoc follows",
            kind.kind()
        );
        for object in stages::objects(&schema) {
            let fields = object["properties"].as_object().unwrap();
            let method = ["attack", "method"].iter().find_map(|tag| fields.get(*tag)?.get("const"));
            let described = object.get("description").is_some();
            assert!(method.is_none() || described, "{method:?} of `{}` has no documentation", kind.kind());
            for (name, field) in fields {
                let tag = field.get("const").is_some();
                let described =
                    field.get("description").is_some() || stages::target(&schema, field).is_some();
                assert!(tag || described, "`{name}` of `{}` has no documentation", kind.kind());
            }
        }
    }
}
