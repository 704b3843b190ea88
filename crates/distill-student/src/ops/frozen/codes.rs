//! NF4 where candle's operations dequantise it: the codes lie on the device as they are and are
//! turned to values there, each time that a matrix is used.

use candle_core::{Device, Result, Tensor};

use super::nf4::{BLOCK, LEVELS, Nf4};

/// Values of one code byte: two elements.
const PAIR: usize = 2;

/// Two of the largest level. Candle's choice of rows takes the largest index of its type for none
/// and gives zeros.
const NOTHING: u8 = 0xff;
/// Two of the level that is zero.
const ZEROS: u8 = 0x77;

/// Two zeros change places with the byte that candle gives zeros for.
fn exchanged(byte: u8) -> u8 {
    match byte {
        NOTHING => ZEROS,
        ZEROS => NOTHING,
        other => other,
    }
}

#[derive(Debug)]
pub(super) struct Codes {
    /// Whole blocks, a byte for two elements, [`exchanged`]; (N / 2)
    packed: Tensor,
    /// (blocks, 1)
    scales: Tensor,
    /// The two elements that each byte stands for, before scaling; (256, 2)
    pairs: Tensor,
    /// Elements, without what fills the last block.
    length: usize,
}

impl Codes {
    pub(super) fn new(quantised: &Nf4, device: &Device) -> Result<Self> {
        let (codes, scales) = quantised.parts();
        let blocks = scales.len();
        let mut codes: Vec<u8> = codes.iter().copied().map(exchanged).collect();
        codes.resize(blocks * BLOCK / PAIR, 0);
        let pairs: Vec<f32> = (0..=u8::MAX)
            .map(exchanged)
            .flat_map(|byte| [byte & 15, byte >> 4])
            .map(|code| LEVELS[usize::from(code)])
            .collect();
        Ok(Self {
            packed: Tensor::from_vec(codes, blocks * BLOCK / PAIR, device)?,
            scales: Tensor::from_slice(scales, (blocks, 1), device)?,
            pairs: Tensor::from_vec(pairs, (usize::from(u8::MAX) + 1, PAIR), device)?,
            length: quantised.length(),
        })
    }

    pub(super) fn device(&self) -> &Device {
        self.packed.device()
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.elem_count() + 4 * (self.scales.elem_count() + self.pairs.elem_count())
    }

    /// All elements in f32, one after another.
    pub(super) fn dequantised(&self) -> Result<Tensor> {
        let blocks = self.scales.dim(0)?;
        let levels = self.pairs.index_select(&self.packed, 0)?; // (N / 2) → (N / 2, 2)
        levels
            .reshape((blocks, BLOCK))?
            .broadcast_mul(&self.scales)?
            .flatten_all()?
            .narrow(0, 0, self.length)
    }
}
