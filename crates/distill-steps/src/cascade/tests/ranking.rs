//! Which of the confidences that a decoder's token probabilities offer ranks its errors best.

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_student::{
    decoder::Decoder,
    embedded,
    generate::{GenerateSettings, Generation, generate, score_continuations},
};
use distill_train::{TrainExample, TrainRequest, TrainSettings, Trained, train_decoder};
use serde_json::json;

use crate::base::encoder;

/// Chance that a right answer has a higher confidence than a wrong one; ties count half.
fn area_under_curve(rows: &[(f64, bool)]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for right in rows.iter().filter(|row| row.1) {
        for wrong in rows.iter().filter(|row| !row.1) {
            pairs += 1.0;
            wins += match right.0.total_cmp(&wrong.0) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / pairs
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
}

fn least(values: &[f32]) -> f64 {
    f64::from(values.iter().copied().fold(f32::INFINITY, f32::min))
}

/// By name; the last one needs every label scored.
fn confidences(answer: &Generation, labels: &[f64]) -> Vec<(&'static str, f64)> {
    let whole: f64 = answer
        .log_probabilities
        .iter()
        .map(|log| f64::from(*log))
        .sum();
    let all: f64 = labels.iter().map(|log| log.exp()).sum();
    vec![
        ("log-probability of the whole answer", whole),
        (
            "mean log-probability of a token",
            mean(&answer.log_probabilities),
        ),
        (
            "least log-probability of a token",
            least(&answer.log_probabilities),
        ),
        ("least margin of a token", least(&answer.margins)),
        ("mean margin of a token", mean(&answer.margins)),
        ("the whole answer's, among all labels", whole - all.ln()),
    ]
}

#[test]
#[ignore = "a measurement: trains a decoder for some minutes"]
#[expect(
    clippy::print_stdout,
    reason = "what was measured is for a person to read"
)]
fn confidences_by_how_well_they_rank_errors() {
    let text = include_str!("../../../../../datasets/support-intents/train.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (text, label) = (column("text"), column("label"));
    let rows: Vec<(String, String)> = reader
        .records()
        .map(|record| record.unwrap())
        .map(|record| (record[text].to_owned(), record[label].to_owned()))
        .collect();
    let mut labels: Vec<String> = rows.iter().map(|(_, label)| label.clone()).collect();
    labels.sort();
    labels.dedup();
    let task = Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: Some(
            "Choose the intent of the customer's message: {{ labels | join(', ') }}.".into(),
        ),
        prompt: "{{ text }}".into(),
        labels: labels.clone(),
        schema: None,
    })
    .unwrap();
    let base = embedded::nano().unwrap();
    let encoder = encoder(&base, TaskKind::Classify).unwrap();
    let messages = |text: &str| {
        let fields = json!({ "text": text }).as_object().unwrap().clone();
        task.messages(&fields).unwrap()
    };
    // Every other row trains, the others are answered.
    let train: Vec<TrainExample> = rows
        .iter()
        .step_by(2)
        .map(|(text, label)| encoder.encode_example(&messages(text), label).unwrap())
        .map(|row| TrainExample::new(row.tokens, row.loss_from))
        .collect();
    let settings = TrainSettings {
        epochs: 3,
        batch_tokens: 768,
        learning_rate: 0.004,
        ..TrainSettings::default()
    };
    let request = TrainRequest {
        weights: &base.weights,
        settings: &settings,
        train: &train,
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let outcome = train_decoder(&request, &mut |_| {}).unwrap();
    let Trained::Lora(adapter) = &outcome.trained else {
        panic!("an adapter was asked for");
    };
    let decoder = Decoder::with_adapter(&base.weights, adapter).unwrap();
    let asked: Vec<&(String, String)> = rows.iter().skip(1).step_by(2).collect();
    let prompts: Vec<Vec<u32>> = asked
        .iter()
        .map(|(text, _)| encoder.encode_prompt(&messages(text)).unwrap().tokens)
        .collect();
    let replies: Vec<Vec<u32>> = labels
        .iter()
        .map(|label| {
            let row = encoder.encode_example(&messages("x"), label).unwrap();
            row.tokens[row.loss_from..].to_vec()
        })
        .collect();
    let generation = GenerateSettings {
        max_new_tokens: 32,
        stop_tokens: encoder.stop_ids().to_vec(),
        ..GenerateSettings::default()
    };
    let answers = generate(&decoder, &prompts, &generation).unwrap();
    let mut ranked: Vec<(&str, Vec<(f64, bool)>)> = Vec::new();
    for (((_, gold), prompt), answer) in asked.iter().zip(&prompts).zip(&answers) {
        let text = encoder.tokenizer().decode(&answer.tokens).unwrap();
        let right = task
            .parse_reply(&text)
            .is_ok_and(|answer| answer.to_text() == *gold);
        let scored: Vec<f64> = score_continuations(&decoder, prompt, &replies)
            .unwrap()
            .iter()
            .map(|tokens| tokens.iter().map(|log| f64::from(*log)).sum())
            .collect();
        for (index, (name, value)) in confidences(answer, &scored).into_iter().enumerate() {
            if ranked.len() <= index {
                ranked.push((name, Vec::new()));
            }
            ranked[index].1.push((value, right));
        }
    }
    let right = ranked[0].1.iter().filter(|row| row.1).count();
    println!("{right} of {} right", asked.len());
    for (name, rows) in &ranked {
        println!("{:.3} {name}", area_under_curve(rows));
    }
    assert!(area_under_curve(&ranked[0].1) > 0.6);
}
