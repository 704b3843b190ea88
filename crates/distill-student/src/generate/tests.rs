//! Cached, batched and shared runs against the plain forward pass.

use super::*;
use crate::decoder::tests::tiny;
use crate::decoder::{DecoderConfig, PackedTokens};
use crate::ops::{best_of_row, log_probability_of};
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
        ..GenerateSettings::default()
    };
    check(&prompts(), &settings);
}

#[test]
fn answers_and_scores_have_the_same_bits_on_any_number_of_threads() {
    let decoder = decoder();
    // A long row, whose attention is shared out by heads, among short ones.
    let mut rows = prompts();
    rows.push((0..100).map(|i| i * 7 % 50).collect());
    let settings = GenerateSettings {
        max_new_tokens: 10,
        sampling: Sampling::Sampled(Draws {
            top_p: 0.9,
            ..Draws::default()
        }),
        ..GenerateSettings::default()
    };
    let labels: [&[u32]; 4] = [&[1, 2, 3], &[1, 2, 4, 5], &[1, 9], &[6]];
    let labels = LabelTrie::new(labels);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let answers = generate(&decoder, &rows, &settings).unwrap();
            (answers, score_labels(&decoder, &rows, &labels).unwrap())
        })
    };
    let alone = run(1);
    assert!(alone.0.iter().any(|answer| answer.tokens.len() == 10));
    for threads in [2, 3, 5] {
        assert_eq!(run(threads), alone, "{threads} threads");
    }
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
    assert_eq!(common_prefix(&prompts).len(), 30);
    let settings = GenerateSettings {
        max_new_tokens: 5,
        max_rows: 3,
        ..GenerateSettings::default()
    };
    check(&prompts, &settings);
    let same = vec![prompts[4].clone(); 3];
    assert_eq!(common_prefix(&same).len(), prompts[4].len() - 1);
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
        ..LoraConfig::default()
    };
    let adapter = LoraAdapter::init(weights.config(), lora.clone(), 1).unwrap();
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

fn drawn(seed: u64, max_rows: usize) -> GenerateSettings {
    GenerateSettings {
        max_new_tokens: 10,
        stop_tokens: vec![3],
        max_rows,
        sampling: Sampling::Sampled(Draws {
            temperature: 1.5,
            top_p: 0.95,
            top_k: Some(20),
            seed,
        }),
    }
}

#[test]
fn a_drawn_answer_depends_on_its_prompt_and_seed_alone() {
    let decoder = decoder();
    let mut prompts = prompts();
    let together = generate(&decoder, &prompts, &drawn(5, 4)).unwrap();
    for (prompt, expected) in prompts.iter().zip(&together) {
        let alone = generate(&decoder, std::slice::from_ref(prompt), &drawn(5, 1)).unwrap();
        assert_eq!(alone[0].tokens, expected.tokens);
        assert_eq!(alone[0].finish, expected.finish);
    }
    prompts.reverse();
    let mut reversed = generate(&decoder, &prompts, &drawn(5, 9)).unwrap();
    reversed.reverse();
    let tokens = |answers: &[Generation]| -> Vec<Vec<u32>> {
        answers.iter().map(|answer| answer.tokens.clone()).collect()
    };
    assert_eq!(tokens(&reversed), tokens(&together));
    let other = generate(&decoder, &prompts, &drawn(6, 9)).unwrap();
    assert_ne!(tokens(&other), tokens(&reversed));
}

#[test]
fn copies_of_a_prompt_draw_different_answers_and_run_it_once() {
    let decoder = decoder();
    let long: Vec<u32> = (0..30).map(|i| i * 7 % 50).collect();
    let other = vec![9, 8, 7];
    let prompts = vec![long.clone(), other.clone(), long.clone(), long.clone()];
    let answers = generate(&decoder, &prompts, &drawn(1, 2)).unwrap();
    assert_ne!(answers[0].tokens, answers[2].tokens);
    assert_ne!(answers[2].tokens, answers[3].tokens);
    // The copies sit on a cache of their own, the first of them as if it were alone.
    let alone = generate(&decoder, &[long], &drawn(1, 1)).unwrap();
    assert_eq!(alone[0].tokens, answers[0].tokens);
    let beginnings = Beginnings::new(&decoder, &prompts).unwrap();
    assert_eq!(beginnings.shared.length(), 0);
    assert_eq!(beginnings.copies[prompts[0].as_slice()].given, 3);
}

#[test]
fn a_drawn_token_has_the_log_probability_of_the_model_itself() {
    let decoder = decoder();
    let prompt = vec![4, 5, 6];
    let settings = GenerateSettings {
        stop_tokens: Vec::new(),
        ..drawn(2, 1)
    };
    let answer = &generate(&decoder, std::slice::from_ref(&prompt), &settings).unwrap()[0];
    let scores =
        score_continuations(&decoder, &prompt, std::slice::from_ref(&answer.tokens)).unwrap();
    for (got, expected) in answer.log_probabilities.iter().zip(&scores[0]) {
        assert!((got - expected).abs() < 1e-4, "{got} instead of {expected}");
    }
    let greedy = generate(&decoder, &[prompt], &GenerateSettings::default()).unwrap();
    assert_ne!(greedy[0].tokens[..10], answer.tokens[..]);
}

