//! The rate at which a store hashes what it holds: one large artifact, and as much in many.
//!
//! `cargo bench --bench hashing`: "B/s" are bytes of artifacts a second. A check of the whole store trusts no remembered
//! digest, so that every byte is read (from the page cache) and hashed.

#![expect(clippy::unwrap_used, reason = "a panic is how a measurement that went wrong ends")]

use std::fs;

use argd_pipe::store::{DraftOutput, Key, RecordDraft, Store};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BYTES: usize = 256 << 20;

/// Commits artifacts of `BYTES` together, each with another content.
fn fill(store: &Store, artifacts: usize) {
    let key = Key::of(&artifacts.into());
    let lock = store.try_lock(&key).unwrap().unwrap();
    let work = store.work(&lock).unwrap();
    let ports: Vec<String> = (0..artifacts).map(|port| port.to_string()).collect();
    for (content, port) in ports.iter().enumerate() {
        fs::write(work.path().join(port), vec![content as u8; BYTES / artifacts]).unwrap();
    }
    let outputs = ports.into_iter().map(DraftOutput::Written).collect();
    store.commit(&lock, work, RecordDraft { outputs, ..RecordDraft::default() }).unwrap();
}

fn check(c: &mut Criterion) {
    let mut group = c.benchmark_group("check of a store");
    group.throughput(Throughput::Bytes(BYTES as u64));
    for artifacts in [1, 64] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fill(&store, artifacts);
        let name = format!("{artifacts} of {} MiB", (BYTES / artifacts) >> 20);
        group.bench_function(BenchmarkId::new("artifacts", name), |b| {
            b.iter(|| {
                let found = store.verify(&|_| {}).unwrap();
                assert_eq!((found.artifacts.bytes, found.damages.len()), (BYTES as u64, 0));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = hashing;
    config = Criterion::default().sample_size(10);
    targets = check
}
criterion_main!(hashing);
