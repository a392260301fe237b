//! The images of a batch, shared among threads, and what each thread keeps from one to the next.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::algorithm::{Addend, Finish};
use crate::kernels::image::Bordered;
use crate::kernels::pool::{Pool, Pooled};

/// A thread's memory: its content is arbitrary.
#[derive(Default)]
pub(super) struct Scratch {
    pub input: Bordered,
    pub gradient: Bordered,
    pub room: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the thread's memory. `work` must not wait for other threads: the pool could give it another one's work.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(work)
}

/// Gives each thread several images of the output at a time: the number of the first, the images, and what is added to
/// them. Finishes each image afterwards.
pub fn share(
    output: &mut [f32],
    image: usize,
    at_a_time: usize,
    addend: Addend<'_>,
    finish: Finish<'_>,
    work: impl Fn(usize, &mut [f32], Addend<'_>) + Sync,
) {
    let images = output.len() / image;
    let per_image = finish.results.len() / images.max(1);
    let mut results: Vec<&mut [f32]> = match per_image {
        0 => vec![],
        _ => finish.results.chunks_mut(per_image * at_a_time).collect(),
    };
    results.resize_with(images.div_ceil(at_a_time), Default::default);
    let parts = output.par_chunks_mut(image * at_a_time).zip(results).enumerate();
    parts.for_each(|(part, (output, results))| {
        let first = part * at_a_time;
        let addend = match addend {
            Addend::Batch(batch) => Addend::Batch(&batch[first * image..][..output.len()]),
            other => other,
        };
        work(first, output, addend);
        for (i, output) in output.chunks_exact_mut(image).enumerate() {
            let results =
                if per_image == 0 { &mut [][..] } else { &mut results[i * per_image..][..per_image] };
            (finish.work)(first + i, output, results);
        }
    });
}

/// How many images a thread should take at a time: `wanted`, but fewer if some threads would get none.
pub(super) fn at_a_time(wanted: usize, batch: usize) -> usize {
    wanted.min(batch.div_ceil(rayon::current_num_threads())).max(1)
}

/// The number of images whose sums [`sum_groups`] adds up first. It is fixed, so that sums do not depend on the number of
/// threads.
const GROUP: usize = 8;

/// Sums over the images of a batch: in groups of images, then the groups in order. `add` adds the images of a group to
/// `len` values. As many groups are in memory as there are threads.
pub(super) fn sum_groups(
    pool: &Arc<Pool>,
    batch: usize,
    len: usize,
    add: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Pooled {
    let at_once = rayon::current_num_threads().min(batch.div_ceil(GROUP)).max(1);
    let (mut total, mut parts) = (pool.take(len), pool.take(len * at_once));
    total.fill(0.0);
    let starts: Vec<usize> = (0..batch).step_by(GROUP).collect();
    for starts in starts.chunks(at_once) {
        parts.par_chunks_exact_mut(len).zip(starts).for_each(|(part, &start)| {
            part.fill(0.0);
            add(start..batch.min(start + GROUP), part);
        });
        for part in parts.chunks_exact(len).take(starts.len()) {
            total.iter_mut().zip(part).for_each(|(to, from)| *to += from);
        }
    }
    total
}
