//! The fused convolution against the composed one, and over a cache.

use super::super::tests::{assert_close, check, segments, variable};
use super::*;

/// The convolution in plain differentiable operations, segment by segment.
fn plain(x: &Tensor, weight: &Tensor, segments: &[Segment]) -> Result<Tensor> {
    let taps = weight.dim(1)?;
    let mut rows = Vec::with_capacity(segments.len());
    for segment in segments {
        let padded = x
            .narrow(0, segment.start, segment.length)?
            .pad_with_zeros(0, taps - 1, 0)?;
        let mut sum: Option<Tensor> = None;
        for tap in 0..taps {
            let tap_weight = weight.narrow(1, tap, 1)?.t()?; // (C, 1) → (1, C)
            let term = padded
                .narrow(0, tap, segment.length)?
                .broadcast_mul(&tap_weight)?;
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        rows.extend(sum);
    }
    let sums = Tensor::cat(&rows, 0)?;
    let denominators = (sums.neg()?.exp()? + 1.0)?;
    sums / denominators
}

#[test]
fn the_convolution_matches_the_plain_one() {
    for (channels, width, lengths) in [
        (6, 4, vec![1, 3, 9]),
        (40, 4, vec![2]),
        (9000, 3, vec![5, 2]), // more than one block in a segment
        (5, 1, vec![3, 3]),
    ] {
        let segments = segments(&lengths);
        let tokens = lengths.iter().sum();
        let (x, w) = (
            variable(&[tokens, channels], 1),
            variable(&[channels, width], 2),
        );
        check(
            &[&x, &w],
            || causal_convolution(&x, &w, &segments),
            || plain(&x, &w, &segments),
        );
        check(
            &[&x, &w],
            || composed::convolution(&x, &w, &segments),
            || plain(&x, &w, &segments),
        );
    }
}

#[test]
fn a_frozen_convolution_gets_no_gradient() {
    let (x, w) = (variable(&[4, 3], 1), variable(&[3, 2], 2));
    let frozen = w.as_detached_tensor();
    let out = causal_convolution(&x, &frozen, &segments(&[4])).unwrap();
    let gradients = out.sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&frozen).is_none() && gradients.get(&x).is_some());
}

#[test]
fn tokens_that_come_in_pieces_give_the_same_as_all_at_once() {
    let (channels, width, tokens) = (7, 4, 11);
    let (x, w) = (
        variable(&[tokens, channels], 3),
        variable(&[channels, width], 4),
    );
    let whole = causal_convolution(&x, &w, &segments(&[tokens])).unwrap();
    let (inputs, weights) = (elements_of(&x).unwrap(), elements_of(&w).unwrap());
    let mut tail = vec![0.0; (width - 1) * channels];
    let mut out = Vec::new();
    let mut start = 0;
    for count in [1, 2, 5, 1, 1, 1] {
        let new = &inputs[start * channels..(start + count) * channels];
        let mut rows = [ConvolutionRow {
            tail: &mut tail,
            tokens: count,
        }];
        out.extend(convolve_over(new, &weights, channels, &mut rows));
        start += count;
    }
    assert_eq!(start, tokens);
    let out = Tensor::from_vec(out, (tokens, channels), whole.device()).unwrap();
    assert_close(&out, &whole, "pieces");
}

#[test]
fn pieces_of_several_rows_give_on_other_devices_what_they_give_here() {
    let (channels, width) = (7, 4);
    let w = variable(&[channels, width], 4);
    let weights = elements_of(&w).unwrap();
    let mut tails = vec![vec![0.0; (width - 1) * channels]; 3];
    let mut placed = Tensor::zeros((3, width - 1, channels), w.dtype(), w.device()).unwrap();
    for (pass, lengths) in [[1, 6, 2], [2, 1, 3], [1, 1, 5]].into_iter().enumerate() {
        let tokens = lengths.iter().sum();
        let x = variable(&[tokens, channels], pass as u64);
        let mut rows: Vec<ConvolutionRow<'_>> = tails
            .iter_mut()
            .zip(lengths)
            .map(|(tail, tokens)| ConvolutionRow { tail, tokens })
            .collect();
        let here = convolve_over(&elements_of(&x).unwrap(), &weights, channels, &mut rows);
        let here = Tensor::from_vec(here, (tokens, channels), w.device()).unwrap();
        let (there, after) = convolve_behind(&x, &w, &segments(&lengths), &placed).unwrap();
        assert_close(&there, &here, "values");
        let shape = (3, width - 1, channels);
        let kept = Tensor::from_vec(tails.concat(), shape, w.device()).unwrap();
        assert_close(&after, &kept, "tails");
        placed = after;
    }
}

#[test]
fn a_convolution_of_the_wrong_shape_is_refused() {
    let x = variable(&[3, 4], 1);
    assert!(causal_convolution(&x, &variable(&[5, 2], 2), &segments(&[3])).is_err());
    assert!(causal_convolution(&x, &variable(&[4, 2], 2), &segments(&[2])).is_err());
}
