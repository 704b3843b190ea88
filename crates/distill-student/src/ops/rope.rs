//! Rotary position embedding, halves rotated against each other, on token-major rows.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::rows::{rows_per_task, vectorised};
use super::storage::{elements, elements_of, gradient, output};

/// Cosines and sines of every position up to some length, (positions, E / 2).
#[derive(Debug)]
struct Angles {
    positions: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Angles {
    fn new(theta: f64, head_dim: usize, positions: usize) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half)
            .map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64))
            .collect();
        let angles = (0..positions)
            .flat_map(|p| frequencies.iter().map(move |f| p as f64 * f))
            .collect::<Vec<_>>();
        Self {
            positions,
            cosines: angles.iter().map(|a| a.cos() as f32).collect(),
            sines: angles.iter().map(|a| a.sin() as f32).collect(),
        }
    }
}

/// The rotation of one model; its table grows with the longest position asked for.
#[derive(Debug)]
pub struct Rope {
    theta: f64,
    head_dim: usize,
    angles: RwLock<Arc<Angles>>,
}

impl Rope {
    pub fn new(theta: f64, head_dim: usize) -> Self {
        Self {
            theta,
            head_dim,
            angles: RwLock::new(Arc::new(Angles::new(theta, head_dim, 64))),
        }
    }

    fn angles(&self, positions: usize) -> Arc<Angles> {
        let known = Arc::clone(&self.angles.read().unwrap_or_else(PoisonError::into_inner));
        if known.positions >= positions {
            return known;
        }
        let grown = Arc::new(Angles::new(
            self.theta,
            self.head_dim,
            positions.next_power_of_two(),
        ));
        *self.angles.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&grown);
        grown
    }

    /// Rotates each head of each token by the token's position.
    ///
    /// # Shapes
    /// - `x`: (T, H * E), `positions`: T of them; returns (T, H * E)
    pub fn apply(&self, x: &Tensor, positions: &Arc<[u32]>) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        if tokens != positions.len() || !width.is_multiple_of(self.head_dim) {
            bail!(
                "cannot rotate ({tokens}, {width}) by {} positions in heads of {}",
                positions.len(),
                self.head_dim
            );
        }
        let longest = positions.iter().max().map_or(0, |p| *p as usize);
        let angles = self.angles(longest + 1);
        let x = x.contiguous()?;
        if x.device().is_cpu() {
            return x.apply_op1(Rotate {
                angles,
                positions: Arc::clone(positions),
                head_dim: self.head_dim,
            });
        }
        self.composed(&x, positions, &angles)
    }

    /// The same in plain differentiable operations.
    fn composed(&self, x: &Tensor, positions: &[u32], angles: &Angles) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        let (half, device) = (self.head_dim / 2, x.device());
        let table = |values: &[f32]| {
            let rows: Vec<f32> = positions
                .iter()
                .flat_map(|p| &values[*p as usize * half..(*p as usize + 1) * half])
                .copied()
                .collect();
            Tensor::from_vec(rows, (tokens, 1, half), device)
        };
        let (cosines, sines) = (table(&angles.cosines)?, table(&angles.sines)?);
        let heads = x.reshape((tokens, width / self.head_dim, self.head_dim))?; // (T, H * E) → (T, H, E)
        let (first, second) = (heads.narrow(2, 0, half)?, heads.narrow(2, half, half)?);
        let turned_first = (first.broadcast_mul(&cosines)? - second.broadcast_mul(&sines)?)?;
        let turned_second = (second.broadcast_mul(&cosines)? + first.broadcast_mul(&sines)?)?;
        Tensor::cat(&[turned_first, turned_second], 2)?.reshape((tokens, width))
    }

    #[cfg(test)]
    pub(super) fn reference(&self, x: &Tensor, positions: &Arc<[u32]>) -> Result<Tensor> {
        self.composed(x, positions, &self.angles(1024))
    }
}

struct Rotate {
    angles: Arc<Angles>,
    positions: Arc<[u32]>,
    head_dim: usize,
}

impl Rotate {
    /// `direction` is 1 forward and -1 for the gradient: a rotation's transpose is its inverse.
    fn rotate(&self, x: &[f32], direction: f32) -> Vec<f32> {
        let half = self.head_dim / 2;
        let width = x.len() / self.positions.len().max(1);
        let rows = rows_per_task(width);
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(rows * width)
            .zip(x.par_chunks(rows * width))
            .zip(self.positions.par_chunks(rows))
            .for_each(|((out, x), positions)| {
                vectorised(|| {
                    for ((out, x), position) in out
                        .chunks_exact_mut(width)
                        .zip(x.chunks_exact(width))
                        .zip(positions)
                    {
                        let at = *position as usize * half;
                        let cosines = &self.angles.cosines[at..at + half];
                        let sines = &self.angles.sines[at..at + half];
                        for (out, x) in out
                            .chunks_exact_mut(self.head_dim)
                            .zip(x.chunks_exact(self.head_dim))
                        {
                            let (out_first, out_second) = out.split_at_mut(half);
                            let (first, second) = x.split_at(half);
                            for i in 0..half {
                                let sine = sines[i] * direction;
                                out_first[i] = first[i] * cosines[i] - second[i] * sine;
                                out_second[i] = second[i] * cosines[i] + first[i] * sine;
                            }
                        }
                    }
                });
            });
        out
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(output(
            self.rotate(elements(x, layout)?, 1.0),
            layout.shape().clone(),
        ))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let upstream = upstream.contiguous()?;
        gradient(self.rotate(&elements_of(&upstream)?, -1.0), x)
    }
}
