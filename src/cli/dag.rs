//! `argd-pipe dag`: draws the graph of stages or of tasks.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::error::CliError;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::prepare;
use super::ui::Ui;
use super::ui::graph::{Graph, Node};
use crate::pipeline::{self, Event, Plan, Status, TaskId};

const EXAMPLES: &str = "\
Examples:
  argd-pipe dag pipelines/badnets.yaml
  argd-pipe dag pipelines/badnets.yaml 'after@clean_ratio=0.05' --expand
  argd-pipe dag pipelines/badnets.yaml --format dot | dot -Tsvg > badnets.svg
  argd-pipe dag pipelines/badnets.yaml --format mermaid";

/// Draw the graph of stages, with the states of their tasks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Dag {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// The format of the drawing.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Ascii)]
    format: Format,

    /// Draw tasks instead of stages.
    #[arg(long)]
    expand: bool,
}

/// The format of a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a terminal.
    Ascii,
    /// For Graphviz.
    Dot,
    /// For Mermaid, which GitHub shows as a drawing.
    Mermaid,
}

impl Dag {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, _) = prepare(&self.manifest, global, ui)?.narrow(&self.targets.targets, false)?;
        let status = pipeline::status(&prepared.plan, &prepared.store, &mut |task, damage| {
            ui.show(&Event::damaged(task, damage))
        })?;
        let graph =
            if self.expand { of_tasks(&prepared.plan, &status) } else { of_stages(&prepared.plan, &status) };
        match self.format {
            Format::Ascii => ui.print(&ui.drawn(&graph)),
            Format::Dot => ui.data(&graph.dot(prepared.plan.name())),
            Format::Mermaid => ui.data(&graph.mermaid()),
        }
    }
}

fn of_tasks(plan: &Plan, status: &Status) -> Graph {
    let node = |id: TaskId| Node {
        name: plan.task(id).label.to_string(),
        counts: BTreeMap::from([(status.of(id).standing, 1)]),
        needs: plan.needs(id).map(|need| need.0).collect(),
    };
    Graph::new((0..plan.len()).map(|id| node(TaskId(id))).collect())
}

/// One node per stage, in the order of their first tasks: the plan lists each task after its inputs.
fn of_stages(plan: &Plan, status: &Status) -> Graph {
    let mut nodes: Vec<Node> = vec![];
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for task in plan.tasks() {
        let place = *places.entry(&task.label.stage).or_insert_with(|| {
            nodes.push(Node { name: task.label.stage.clone(), ..Node::default() });
            nodes.len() - 1
        });
        let needs: Vec<usize> =
            task.needs().map(|need| places[plan.task(need).label.stage.as_str()]).collect();
        nodes[place].needs.extend(needs);
        *nodes[place].counts.entry(status.of(task.id()).standing).or_default() += 1;
    }
    Graph::new(nodes)
}
