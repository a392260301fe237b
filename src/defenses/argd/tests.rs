use super::super::embedding::tests::{golden_maps, golden_parameters};
use super::super::tests::{Setup, assert_close, scalar};
use super::*;

/// Compares terms with the published ones, which have fewer digits than their sum.
fn assert_terms(found: &[Tensor], expected: [f64; 3], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().map(scalar).zip(expected) {
        assert!((found / expected - 1.0).abs() < tolerance, "{found} instead of {expected}");
    }
}

#[test]
fn node_loss_is_the_published_checks() {
    let (student, teacher) = golden_maps();
    let terms: Vec<Tensor> = (0..3).map(|l| mean_square(&student[l], &teacher[l]).unwrap()).collect();
    assert_terms(&terms, [1.67961997e-4, 4.73099503e-5, 6.80845309e-6], 2e-9);
    let loss = node_loss(&student, &teacher, &Own::default().node_weights).unwrap();
    assert_close(scalar(&loss), 0.586090651);
}

#[test]
fn edge_loss_is_the_published_checks() {
    let (student, teacher) = golden_maps();
    let edges = |maps: &[Tensor]| edge(&maps[0], &maps[1]).unwrap().to_vec1::<f64>().unwrap();
    let expected = [[0.91496593, 0.98485415, 0.92794406, 1.0], [0.99173501, 0.98790418, 0.99218945, 1.0]];
    for (found, expected) in
        [edges(&student), edges(&teacher)].iter().flatten().zip(expected.iter().flatten())
    {
        assert!((found - expected).abs() < 1e-8, "{found} instead of {expected}");
    }
    let terms = edge_terms(&student, &teacher).unwrap();
    assert_terms(&terms, [2.507566e-3, 2.738582e-4, 1.553504e-4], 4e-7);
    assert_close(scalar(&edge_loss(&student, &teacher).unwrap()), 9.789249050e-4);
}

#[test]
fn embedding_loss_is_the_published_checks_target_by_target() {
    let (student, teacher) = golden_maps();
    let embedding = Embedding { taps: 3, dim: 128 };
    let terms = embedding.terms(&golden_parameters(), &student, &teacher).unwrap();
    assert_terms(&terms, [2.73150e-4, 6.36234e-4, 2.106907e-3], 2e-6);
}

#[test]
fn the_three_terms_sum_to_the_published_total() {
    let (student, teacher) = golden_maps();
    let embedding = Embedding { taps: 3, dim: 128 };
    let node = scalar(&node_loss(&student, &teacher, &Own::default().node_weights).unwrap());
    let edge = scalar(&edge_loss(&student, &teacher).unwrap());
    let embed = scalar(&embedding.loss(&golden_parameters(), &student, &teacher).unwrap());
    assert_close(node + edge + embed, 0.590085868);
}

fn setup() -> Setup<Align> {
    let own = Own { w_edge: 30.0, w_embed: 100.0, embed_dim: 8, train_attention: true, ..Own::default() };
    let embedding = Embedding { taps: TAPS, dim: own.embed_dim };
    Setup::new(|teacher| Align { teacher, own, drawn: embedding.draw(3), embedding })
}

#[test]
fn gradients_of_the_whole_loss_agree_with_finite_differences() {
    setup().assert_gradients();
}

#[test]
fn terms_are_named_and_weighted() {
    let mut setup = setup();
    let (theta, own) = (setup.theta.clone(), setup.own());
    let terms = setup.terms(&theta, &own);
    assert_eq!(terms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["ce", "node", "edge", "embed"]);
    setup.objective.own.w_edge = 60.0;
    let doubled = setup.terms(&theta, &own);
    assert_close(scalar(&doubled[2].1), 2.0 * scalar(&terms[2].1));
    assert_close(scalar(&doubled[1].1), scalar(&terms[1].1));
}

#[test]
fn the_embedding_keeps_its_first_values_unless_told_to_train() {
    let mut setup = setup();
    let (theta, trained) = (setup.theta.clone(), setup.own());
    let expected = scalar(&setup.loss(&theta, &trained));
    setup.objective.own.train_attention = false;
    let none = setup.own();
    assert_eq!(none.elem_count(), 0);
    assert_close(scalar(&setup.loss(&theta, &none)), expected);
}
