//! Random DAGs: every task runs once and after its inputs, and no task is left.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// A manifest of `node` stages: for each, up to three earlier stages that it needs, and which axes it uses.
fn manifest(stages: &[(Vec<prop::sample::Index>, u8)]) -> String {
    let mut yaml = String::from("name: random\nmatrix: {x: [1, 2], y: [1, 2, 3]}\nstages:\n");
    for (i, (needs, axes)) in stages.iter().enumerate() {
        let needs = needs.iter().zip(["a", "b", "c"]).filter(|_| i > 0);
        let needs: Vec<String> = needs.map(|(need, port)| format!("{port}: s{}", need.index(i))).collect();
        // The first stage uses both axes, because an axis that no stage uses is an error.
        let axes = if i == 0 { 3 } else { *axes };
        let x = if axes & 1 > 0 { "${matrix.x}" } else { "" };
        let y = if axes & 2 > 0 { "${matrix.y}" } else { "" };
        let needs = needs.join(", ");
        writeln!(yaml, "  s{i}: {{kind: node, needs: {{{needs}}}, with: {{text: \"{i} {x} {y}\"}}}}")
            .unwrap();
    }
    yaml
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_task_runs_once_and_after_its_inputs(
        stages in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..=3), 0..4u8), 1..8),
        jobs in 1..4usize,
    ) {
        let bench = Bench { settings: Settings { jobs, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
        let plan = bench.plan(&manifest(&stages));
        let seen = bench.run_plan(&plan);
        prop_assert_eq!(seen.counts(), [plan.len(), 0, 0, 0, 0]);
        prop_assert_eq!(bench.lab.ran(), [("node", plan.len())]);
        let mut done = vec![false; plan.len()];
        for event in &seen.events {
            match event {
                Event::TaskStarted { task, .. } => {
                    prop_assert!(plan.needs(task.id).all(|need| done[need.0]), "{} started too early", task);
                }
                Event::Finished { task, .. } => prop_assert!(!std::mem::replace(&mut done[task.id.0], true)),
                _ => {}
            }
        }
        prop_assert!(done.iter().all(|&done| done));
        prop_assert_eq!(bench.run_plan(&plan).counts(), [0, plan.len(), 0, 0, 0]);
    }
}
