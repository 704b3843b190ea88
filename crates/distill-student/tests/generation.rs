//! The engine on a model of every family: rows that run together answer as they do alone, and
//! continuations score over a trie as they do one by one.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use distill_student::decoder::{Decoder, DecoderPlan};
use distill_student::generate::{
    Draws, GenerateSettings, LabelTrie, Sampling, generate, score_continuations, score_labels,
};
use distill_student::ops::Storage;
use distill_student::weights::DecoderWeights;

/// The tiny models of `scripts/fixtures/decoders.py`.
fn families() -> Vec<(PathBuf, Decoder)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoders");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 9);
    folders
        .into_iter()
        .map(|folder| {
            let weights = DecoderWeights::from_dir(&folder).unwrap();
            let plan = DecoderPlan {
                storage: Some(Storage::F32),
                ..DecoderPlan::default()
            };
            let decoder = Decoder::with_plan(&weights, plan).unwrap();
            (folder, decoder)
        })
        .collect()
}

/// Eight rows, of one token to some thirty: some longer than the windows of the models that have
/// one.
fn ragged(decoder: &Decoder) -> Vec<Vec<u32>> {
    let vocabulary = decoder.config().vocab_size as u32;
    (0..8_u32)
        .map(|row| {
            let length = 1 + row * 13 % 34;
            (0..length)
                .map(|i| (row * 31 + i * 7 + i * i) % vocabulary)
                .collect()
        })
        .collect()
}

fn settings(sampling: Sampling, max_rows: usize) -> GenerateSettings {
    GenerateSettings {
        max_new_tokens: 20,
        max_rows,
        sampling,
        ..GenerateSettings::default()
    }
}

#[test]
fn eight_ragged_rows_answer_as_each_does_alone() {
    let drawn = Sampling::Sampled(Draws {
        temperature: 0.8,
        top_p: 0.9,
        top_k: Some(30),
        seed: 3,
    });
    for (folder, decoder) in families() {
        let prompts = ragged(&decoder);
        for sampling in [Sampling::Greedy, drawn] {
            let together = generate(&decoder, &prompts, &settings(sampling, 8)).unwrap();
            for (prompt, expected) in prompts.iter().zip(&together) {
                let alone = std::slice::from_ref(prompt);
                let alone = &generate(&decoder, alone, &settings(sampling, 1)).unwrap()[0];
                assert_eq!(alone.tokens, expected.tokens, "{folder:?}, {prompt:?}");
                assert_eq!(alone.tokens.len(), 20);
            }
        }
    }
}

#[test]
fn prompts_with_a_common_beginning_answer_as_without() {
    for (folder, decoder) in families() {
        let prompts: Vec<Vec<u32>> = ragged(&decoder)
            .into_iter()
            .map(|prompt| (0..25).map(|i| i * 3 % 29).chain(prompt).collect())
            .collect();
        let greedy = settings(Sampling::Greedy, 8);
        let together = generate(&decoder, &prompts, &greedy).unwrap();
        for (prompt, expected) in prompts.iter().zip(&together) {
            let alone = generate(&decoder, std::slice::from_ref(prompt), &greedy).unwrap();
            assert_eq!(alone[0].tokens, expected.tokens, "{folder:?}");
        }
        let copies = vec![prompts[3].clone(); 3];
        for copy in generate(&decoder, &copies, &greedy).unwrap() {
            assert_eq!(copy.tokens, together[3].tokens, "{folder:?}");
        }
    }
}

#[test]
fn a_trie_scores_labels_as_they_score_one_by_one() {
    let labels: [&[u32]; 6] = [
        &[5, 6, 7, 3],
        &[5, 6, 8, 3],
        &[5, 6, 8, 9, 10, 3],
        &[11, 3],
        &[5, 6, 8, 3],
        &[12],
    ];
    for (folder, decoder) in families() {
        let prompts = ragged(&decoder);
        let together = score_labels(&decoder, &prompts, &LabelTrie::new(labels)).unwrap();
        for (prompt, scores) in prompts.iter().zip(&together) {
            for (label, score) in labels.iter().zip(scores) {
                let alone = score_continuations(&decoder, prompt, &[label.to_vec()]).unwrap();
                let alone: f64 = alone[0].iter().map(|score| f64::from(*score)).sum();
                assert!((score - alone).abs() < 1e-4, "{folder:?}: {score}, {alone}");
            }
        }
    }
}
