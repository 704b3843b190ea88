//! Rotary position embedding (Su et al. 2021, <https://arxiv.org/abs/2104.09864>) on token-major
//! rows: halves of a head, or neighbouring elements, are rotated against each other.

mod angles;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed::of_one;
use super::rows::{rows_per_task, vectorised};
use super::storage::{elements, elements_of, gradient, output};
use angles::Angles;

/// How fast each pair of a head turns with the position.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotation {
    /// Elements of a head; what the pairs leave over is not turned.
    pub head_dim: usize,
    /// Radians per position of each pair. Single precision, as the angles are: the models were
    /// trained with rounded ones.
    pub frequencies: Vec<f32>,
    /// The frequencies of rows that are longer than a length, with that length.
    pub long: Option<(usize, Vec<f32>)>,
    /// What cosines and sines are multiplied by.
    pub factor: f32,
    /// Whether neighbours are a pair, or elements half the turned width apart.
    pub interleaved: bool,
}

impl Rotation {
    /// The plain rotation of whole heads: `theta^(-2i / E)`.
    pub fn plain(theta: f64, head_dim: usize) -> Self {
        Self {
            head_dim,
            frequencies: Self::periods(theta, head_dim)
                .into_iter()
                .map(|period| 1.0 / period)
                .collect(),
            long: None,
            factor: 1.0,
            interleaved: false,
        }
    }

    /// Positions per radian of each pair, `theta^(2i / width)`: base and exponent in single
    /// precision, the power rounded to the nearest.
    pub(crate) fn periods(theta: f64, width: usize) -> Vec<f32> {
        let theta = f64::from(theta as f32);
        (0..width / 2)
            .map(|i| theta.powf(f64::from((2 * i) as f32 / width as f32)) as f32)
            .collect()
    }
}

/// Where the tokens of a pass stand.
#[derive(Debug, Clone)]
pub struct Positions {
    /// Each token's place in its row.
    at: Arc<[u32]>,
    /// For each token, how long its row is.
    row_lengths: Option<Arc<[u32]>>,
    /// What layers on another device turn by, made by the first of them.
    tables: Arc<Mutex<Vec<Tables>>>,
}

/// The cosines and sines of a pass's tokens under one rotation, (T, 1, pairs) each.
#[derive(Debug)]
struct Tables {
    angles: Arc<Angles>,
    cosines: Tensor,
    sines: Tensor,
}

impl Positions {
    /// For rotations that do not look at the length of a row.
    pub fn new(at: Arc<[u32]>) -> Self {
        Self {
            at,
            row_lengths: None,
            tables: Arc::default(),
        }
    }

    /// With the length of each token's row, as long as `at`.
    pub fn with_row_lengths(at: Arc<[u32]>, row_lengths: Arc<[u32]>) -> Self {
        Self {
            at,
            row_lengths: Some(row_lengths),
            tables: Arc::default(),
        }
    }

    fn tables(&self, rotate: &Rotate, device: &Device) -> Result<(Tensor, Tensor)> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.iter().find(|known| {
            Arc::ptr_eq(&known.angles, &rotate.angles) && known.cosines.device().same_device(device)
        });
        if let Some(known) = known {
            return Ok((known.cosines.clone(), known.sines.clone()));
        }
        let pairs = rotate.angles.pairs;
        let table = |values: &[f32]| {
            let of_row = |row: &u32| &values[*row as usize * pairs..(*row as usize + 1) * pairs];
            let rows: Vec<f32> = rotate.rows.iter().flat_map(of_row).copied().collect();
            Tensor::from_vec(rows, (rotate.rows.len(), 1, pairs), device)
        };
        let made = Tables {
            cosines: table(&rotate.angles.cosines)?,
            sines: table(&rotate.angles.sines)?,
            angles: Arc::clone(&rotate.angles),
        };
        let answer = (made.cosines.clone(), made.sines.clone());
        tables.push(made);
        Ok(answer)
    }
}

impl From<Arc<[u32]>> for Positions {
    fn from(at: Arc<[u32]>) -> Self {
        Self::new(at)
    }
}

/// The rotation of one model; its table grows with the longest position asked for.
#[derive(Debug)]
pub struct Rope {
    rotation: Rotation,
    angles: RwLock<Arc<Angles>>,
}

impl Rope {
    pub fn new(rotation: Rotation) -> Self {
        Self {
            angles: RwLock::new(Arc::new(Angles::new(&rotation, 64))),
            rotation,
        }
    }

    /// The row length above which this rotation is another one.
    pub fn long_after(&self) -> Option<usize> {
        self.rotation.long.as_ref().map(|(length, _)| *length)
    }

