//! Planted errors are found, and their share is estimated.

use serde_json::json;

use super::*;

/// The embedded set's training rows: text and label.
fn support_intents() -> Vec<(String, String)> {
    let text = include_str!("../../../../datasets/support-intents/train.csv");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let (text, label) = (column("text"), column("label"));
    reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            (record[text].to_owned(), record[label].to_owned())
        })
        .collect()
}

fn step(labels: Vec<String>, seed: u64) -> LabelNoise {
    LabelNoise {
        task: TaskDefinition {
            kind: TaskKind::Classify,
            system: None,
            prompt: "{{ text }}".into(),
            labels,
            schema: None,
        },
        seed,
        simulated: false,
    }
}

/// Rows with their right labels, and examples of which `share` have another label.
fn planted(share: f64, seed: u64) -> (LabelNoise, Vec<Example>, Vec<Row>) {
    let rows = support_intents();
    let mut labels: Vec<String> = rows.iter().map(|(_, label)| label.clone()).collect();
    labels.sort();
    labels.dedup();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let flipped = &order[..(rows.len() as f64 * share).round() as usize];
    let fields = |text: &str| json!({ "text": text }).as_object().unwrap().clone();
    let examples = rows
        .iter()
        .enumerate()
        .map(|(index, (text, label))| {
            let at = labels.iter().position(|other| other == label).unwrap();
            let shift = 1 + index % (labels.len() - 1);
            let answer = if flipped.contains(&index) {
                &labels[(at + shift) % labels.len()]
            } else {
                label
            };
            Example {
                id: index.to_string(),
                fields: fields(text),
                answer: answer.clone(),
                token_logprobs: None,
            }
        })
        .collect();
    let gold = rows
        .iter()
        .enumerate()
        .map(|(index, (text, label))| Row {
            id: index.to_string(),
            fields: fields(text),
            gold: Some(label.clone()),
        })
        .collect();
    (step(labels, seed), examples, gold)
}

#[test]
fn the_share_of_planted_errors_is_estimated_and_the_first_suspects_are_errors() {
    for share in [0.04, 0.08, 0.20] {
        for seed in [1, 2, 3] {
            let (step, examples, rows) = planted(share, seed);
            let found = step.estimate(&examples, &rows).unwrap();
            let (low, high) = (found.estimated_share.unwrap(), found.upper_share.unwrap());
            assert!((low - share).abs() <= 0.03, "{share} {seed}: {low}");
            assert!(high >= share, "{share} {seed}: {high}");
            let measured = found.measured.unwrap();
            assert_eq!(measured.n, examples.len());
            assert_eq!(measured.wrong, (share * 746.0_f64).round() as usize);
            // Of as many suspects as there are errors, two in five are errors.
            let first = &found.suspects[..measured.wrong];
            let planted = |suspect: &&Suspect| {
                let index: usize = suspect.id.parse().unwrap();
                rows[index].gold.as_ref() != Some(&suspect.given)
            };
            let hits = first.iter().filter(planted).count();
            assert!(hits * 5 >= first.len() * 2, "{share} {seed}: {hits}");
        }
    }
}

#[test]
fn clean_labels_look_clean_and_the_same_rows_give_the_same_answer() {
    let (step, examples, rows) = planted(0.0, 4);
    let found = step.estimate(&examples, &rows).unwrap();
    assert!(found.estimated_share.unwrap() < 0.03, "{found:?}");
    assert_eq!(found.measured.as_ref().unwrap().wrong, 0);
    assert_eq!(step.estimate(&examples, &rows).unwrap(), found);
}

#[test]
fn the_joint_is_the_papers() {
    // Two labels, thresholds 0.6 and 0.7: row 1 of label 0 is taken for label 1, row 4 for nothing.
    let given = [0, 0, 0, 1, 1];
    let probabilities: Vec<Vec<f64>> = [0.9, 0.1, 0.8, 0.2, 0.4]
        .iter()
        .map(|first| vec![*first, 1.0 - first])
        .collect();
    let joint = ConfidentJoint::new(&given, &probabilities, 2);
    assert_eq!(joint.counts, [vec![2, 1], vec![0, 1]]);
    assert_eq!(joint.suspects, [(1, 1)]);
    // A third of the three rows of label 0, none of the two of label 1.
    assert!((joint.wrong_share().unwrap() - 0.2).abs() < 1e-12);
}

#[test]
fn too_few_examples_give_no_estimate_and_say_so() {
    let (step, mut examples, _) = planted(0.0, 1);
    examples.truncate(20);
    let found = step.estimate(&examples, &[]).unwrap();
    assert_eq!(found.estimated_share, None);
    assert!(found.reason.unwrap().contains("20 examples"));
    assert_eq!(found.measured, None);
}

#[test]
#[ignore = "a measurement: takes some seconds, and time is no test"]
#[expect(
    clippy::print_stdout,
    reason = "what was measured is for a person to read"
)]
fn banking77() {
    let Some(data) = std::env::var_os("DISTILL_DATA_DIR") else {
        println!("skipped: banking77: DISTILL_DATA_DIR is not set");
        return;
    };
    let path = std::path::Path::new(&data).join("banking77/train.csv");
    let mut reader = csv::Reader::from_path(path).unwrap();
    let examples: Vec<Example> = reader
        .records()
        .enumerate()
        .map(|(index, record)| {
            let record = record.unwrap();
            Example {
                id: index.to_string(),
                fields: json!({ "text": record[0] }).as_object().unwrap().clone(),
                answer: record[1].to_owned(),
                token_logprobs: None,
            }
        })
        .collect();
    let mut labels: Vec<String> = examples.iter().map(|row| row.answer.clone()).collect();
    labels.sort();
    labels.dedup();
    let started = std::time::Instant::now();
    let found = step(labels, 1).estimate(&examples, &[]).unwrap();
    println!(
        "{} examples in {:.1} s: {:?}, at most {:?}, {} suspects",
        found.n,
        started.elapsed().as_secs_f64(),
        found.estimated_share,
        found.upper_share,
        found.suspects.len()
    );
    for suspect in found.suspects.iter().take(10) {
        println!("{suspect:?}");
    }
}
