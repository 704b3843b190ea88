use super::*;
use distill_chat::TaskDefinition;

fn task() -> Task {
    let definition: TaskDefinition = serde_json::from_value(serde_json::json!({
        "kind": "classify", "prompt": "{{ text }}", "labels": ["cat", "dog"]
    }))
    .unwrap();
    Task::new(definition).unwrap()
}

fn roundtrip(record: &SampleRecord) -> SampleRecord {
    serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
}

#[test]
fn a_record_gives_back_the_sample_it_was_made_of() {
    let task = task();
    for reply in [Ok("cat"), Ok("a horse"), Ok(""), Err("it timed out")] {
        let record =
            SampleRecord::read("r1", "purr", &task, reply, Some(("dog", ExpectedBy::Gold)));
        assert_eq!(
            roundtrip(&record).sample(&task),
            Sample::read("r1", &task, reply, Some("dog"))
        );
    }
}

#[test]
fn what_is_unknown_is_absent_and_not_zero() {
    let record = SampleRecord::read("r1", "purr", &task(), Ok("cat"), None);
    assert_eq!(
        serde_json::to_string(&record).unwrap(),
        r#"{"id":"r1","input":"purr","output":"cat"}"#
    );
}

#[test]
fn a_row_without_an_answer_says_why() {
    let missing = SampleRecord::read("r1", "purr", &task(), Err("it timed out"), None);
    assert_eq!(missing.problem.as_deref(), Some("it timed out"));
    assert_eq!(missing.output, None);
    let invalid = SampleRecord::read("r1", "purr", &task(), Ok("a horse"), None);
    assert_eq!(invalid.output.as_deref(), Some("a horse"));
    assert!(invalid.problem.is_some());
}

#[test]
fn numbers_come_back_to_the_last_digit() {
    let mut record = SampleRecord::read("r1", "purr", &task(), Ok("cat"), None);
    record.confidence = Some(-0.1 - 0.2);
    record.usd = Some(1.0 / 3.0e7);
    record.latency_ms = Some(f64::MIN_POSITIVE);
    assert_eq!(roundtrip(&record), record);
}

#[test]
fn a_person_weighs_more_than_the_column_and_the_column_more_than_the_teacher() {
    assert!(ExpectedBy::Human < ExpectedBy::Gold && ExpectedBy::Gold < ExpectedBy::Teacher);
}
