//! Agreement with public implementations: `scripts/oracles/scorers.py` made what is expected.

use distill_chat::{Task, TaskKind};
use serde_json::{Map, Value, json};

use super::{classify, extract, generate, settings, task};
use crate::{Confusion, Sample, Scorer, aggregate, metric, per_field};

fn expected(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../../fixtures/scorers.json")).unwrap();
    let cases = all[part].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{part}");
    cases
}

fn strings(value: &Value) -> Vec<Option<&str>> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_str)
        .collect()
}

#[track_caller]
fn close(found: Option<f64>, wanted: &Value, what: &str) {
    let (found, wanted) = (found.unwrap(), wanted.as_f64().unwrap());
    assert!(
        (found - wanted).abs() < 1e-9,
        "{what}: {found} and {wanted}"
    );
}

fn value_of(name: &str, samples: &[Sample], task: &Task) -> Option<f64> {
    let scorer = Scorer::plain(metric(name).unwrap());
    aggregate(&scorer, samples, task, &settings()).value
}

fn label_samples(case: &Value, task: &Task) -> Vec<Sample> {
    strings(&case["gold"])
        .iter()
        .zip(strings(&case["answers"]))
        .enumerate()
        .map(|(row, (gold, answer))| {
            let reply = answer.unwrap_or("no label at all");
            Sample::read(format!("{row:04}"), task, Ok(reply), *gold)
        })
        .collect()
}

#[test]
fn label_scores_agree_with_scikit_learn() {
    for case in expected("labels") {
        let labels: Vec<&str> = strings(&case["labels"]).into_iter().flatten().collect();
        let task = classify(&labels);
        let samples = label_samples(&case, &task);
        for name in ["accuracy", "macro_f1", "micro_f1"] {
            close(value_of(name, &samples, &task), &case[name], name);
        }
        let confusion = Confusion::count(&samples, &task);
        let per_label = confusion.per_label();
        assert_eq!(per_label.len(), labels.len());
        for (place, label) in strings(&case["seen"]).into_iter().flatten().enumerate() {
            let found = per_label.iter().find(|found| found.label == label).unwrap();
            let support = case["support"][place].as_u64().unwrap();
            assert_eq!(found.support as u64, support);
            // scikit-learn says 0 where nothing was answered; here it is missing.
            let zero = |value: Option<f64>| Some(value.unwrap_or(0.0));
            close(zero(found.precision), &case["precision"][place], label);
            close(zero(found.recall), &case["recall"][place], label);
            close(found.f1, &case["f1"][place], label);
            assert_eq!(found.precision.is_none(), found.predicted == 0);
            assert_eq!(found.recall.is_none(), found.support == 0);
        }
        let never = per_label.iter().find(|found| found.label == "never");
        let never = never.unwrap();
        assert_eq!(
            (never.precision, never.recall, never.f1),
            (None, None, None)
        );
        let pairs = confusion.top_pairs(1000);
        let wrong: usize = pairs.iter().map(|pair| pair.count).sum();
        let right: usize = per_label.iter().map(|label| label.correct).sum();
        assert_eq!(wrong + right, samples.len());
    }
}

/// Rows of `gold` and `answer`; no answer is a reply that is no JSON.
fn json_samples(case: &Value, task: &Task) -> Vec<Sample> {
    case["rows"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(row, value)| {
            let reply = match &value["answer"] {
                Value::Null => "not json".to_owned(),
                answer => answer.to_string(),
            };
            let gold = value["gold"].to_string();
            Sample::read(format!("{row:04}"), task, Ok(&reply), Some(&gold))
        })
        .collect()
}

