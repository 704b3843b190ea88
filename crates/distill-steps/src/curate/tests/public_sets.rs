//! The public sets, whose shared texts are known. Needs `DISTILL_DATA_DIR`.

use std::path::{Path, PathBuf};

use distill_chat::{TaskDefinition, TaskKind};
use distill_pipeline::spec::DataSource;
use serde_json::json;

use super::super::*;
use crate::dataset::{Places, read_rows, resolve};

fn data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DISTILL_DATA_DIR").map(PathBuf::from);
    #[expect(clippy::print_stdout, reason = "a skipped test must say so")]
    if folder.is_none() {
        println!("skipped: {test}: DISTILL_DATA_DIR is not set");
    }
    folder
}

fn rows(data: &Path, dataset: &str, split: &str, gold: &str) -> Vec<Row> {
    let places = Places {
        data_dir: Some(data.to_owned()),
        home: PathBuf::new(),
        beside: PathBuf::new(),
    };
    let source = DataSource::Dataset {
        dataset: dataset.to_owned(),
        split: split.to_owned(),
    };
    read_rows(&resolve(&source, &places).unwrap(), Some(gold)).unwrap()
}

/// Test rows whose text stands in train after lower-casing and folding white space.
fn folded(curation: &Curation) -> Vec<&SharedText> {
    let shared = curation.shared_texts.iter();
    shared
        .filter(|entry| entry.how == "equal" || entry.how == "equal but for case and white space")
        .collect()
}

#[test]
fn the_seven_texts_that_banking77_shares_are_listed_and_removed() {
    let Some(data) = data("the_seven_texts_that_banking77_shares_are_listed_and_removed") else {
        return;
    };
    let (train, test) = (
        rows(&data, "banking77", "train", "category"),
        rows(&data, "banking77", "test", "category"),
    );
    let mut labels: Vec<String> = train.iter().filter_map(|row| row.gold.clone()).collect();
    labels.sort();
    labels.dedup();
    let task = Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: Some("Name the intent of the bank customer's query.".into()),
        prompt: "{{ text }}".into(),
        labels,
        schema: None,
    })
    .unwrap();
    let (examples, curation) = curate(&task, &train, None, &test).unwrap();
    let shared = folded(&curation);
    assert_eq!(shared.len(), 7);
    for entry in shared {
        assert!(entry.removed.rows > 0, "{entry:?}");
        assert_eq!(entry.kept.rows, 0, "{entry:?}");
    }
    assert_eq!(examples.len(), curation.kept);
}

#[test]
fn the_shared_texts_of_restaurant8k_are_listed_and_removed_where_the_context_is_the_same() {
    let Some(data) = data(
        "the_shared_texts_of_restaurant8k_are_listed_and_removed_where_the_context_is_the_same",
    ) else {
        return;
    };
    let (train, test) = (
        rows(&data, "restaurant8k", "train", "slots"),
        rows(&data, "restaurant8k", "test", "slots"),
    );
    let task = Task::new(TaskDefinition {
        kind: TaskKind::Extract,
        system: None,
        prompt: "{% if requested %}(asked: {{ requested }}) {% endif %}{{ text }}".into(),
        labels: Vec::new(),
        schema: Some(json!({"type": "object", "properties": {"people": {"type": "string"}}})),
    })
    .unwrap();
    let (examples, curation) = curate(&task, &train, None, &test).unwrap();
    let shared = folded(&curation);
    assert_eq!(shared.len(), 177);
    let of = |rows: &[Row], id: &str| {
        let row = rows.iter().find(|row| row.id == id).unwrap();
        let words = |column: &str| row.fields[column].as_str().unwrap().to_lowercase();
        (words("text"), words("requested"))
    };
    let (mut removed, mut kept) = (0, 0);
    for entry in shared {
        let (_, asked) = of(&test, &entry.eval_id);
        for id in &entry.removed.ids {
            assert_eq!(of(&train, id).1, asked, "{entry:?}");
        }
        for id in &entry.kept.ids {
            assert_ne!(of(&train, id).1, asked, "{entry:?}");
            assert!(examples.iter().any(|example| example.id == *id));
        }
        removed += usize::from(entry.removed.rows > 0);
        kept += usize::from(entry.removed.rows == 0);
    }
    // "13" after "what time?" in train is no copy of "13" after "how many?" in test.
    assert_eq!((removed, kept), (149, 28));
    let conflicts: Vec<&RemovedRow> = curation
        .removed_rows
        .iter()
        .filter(|row| row.reason == Removal::Conflict)
        .collect();
    assert_eq!(conflicts.len(), 2, "{conflicts:?}");
}
