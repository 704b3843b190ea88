//! The fused convolution against the composed one, and over a cache.

use super::super::tests::{assert_close, check, segments, variable};
use super::*;

#[test]
fn the_convolution_matches_the_composed_one() {
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
            || composed(&x, &w, &segments),
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
fn a_convolution_of_the_wrong_shape_is_refused() {
    let x = variable(&[3, 4], 1);
    assert!(causal_convolution(&x, &variable(&[5, 2], 2), &segments(&[3])).is_err());
    assert!(causal_convolution(&x, &variable(&[4, 2], 2), &segments(&[2])).is_err());
}