    fn angles(&self, positions: usize) -> Arc<Angles> {
        let known = Arc::clone(&self.angles.read().unwrap_or_else(PoisonError::into_inner));
        if known.positions() >= positions {
            return known;
        }
        let grown = Angles::new(&self.rotation, positions.next_power_of_two());
        let grown = Arc::new(grown);
        *self.angles.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&grown);
        grown
    }

    /// Rotates each head of each token by the token's position.
    ///
    /// # Shapes
    /// - `x`: (T, H * E), `positions`: T of them; returns (T, H * E)
    pub fn apply(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        let x = x.contiguous()?;
        let rotate = self.rotate(&x, positions)?;
        if super::fused(&x) {
            return x.apply_op1(rotate);
        }
        let (cosines, sines) = positions.tables(&rotate, x.device())?;
        let out = rotate.turned(&x.detach(), &cosines, &sines)?;
        // A rotation's transpose is its inverse.
        of_one(&x, out, move |upstream| {
            let input = rotate.turned(upstream, &cosines, &sines.neg()?)?;
            Ok([Some(input)])
        })
    }

    fn rotate(&self, x: &Tensor, positions: &Positions) -> Result<Rotate> {
        let (tokens, width) = x.dims2()?;
        let head_dim = self.rotation.head_dim;
        if tokens != positions.at.len() || !width.is_multiple_of(head_dim) {
            bail!(
                "cannot rotate ({tokens}, {width}) by {} positions in heads of {head_dim}",
                positions.at.len(),
            );
        }
        let longest = positions.at.iter().max().map_or(0, |p| *p as usize);
        let angles = self.angles(longest + 1);
        let rows = match (self.long_after(), &positions.row_lengths) {
            (None, _) => Arc::clone(&positions.at),
            (Some(limit), Some(lengths)) if lengths.len() == tokens => {
                let long = angles.positions() as u32;
                let rows = positions.at.iter().zip(lengths.iter());
                rows.map(|(at, length)| at + if *length as usize > limit { long } else { 0 })
                    .collect()
            }
            (Some(_), _) => bail!("this rotation asks for the length of each token's row"),
        };
        Ok(Rotate {
            angles,
            rows,
            head_dim,
            interleaved: self.rotation.interleaved,
        })
    }

    #[cfg(test)]
    pub(super) fn reference(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        let rotate = self.rotate(x, positions)?;
        let (cosines, sines) = positions.tables(&rotate, x.device())?;
        rotate.turned(x, &cosines, &sines)
    }
}

struct Rotate {
    angles: Arc<Angles>,
    /// The row of the table that each token takes.
    rows: Arc<[u32]>,
    head_dim: usize,
    interleaved: bool,
}

impl Rotate {
    /// Rotates in candle's operations.
    ///
    /// # Shapes
    /// - `x`: (T, H * E), `cosines` and `sines`: (T, 1, pairs); returns (T, H * E)
    fn turned(&self, x: &Tensor, cosines: &Tensor, sines: &Tensor) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let (half, head_dim) = (self.angles.pairs, self.head_dim);
        let heads = x.reshape((tokens, width / head_dim, head_dim))?; // (T, H * E) → (T, H, E)
        let (first, second) = if self.interleaved {
            let pairs = heads.narrow(2, 0, 2 * half)?;
            let pairs = pairs.reshape((tokens, width / head_dim, half, 2))?;
            let of_pair = |i| pairs.narrow(3, i, 1)?.squeeze(3);
            (of_pair(0)?, of_pair(1)?)
        } else {
            (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?)
        };
        let turned_first = (first.broadcast_mul(cosines)? - second.broadcast_mul(sines)?)?;
        let turned_second = (second.broadcast_mul(cosines)? + first.broadcast_mul(sines)?)?;
        let turned = if self.interleaved {
            Tensor::stack(&[turned_first, turned_second], 3)?.flatten_from(2)?
        } else {
            Tensor::cat(&[turned_first, turned_second], 2)?
        };
        let rest = head_dim - 2 * half;
        let whole = match rest {
            0 => turned,
            _ => Tensor::cat(&[turned, heads.narrow(2, 2 * half, rest)?], 2)?,
        };
        whole.reshape((tokens, width))
    }

    /// `direction` is 1 forward and -1 for the gradient: a rotation's transpose is its inverse.
    fn run(&self, x: &[f32], direction: f32) -> Vec<f32> {
        let half = self.angles.pairs;
        let width = x.len() / self.rows.len().max(1);
        let task = rows_per_task(width);
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(task * width)
            .zip(x.par_chunks(task * width))
            .zip(self.rows.par_chunks(task))
            .for_each(|((out, x), rows)| {
                vectorised(|| {
                    for ((out, x), row) in out
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .zip(rows)
                    {
                        let at = *row as usize * half;
                        let cosines = &self.angles.cosines[at..at + half];
                        let sines = &self.angles.sines[at..at + half];
                        for (out, x) in out
                            .chunks_exact_mut(self.head_dim)
                            .zip(x.chunks_exact(self.head_dim))
                        {
                            let (out, out_rest) = out.split_at_mut(2 * half);
                            let (x, rest) = x.split_at(2 * half);
                            out_rest.copy_from_slice(rest);
                            if self.interleaved {
                                turn_neighbours(out, x, cosines, sines, direction);
                            } else {
                                turn_halves(out, x, cosines, sines, direction);
                            }
                        }
                    }
                });
            });
        out
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn turn_halves(out: &mut [f32], x: &[f32], cosines: &[f32], sines: &[f32], direction: f32) {
    let half = cosines.len();
    let (out_first, out_second) = out.split_at_mut(half);
    let (first, second) = x.split_at(half);
    for i in 0..half {
        let sine = sines[i] * direction;
        out_first[i] = first[i] * cosines[i] - second[i] * sine;
        out_second[i] = second[i] * cosines[i] + first[i] * sine;
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn turn_neighbours(out: &mut [f32], x: &[f32], cosines: &[f32], sines: &[f32], direction: f32) {
    for (i, (out, x)) in out.chunks_exact_mut(2).zip(x.chunks_exact(2)).enumerate() {
        let sine = sines[i] * direction;
        out[0] = x[0] * cosines[i] - x[1] * sine;
        out[1] = x[1] * cosines[i] + x[0] * sine;
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(output(
            self.run(elements(x, layout)?, 1.0),
            layout.shape().clone(),
        ))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let upstream = upstream.contiguous()?;
        gradient(self.run(&elements_of(&upstream)?, -1.0), x)
    }
}
