//! The composed loss a chunk of rows at a time: the gradients of each chunk are made while its
//! logits are at hand, so that the table of rows × vocabulary never exists.

use candle_core::{DType, Result, Tensor, Var};

use super::composed::distillation;
use super::row::Prepared;
use super::{Distillation, OutputHead, WholeTeacher};
use crate::ops::composed::of_two;
use crate::ops::frozen::WeightRef;

/// Logits held at a time; the operations on them hold a handful of tables of that size.
const CHUNK_ELEMENTS: usize = 1 << 26;

/// A loss over rows that are taken a chunk at a time.
pub(super) struct Chunked<'a> {
    pub(super) head: OutputHead<'a>,
    pub(super) rows: &'a [Prepared],
    pub(super) teacher: Option<WholeTeacher<'a>>,
    pub(super) settings: &'a Distillation,
    pub(super) weight: f64,
}

/// The gradients of the loss by its two tensors.
#[derive(Default)]
struct Gradients {
    hidden: Vec<Tensor>,
    head: Option<Tensor>,
}

impl Chunked<'_> {
    /// # Shapes
    /// - `hidden`: (N, D) for N rows; returns a scalar
    pub(super) fn loss(&self, hidden: &Tensor) -> Result<Tensor> {
        let taught = self.teacher.map(|teacher| teacher.head.vocabulary());
        let wide = self
            .head
            .vocabulary()?
            .max(taught.transpose()?.unwrap_or(0));
        self.loss_by(hidden, (CHUNK_ELEMENTS / wide.max(1)).max(1))
    }

    /// The loss, `chunk` rows at a time.
    pub(super) fn loss_by(&self, hidden: &Tensor, chunk: usize) -> Result<Tensor> {
        let trained = match self.head.weight {
            WeightRef::Trained(head) if head.track_op() => Some(head),
            _ => None,
        };
        // A variable of its own over the same memory: what is recorded here ends at it.
        let own = trained.map(|head| Var::from_tensor(&head.detach()));
        let own = own.transpose()?;
        let head = match &own {
            Some(own) => OutputHead {
                weight: WeightRef::Trained(own.as_tensor()),
                ..self.head
            },
            None => self.head,
        };
        let mut total = Tensor::zeros((), DType::F32, hidden.device())?;
        let mut made = Gradients::default();
        for start in (0..self.rows.len()).step_by(chunk) {
            let count = chunk.min(self.rows.len() - start);
            let part = hidden.detach().narrow(0, start, count)?.contiguous()?;
            let recorded = hidden.track_op() || own.is_some();
            if !recorded {
                total = (total + self.part(&part, head, start)?)?;
                continue;
            }
            let part = Var::from_tensor(&part)?;
            let loss = self.part(part.as_tensor(), head, start)?;
            let mut gradients = loss.backward()?;
            total = (total + loss.detach())?;
            made.hidden.extend(gradients.remove(part.as_tensor()));
            let more = own.as_ref().and_then(|own| gradients.remove(own));
            made.head = match (made.head.take(), more) {
                (Some(sum), Some(more)) => Some((sum + more)?),
                (sum, more) => sum.or(more),
            };
        }
        let of_hidden = if hidden.track_op() && !made.hidden.is_empty() {
            Some(Tensor::cat(&made.hidden, 0)?)
        } else {
            None
        };
        // Where the head is frozen the hidden states stand in its place, without a gradient there.
        let second = trained.unwrap_or(hidden);
        of_two([hidden, second], total, move |upstream| {
            let scaled = |gradient: &Option<Tensor>| match gradient {
                Some(gradient) => gradient.broadcast_mul(upstream).map(Some),
                None => Ok(None),
            };
            Ok([scaled(&of_hidden)?, scaled(&made.head)?])
        })
    }

    /// The loss of the rows from `start` on.
    fn part(&self, hidden: &Tensor, head: OutputHead<'_>, start: usize) -> Result<Tensor> {
        let count = hidden.dim(0)?;
        let rows = &self.rows[start..start + count];
        let taught = self.teacher.map(|of| of.hidden.narrow(0, start, count));
        let taught = taught.transpose()?;
        let teacher = self
            .teacher
            .zip(taught.as_ref())
            .map(|(of, hidden)| WholeTeacher {
                hidden,
                head: of.head,
            });
        distillation(hidden, head, rows, teacher, self.settings, self.weight)
    }
}