#[test]
fn labels_are_scored_after_every_prompt_and_common_beginnings_run_once() {
    let decoder = decoder();
    let labels: [&[u32]; 7] = [
        &[5, 6, 7, 3],
        &[5, 6, 8, 3],
        &[5, 6, 8, 9, 10, 3],
        &[11, 3],
        &[],
        &[5, 6, 8, 3],
        &[12],
    ];
    let trie = LabelTrie::new(labels);
    assert_eq!(trie.len(), 7);
    // 5 6, then 7, then 8, then 9 10, then 11: what others follow.
    assert_eq!(trie.run_tokens(), 7);
    let mut prompts = prompts();
    prompts.push((0..60).map(|i| i % 50).collect());
    for shared in [0, 20] {
        let prompts: Vec<Vec<u32>> = prompts
            .iter()
            .map(|prompt| (0..shared).chain(prompt.iter().copied()).collect())
            .collect();
        let scores = score_labels(&decoder, &prompts, &trie).unwrap();
        for (prompt, scores) in prompts.iter().zip(&scores) {
            for (label, score) in labels.iter().zip(scores) {
                let row = [prompt.as_slice(), label].concat();
                let logits = decoder
                    .logits(&PackedTokens::new([row.as_slice()]))
                    .unwrap();
                let exact: f64 = label
                    .iter()
                    .enumerate()
                    .map(|(i, token)| {
                        let at = logits.get(prompt.len() + i - 1).unwrap();
                        f64::from(log_probability_of(&at.to_vec1::<f32>().unwrap(), *token))
                    })
                    .sum();
                assert!((score - exact).abs() < 1e-3, "{score} instead of {exact}");
            }
        }
    }
}

#[test]
fn labels_that_the_model_cannot_take_are_refused() {
    let decoder = decoder();
    let limit = decoder.config().max_position_embeddings;
    let score = |prompt: usize, label: &[u32]| {
        let prompts = [vec![1; prompt]];
        score_labels(&decoder, &prompts, &LabelTrie::new([label])).map(|_| ())
    };
    assert!(score(limit - 2, &[1, 2]).is_ok());
    let error = score(limit - 1, &[1, 2]).unwrap_err().to_string();
    assert!(error.contains("129 tokens"), "{error}");
    assert!(
        score(3, &[50])
            .unwrap_err()
            .to_string()
            .contains("token 50")
    );
    assert!(score(0, &[5]).is_err());
    let none = score_labels(&decoder, &[vec![1]], &LabelTrie::new([])).unwrap();
    assert_eq!(none, [Vec::<f64>::new()]);
}

#[test]
fn a_windowed_layer_keeps_its_window() {
    let config = include_str!("../../tests/fixtures/decoders/mistral/config.json");
    let config = DecoderConfig::from_json(config).unwrap();
    let weights = DecoderWeights::random(config, 3).unwrap();
    let decoder = Decoder::new(&weights).unwrap();
    let bytes = |tokens: u32| {
        let row: Vec<u32> = (0..tokens).map(|i| i % 50).collect();
        let cache = prefill(&decoder, &row, &[], row.len()).unwrap();
        assert_eq!(cache.length(), row.len());
        cache.bytes()
    };
    assert_eq!(bytes(90), bytes(60));
    // Token by token it keeps no more than the window and what is dropped together.
    let mut cache = RowCache::new(&decoder);
    for token in 0..90 {
        let branch = Branch {
            tokens: vec![token % 50],
            before: Vec::new(),
            parents: Vec::new(),
            cache: &mut cache,
            row_length: 0,
        };
        run(&decoder, vec![branch]).unwrap();
        assert!(cache.bytes() <= bytes(13), "{token}: {}", cache.bytes());
    }
}

#[test]
fn a_logit_that_is_not_finite_is_an_error_that_names_the_row() {
    let weights = DecoderWeights::random(tiny("qwen3", false), 11).unwrap();
    let mut tensors = weights.tensors().clone();
    let name = "model.embed_tokens.weight";
    let mut rows: Vec<Vec<f32>> = tensors[name].to_vec2().unwrap();
    rows[7][0] = f32::NAN;
    let device = candle_core::Device::Cpu;
    let rows = candle_core::Tensor::new(rows, &device).unwrap();
    tensors.insert(name.to_owned(), rows);
    let weights = DecoderWeights::from_tensors(weights.config().clone(), tensors).unwrap();
    let decoder = Decoder::new(&weights).unwrap();
    let prompts = [vec![1, 2, 3], vec![4, 7, 5, 6]];
    let message = |error: DecoderError| error.to_string();
    let place = "not finite after 4 tokens of row 1";
    for sampling in [Sampling::Greedy, Sampling::Sampled(Draws::default())] {
        let settings = GenerateSettings {
            sampling,
            ..GenerateSettings::default()
        };
        let error = message(generate(&decoder, &prompts, &settings).unwrap_err());
        assert!(error.contains(place), "{error}");
    }
    let labels = LabelTrie::new([[1u32, 2].as_slice(), &[1, 3], &[9]]);
    let error = message(score_labels(&decoder, &prompts, &labels).unwrap_err());
    assert!(error.contains(place), "{error}");
    // Within a continuation.
    let labels = LabelTrie::new([[7u32, 3].as_slice()]);
    let error = message(score_labels(&decoder, &prompts[..1], &labels).unwrap_err());
    assert!(
        error.contains("not finite after 4 tokens of row 0"),
        "{error}"
    );
}
