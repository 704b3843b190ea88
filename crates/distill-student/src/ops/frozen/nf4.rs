//! Four-bit normal floats (NF4; Dettmers et al. 2023, arXiv 2305.14314).
//!
//! A matrix is cut into blocks of 64 adjacent elements in row-major order; a block is held as its
//! largest absolute value and, for each element, the place of the nearest of 16 quantiles of the
//! normal distribution. A block may reach into the next row, as in bitsandbytes.

use half::bf16;

use crate::ops::product::Instructions;

/// Elements of a block, which share one scale.
pub(crate) const BLOCK: usize = 64;

/// The quantiles, in order: those of bitsandbytes' `nf4` type.
pub(crate) const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A matrix in NF4, read as one run of elements.
#[derive(Debug)]
pub(crate) struct Nf4 {
    /// Two elements a byte, the first in the low half.
    codes: Vec<u8>,
    /// The largest absolute value of each block.
    scales: Vec<f32>,
    length: usize,
}

impl Nf4 {
    /// Takes each element to the nearest level of its block; a tie goes to the lower level.
    pub(crate) fn quantise(values: &[f32]) -> Self {
        let mut codes = vec![0u8; values.len().div_ceil(2)];
        let mut scales = Vec::with_capacity(values.len().div_ceil(BLOCK));
        for (block, codes) in values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK / 2)) {
            let scale = block.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            for (i, value) in block.iter().enumerate() {
                codes[i / 2] |= nearest(value * inverse) << (4 * (i % 2));
            }
            scales.push(scale);
        }
        Self {
            codes,
            scales,
            length: values.len(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.codes.len() + 4 * self.scales.len()
    }

    /// The codes, two a byte, and the scales of the blocks.
    pub(crate) fn parts(&self) -> (&[u8], &[f32]) {
        (&self.codes, &self.scales)
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    fn code(&self, place: usize) -> u8 {
        self.codes[place / 2] >> (4 * (place % 2)) & 15
    }

    /// Writes the elements from `start` on into `out`.
    pub(crate) fn dequantise(&self, start: usize, out: &mut [f32]) {
        let mut done = 0;
        while done < out.len() {
            let at = start + done;
            let run = (BLOCK - at % BLOCK).min(out.len() - done);
            let scale = self.scales[at / BLOCK];
            for (i, value) in out[done..done + run].iter_mut().enumerate() {
                *value = LEVELS[usize::from(self.code(at + i))] * scale;
            }
            done += run;
        }
    }
}

impl Nf4 {
    /// Writes the elements from `start` on into `out`, rounded to bf16.
    pub(crate) fn halves(&self, start: usize, out: &mut [bf16], instructions: Instructions) {
        let mut done = 0;
        while done < out.len() {
            let at = start + done;
            let run = (BLOCK - at % BLOCK).min(out.len() - done);
            let scale = self.scales[at / BLOCK];
            let mut out = &mut out[done..done + run];
            let mut at = at;
            if !at.is_multiple_of(2) {
                // The second element of a byte.
                out[0] = level(self.code(at), scale);
                out = &mut out[1..];
                at += 1;
            }
            instructions.halves(&self.codes[at / 2..], scale, out);
            done += run;
        }
    }
}

/// A level of a block in bf16.
pub(crate) fn level(code: u8, scale: f32) -> bf16 {
    bf16::from_f32(LEVELS[usize::from(code)] * scale)
}

/// The place of the level nearest to a value in -1..1.
fn nearest(value: f32) -> u8 {
    let mut code = 0;
    for pair in LEVELS.windows(2) {
        code += u8::from(value > 0.5 * (pair[0] + pair[1]));
    }
    code
}
