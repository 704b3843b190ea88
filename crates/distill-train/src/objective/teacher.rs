//! A teacher at hand: a decoder that is never trained.

use std::sync::Arc;

use distill_student::decoder::{Decoder, DecoderPlan};
use distill_student::device::DeviceChoice;
use distill_student::lora::LoraAdapter;
use distill_student::ops::top_tokens;
use distill_student::weights::DecoderWeights;
use sha2::{Digest, Sha256};

use super::{Places, TrainExample};
use crate::decoder::TrainError;
use crate::training::batches::in_order;

/// A frozen decoder whose probabilities a student learns. Clones share its weights.
#[derive(Debug, Clone)]
pub struct Teacher {
    decoder: Decoder,
    identity: String,
}

/// The same weights, whatever memory they lie in.
impl PartialEq for Teacher {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Teacher {
    /// Builds a teacher of weights, with an adapter where it has one.
    ///
    /// # Errors
    /// What building a decoder refuses.
    pub fn new(
        weights: &DecoderWeights,
        adapter: Option<&LoraAdapter>,
    ) -> Result<Self, TrainError> {
        Self::on(weights, adapter, DeviceChoice::Cpu)
    }

    /// As [`Self::new`], running on a device: that of the student, where it is asked along the
    /// student's own answers.
    ///
    /// # Errors
    /// As [`Self::new`]; a device that does not open.
    pub fn on(
        weights: &DecoderWeights,
        adapter: Option<&LoraAdapter>,
        device: DeviceChoice,
    ) -> Result<Self, TrainError> {
        let device = device.open()?;
        let plan = DecoderPlan {
            adapter,
            device: Some(&device),
            ..DecoderPlan::default()
        };
        let mut hash = Sha256::new();
        hash.update(weights.sha256()?);
        if let Some(adapter) = adapter {
            hash.update(adapter.to_safetensors()?);
        }
        Ok(Self {
            decoder: Decoder::with_plan(weights, plan)?,
            identity: format!("{:x}", hash.finalize()),
        })
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// A hash of its weights.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn bits(&self) -> Vec<u64> {
        let (chunks, _) = self.identity.as_bytes().as_chunks();
        chunks.iter().map(|b| u64::from_le_bytes(*b)).collect()
    }
}

/// How a teacher's top tokens are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopTokenSettings {
    /// Tokens of each place.
    pub count: usize,
    pub temperature: f64,
    /// Tokens that teacher and student have in common: the ids below it.
    pub shared_vocabulary: usize,
    /// Tokens run through the teacher at a time.
    pub batch_tokens: usize,
}

/// The rows, each with what the teacher holds likely at its targets: once, before training,
/// `count` numbers and tokens for each target.
///
/// # Errors
/// A row that the teacher cannot take; `cancelled` answering yes, asked between batches.
pub fn with_top_tokens(
    rows: &[TrainExample],
    teacher: &Teacher,
    settings: &TopTokenSettings,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<TrainExample>, TrainError> {
    let mut taught = Vec::with_capacity(rows.len());
    for batch in in_order(rows, |row| row.tokens.len(), settings.batch_tokens) {
        if cancelled() {
            return Err(TrainError::Cancelled { step: 0 });
        }
        let places = Places::new(&batch);
        let hidden = places.hidden(&teacher.decoder)?;
        let mut tops = top_tokens(
            &hidden,
            teacher.decoder.loss_head(),
            settings.count,
            settings.temperature,
            settings.shared_vocabulary,
        )?
        .into_iter();
        for row in batch {
            let own: Vec<_> = tops.by_ref().take(row.targets()).collect();
            let mut row = row.clone();
            row.teacher = Some(Arc::from(own));
            taught.push(row);
        }
    }
    Ok(taught)
}