#[test]
fn field_scores_agree_with_scikit_learn() {
    for case in expected("fields") {
        // The same objects as free text score the same.
        for task in [extract(), generate()] {
            let samples = json_samples(&case, &task);
            for part in ["precision", "recall", "f1"] {
                let metric = metric(&format!("field_{part}")).unwrap();
                let found = aggregate(&Scorer::plain(metric), &samples, &task, &settings());
                close(found.value, &case["pooled"][part], part);
                let (value, interval) = (found.value.unwrap(), found.interval.unwrap());
                assert!(interval.low < value && value < interval.high);
            }
        }
        let task = extract();
        let fields = per_field(&json_samples(&case, &task), &task, &settings());
        assert_eq!(fields.len(), case["fields"].as_array().unwrap().len());
        for field in fields {
            let wanted = &case["per_field"][&field.field];
            close(field.precision, &wanted["precision"], &field.field);
            close(field.recall, &wanted["recall"], &field.field);
            close(field.f1, &wanted["f1"], &field.field);
            assert_eq!(field.correct as u64, wanted["correct"].as_u64().unwrap());
        }
    }
}

#[test]
fn span_scores_agree_with_scikit_learn() {
    let task = generate();
    for case in expected("spans") {
        let samples = json_samples(&case, &task);
        close(value_of("span_f1", &samples, &task), &case["f1"], "span_f1");
    }
}

fn options(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// One reference as it is, several as a list.
fn reference_text(references: &Value) -> String {
    match references.as_array().unwrap().as_slice() {
        [one] => one.as_str().unwrap().to_owned(),
        _ => references.to_string(),
    }
}

#[test]
fn text_scores_agree_with_sacrebleu_and_rouge_score() {
    let task = generate();
    let names = [
        ("token_f1", json!({}), "token_f1"),
        ("rouge_1", json!({}), "rouge_1"),
        ("rouge_2", json!({}), "rouge_2"),
        ("rouge_l", json!({}), "rouge_l"),
        ("rouge_1_ascii", json!({}), "rouge_1_ascii"),
        ("rouge_2_ascii", json!({}), "rouge_2_ascii"),
        ("rouge_l_ascii", json!({}), "rouge_l_ascii"),
        ("sentence_bleu", json!({}), "sentence_bleu"),
        ("sentence_chrf", json!({}), "sentence_chrf"),
        ("sentence_chrf", json!({"word_order": 2}), "sentence_chrf_2"),
    ];
    let scorers =
        names.map(|(name, settings, key)| (Scorer::parse(name, &options(settings)).unwrap(), key));
    for case in expected("texts") {
        let reply = case["reply"].as_str().unwrap();
        let gold = reference_text(&case["references"]);
        let sample = Sample::read("1", &task, Ok(reply), Some(&gold));
        for (scorer, key) in &scorers {
            let score = scorer.score(&sample, &task).unwrap();
            let what = format!("{key} of {reply:?} and {gold:?}");
            close(score.value(), &case[*key], &what);
        }
    }
}

#[test]
fn scores_of_whole_sets_agree_with_sacrebleu() {
    let task = generate();
    let plus = Scorer::parse("chrf", &options(json!({"word_order": 2}))).unwrap();
    for case in expected("corpora") {
        let samples: Vec<Sample> = strings(&case["replies"])
            .iter()
            .zip(case["references"].as_array().unwrap())
            .enumerate()
            .map(|(row, (reply, references))| {
                let gold = reference_text(references);
                Sample::read(row.to_string(), &task, Ok(reply.unwrap()), Some(&gold))
            })
            .collect();
        close(value_of("bleu", &samples, &task), &case["bleu"], "bleu");
        close(value_of("chrf", &samples, &task), &case["chrf"], "chrf");
        let found = aggregate(&plus, &samples, &task, &settings());
        assert_eq!(found.metric, "chrf(word_order=2)");
        close(found.value, &case["chrf_2"], "chrf++");
    }
}

#[test]
fn schemas_are_held_as_jsonschema_holds_them() {
    let task = task(TaskKind::Generate);
    for case in expected("schemas") {
        let schema = &case["schema"];
        let settings = options(json!({"schema": schema}));
        let scorer = Scorer::parse("json_matches_schema", &settings).unwrap();
        for pair in case["values"].as_array().unwrap() {
            let reply = pair[0].to_string();
            let sample = Sample::read("1", &task, Ok(&reply), None);
            let found = scorer.score(&sample, &task).unwrap().value();
            let wanted = f64::from(u8::from(pair[1].as_bool().unwrap()));
            assert_eq!(found, Some(wanted), "{reply} under {schema}");
        }
    }
}
