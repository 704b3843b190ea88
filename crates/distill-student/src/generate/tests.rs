//! Cached, batched and shared runs against the plain forward pass.

use super::*;
use crate::decoder::PackedTokens;
use crate::decoder::tests::tiny;
use crate::weights::DecoderWeights;

fn decoder() -> Decoder {
    Decoder::new(&DecoderWeights::random(tiny("qwen3", true), 11).unwrap()).unwrap()
}

/// Token by token, the whole row run again at each step: no cache, no batch.
fn plain(decoder: &Decoder, prompt: &[u32], settings: &GenerateSettings) -> Generation {
    let mut row = prompt.to_vec();
    let mut answer = Generation::empty();
    while answer.tokens.len() < settings.max_new_tokens {
        let logits = decoder
            .logits(&PackedTokens::new([row.as_slice()]))
            .unwrap();
        let logits: Vec<f32> = logits.get(row.len() - 1).unwrap().to_vec1().unwrap();
        let choice = best_of_row(&logits);
        let token = choice.token;
        answer.log_probabilities.push(choice.log_probability);
        answer.margins.push(choice.margin);
        if settings.stop_tokens.contains(&token) {
            answer.finish = Finish::Stop(token);
            break;
        }
        answer.tokens.push(token);
        row.push(token);
    }
    answer
}

fn assert_same(got: &[Generation], expected: &[Generation]) {
    assert_eq!(got.len(), expected.len());
    for (row, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.tokens, expected.tokens, "row {row}");
        assert_eq!(got.finish, expected.finish, "row {row}");
        let pairs = got
            .log_probabilities
            .iter()
            .zip(&expected.log_probabilities);
        assert_eq!(
            got.log_probabilities.len(),
            expected.log_probabilities.len()
        );
        for (a, b) in pairs.chain(got.margins.iter().zip(&expected.margins)) {
            assert!((a - b).abs() < 1e-4, "row {row}: {a} instead of {b}");
        }
        assert_eq!(got.margins.len(), got.log_probabilities.len());
    }
}

/// Ragged rows: more than decode together, of which some stop early.
fn prompts() -> Vec<Vec<u32>> {
    (0..9u32)
        .map(|i| (0..=i * 5 % 23).map(|j| (i * 17 + j * 3) % 50).collect())
        .collect()
}

fn check(prompts: &[Vec<u32>], settings: &GenerateSettings) -> Vec<Generation> {
    let decoder = decoder();
    let expected: Vec<Generation> = prompts
        .iter()
        .map(|prompt| plain(&decoder, prompt, settings))
        .collect();
    let got = generate(&decoder, prompts, settings).unwrap();
    assert_same(&got, &expected);
    got
}

#[test]
fn batched_and_cached_answers_equal_the_plain_ones() {
    let settings = GenerateSettings {
        max_new_tokens: 12,
        stop_tokens: vec![3, 41],
        max_rows: 4,
    };
    check(&prompts(), &settings);
}

#[test]
fn stop_tokens_end_a_row_and_are_scored_but_not_given() {
    let open = GenerateSettings {
        max_new_tokens: 6,
        ..GenerateSettings::default()
    };
    let third = check(&prompts(), &open)[0].tokens[2];
    let stopped = GenerateSettings {
        stop_tokens: vec![third],
        ..open
    };
    let answers = check(&prompts(), &stopped);
    assert_eq!(answers[0].finish, Finish::Stop(third));
    assert!(!answers[0].tokens.contains(&third));
    assert_eq!(
        answers[0].log_probabilities.len(),
        answers[0].tokens.len() + 1
    );
}

#[test]
fn a_shared_beginning_changes_no_answer() {
    let prompts: Vec<Vec<u32>> = prompts()
        .into_iter()
        .map(|prompt| (0..30).chain(prompt).collect())
        .collect();
    assert_eq!(shared_prefix(&prompts).len(), 30);
    let settings = GenerateSettings {
        max_new_tokens: 5,
        max_rows: 3,
        ..GenerateSettings::default()
    };
    check(&prompts, &settings);
    let same = vec![prompts[4].clone(); 3];
    assert_eq!(shared_prefix(&same).len(), prompts[4].len() - 1);
    check(&same, &settings);
}

#[test]
fn a_row_ends_where_the_model_has_no_more_positions() {
    let decoder = decoder();
    let limit = decoder.config().max_position_embeddings;
    let settings = GenerateSettings {
        max_new_tokens: 100,
        ..GenerateSettings::default()
    };
    let prompt: Vec<u32> = (0..limit as u32 - 3).map(|i| i % 50).collect();
    let answers = generate(&decoder, &[prompt], &settings).unwrap();
    assert_eq!(answers[0].finish, Finish::ContextFull);
    assert_eq!(answers[0].tokens.len(), 4);
}

#[test]
fn nothing_in_gives_nothing_out() {
    let decoder = decoder();
    let settings = GenerateSettings::default();
    assert!(generate(&decoder, &[], &settings).unwrap().is_empty());
    let error = generate(&decoder, &[vec![1], vec![]], &settings).unwrap_err();
    assert_eq!(error.to_string(), "row 1 is empty");
    let none = GenerateSettings {
        max_new_tokens: 0,
        ..settings
    };
    let answers = generate(&decoder, &[vec![1]], &none).unwrap();
    assert_eq!(answers, [Generation::empty()]);
}

#[test]
fn continuations_score_as_the_plain_forward_pass_does() {
    let decoder = decoder();
    for prompt in [vec![7u32], (0..20).collect::<Vec<u32>>()] {
        let continuations = vec![vec![4, 9, 2], vec![], vec![4], vec![30, 31, 32, 33]];
        let scores = score_continuations(&decoder, &prompt, &continuations).unwrap();
        for (continuation, scores) in continuations.iter().zip(&scores) {
            assert_eq!(scores.len(), continuation.len());
            let row = [prompt.as_slice(), continuation].concat();
            let logits = decoder
                .logits(&PackedTokens::new([row.as_slice()]))
                .unwrap();
            for (i, (&token, score)) in continuation.iter().zip(scores).enumerate() {
                let at = logits.get(prompt.len() + i - 1).unwrap();
                let exact = log_probability_of(&at.to_vec1::<f32>().unwrap(), token);
                assert!((score - exact).abs() < 1e-4, "{score} instead of {exact}");
            }
        }
    }
}

#[test]
fn a_merged_adapter_gives_the_answers_of_the_adapter() {
    use crate::lora::{LoraAdapter, LoraConfig};
    let weights = DecoderWeights::random(tiny("llama", true), 11).unwrap();
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
    };
    let adapter = LoraAdapter::init(weights.config(), lora, 1).unwrap();
    let moved = adapter
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor + 0.03).unwrap()))
        .collect();
    let adapter = LoraAdapter::from_tensors(lora, moved).unwrap();
    let answers =
        |decoder: Decoder| generate(&decoder, &prompts(), &GenerateSettings::default()).unwrap();
    let adapted = answers(Decoder::with_adapter(&weights, &adapter).unwrap());
    let merged = answers(Decoder::new(&weights.merge(&adapter).unwrap()).unwrap());
    assert_same(&merged, &adapted);
    let base = answers(Decoder::new(&weights).unwrap());
    assert_ne!(base[3].tokens, adapted[3].tokens);
}
