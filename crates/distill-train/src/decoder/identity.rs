//! What decides what a decoder's training does, as one hash.

use distill_student::lora::LoraAdapter;
use sha2::{Digest, Sha256};

use super::{TrainError, TrainExample, TrainRequest};
use crate::training::checkpoint::{add_tensors, begin_run_hash, hexadecimal};

pub(super) fn run_hash(request: &TrainRequest<'_>, base: &str) -> Result<String, TrainError> {
    let mut hash = begin_run_hash(base, request.settings);
    // What training goes on from.
    let initial = request.initial.into_iter();
    add_tensors(&mut hash, initial.flat_map(LoraAdapter::tensors))?;
    for rows in [request.train, request.validation] {
        hash.update((rows.len() as u64).to_le_bytes());
        for row in rows {
            add_row(&mut hash, row);
        }
    }
    Ok(hexadecimal(hash))
}

fn add_row(hash: &mut Sha256, row: &TrainExample) {
    hash.update((row.tokens.len() as u64).to_le_bytes());
    hash.update((row.loss_from as u64).to_le_bytes());
    hash.update(row.weight.to_le_bytes());
    let bytes: Vec<u8> = row.tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    hash.update(&bytes);
    for at in row.teacher.iter().flat_map(|targets| targets.iter()) {
        hash.update((at.tokens.len() as u64).to_le_bytes());
        for (token, value) in at.tokens.iter().zip(&at.log_probabilities) {
            hash.update(token.to_le_bytes());
            hash.update(value.to_le_bytes());
        }
    }
}
