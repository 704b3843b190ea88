//! Results that are written to memory once: clearing it first would cost a pass of its own.

use std::array;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

/// Results of `length` elements each, made piece by piece in parallel, and copied out of the first
/// cache where they are made. `fill` gets the range of a piece and somewhere to write it, which
/// holds numbers of no meaning; a task of `task` elements holds whole pieces.
pub(crate) fn fresh<const K: usize>(
    length: usize,
    task: usize,
    piece: usize,
    fill: impl Fn(Range<usize>, [&mut [f32]; K]) + Sync,
) -> [Vec<f32>; K] {
    assert!(
        piece > 0 && task.is_multiple_of(piece),
        "tasks of {task} elements in pieces of {piece}"
    );
    let mut results: [Vec<f32>; K] = array::from_fn(|_| Vec::with_capacity(length));
    let mut parts = results
        .each_mut()
        .map(|result| result.spare_capacity_mut()[..length].chunks_mut(task));
    let mut tasks: Vec<[&mut [MaybeUninit<f32>]; K]> = Vec::with_capacity(length.div_ceil(task));
    for _ in 0..length.div_ceil(task) {
        tasks.push(parts.each_mut().map(|part| part.next().unwrap_or_default()));
    }
    tasks.into_par_iter().enumerate().for_each_init(
        || vec![0.0; K * piece.min(length)],
        |made, (index, mut places)| {
            let start = index * task;
            let end = (start + task).min(length);
            for first in (start..end).step_by(piece) {
                let count = piece.min(end - first);
                let mut parts = made.chunks_exact_mut(piece.min(length));
                let mut made = array::from_fn(|_| {
                    let part: &mut [f32] = parts.next().unwrap_or_default();
                    &mut part[..count]
                });
                fill(
                    first..first + count,
                    made.each_mut().map(|part| &mut **part),
                );
                for (place, made) in places.iter_mut().zip(&made) {
                    place[first - start..][..count].write_copy_of_slice(made);
                }
            }
        },
    );
    for result in &mut results {
        #[expect(unsafe_code, reason = "every element was written")]
        // SAFETY: the tasks cover 0..length, and each of them wrote all of its pieces.
        unsafe {
            result.set_len(length);
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_written_whatever_the_sizes() {
        for length in [0, 1, 7, 8, 24, 25, 1000] {
            let [twice, next] = fresh(length, 24, 8, |range, [twice, next]| {
                for ((at, twice), next) in range.zip(twice).zip(next) {
                    (*twice, *next) = (2.0 * at as f32, at as f32 + 1.0);
                }
            });
            assert_eq!((twice.len(), next.len()), (length, length));
            let right = |(at, value): (usize, &f32)| (value - 2.0 * at as f32).abs() < 0.5;
            assert!(twice.iter().enumerate().all(right));
            assert!(next.iter().enumerate().all(|(at, v)| *v > at as f32));
        }
    }
}
