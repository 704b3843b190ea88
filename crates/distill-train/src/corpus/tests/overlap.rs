//! The generator must not have seen what a pipeline trains or is scored on.
#![expect(
    clippy::print_stdout,
    reason = "the measured overlap and a skipped test are told"
)]

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Corpus, Mix};
use crate::pretrain::Recipe;

const SAMPLES: u64 = 15_000;
const SHORT: usize = 5;
const LONG: usize = 8;

/// The one that the embedded model learnt from.
fn corpus() -> Corpus {
    Corpus::new(Recipe::named("nano").unwrap().seed)
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|character: char| !character.is_alphanumeric() && character != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn hash(words: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

fn plain(label: &str) -> String {
    words(&label.replace('_', " ")).join(" ")
}

/// What stands in the corpus, as hashes of words.
#[derive(Default)]
struct Seen {
    words: usize,
    short: HashSet<u64>,
    long: HashSet<u64>,
    lines: HashSet<u64>,
}

impl Seen {
    fn of_corpus() -> Self {
        let corpus = corpus();
        let mut seen = Self::default();
        let broad = (0..SAMPLES).map(|number| corpus.sample(Mix::Broad, number));
        let narrow = (0..SAMPLES).map(|number| corpus.sample(Mix::Narrow, number));
        for sample in broad.chain(narrow) {
            for line in sample.text().lines() {
                let words = words(line);
                seen.words += words.len();
                seen.lines.insert(hash(&words));
                seen.short.extend(words.windows(SHORT).map(hash));
                seen.long.extend(words.windows(LONG).map(hash));
            }
        }
        assert!(seen.words > 1_000_000, "{} words", seen.words);
        seen
    }

    /// Share of the texts' n-grams that stand in the corpus: short ones, long ones.
    fn check(&self, name: &str, texts: &[String]) {
        let (mut short, mut long) = (Shares::default(), Shares::default());
        let mut equal = Vec::new();
        for text in texts {
            let words = words(text);
            short.count(&self.short, words.windows(SHORT));
            long.count(&self.long, words.windows(LONG));
            if words.len() >= 4 && self.lines.contains(&hash(&words)) {
                equal.push(text);
            }
        }
        println!(
            "{name}: {SHORT}-grams {short}, {LONG}-grams {long}, equal messages {}",
            equal.len()
        );
        assert!(long.share() < 0.0005, "{name}: {LONG}-grams {long}");
        assert!(short.share() < 0.01, "{name}: {SHORT}-grams {short}");
        assert!(equal.is_empty(), "{name}: {equal:?}");
    }
}

#[derive(Default)]
struct Shares {
    found: usize,
    all: usize,
}

impl Shares {
    fn count<'a>(&mut self, seen: &HashSet<u64>, grams: impl Iterator<Item = &'a [String]>) {
        for gram in grams {
            self.all += 1;
            self.found += usize::from(seen.contains(&hash(gram)));
        }
    }

    fn share(&self) -> f64 {
        self.found as f64 / self.all.max(1) as f64
    }
}

impl std::fmt::Display for Shares {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} of {} ({:.3}%)",
            self.found,
            self.all,
            100.0 * self.share()
        )
    }
}

/// One column of a CSV file.
fn column(path: &Path, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let at = reader
        .headers()
        .unwrap()
        .iter()
        .position(|header| header == name)
        .unwrap();
    reader
        .records()
        .map(|record| record.unwrap()[at].to_owned())
        .collect()
}

fn assert_no_label_of(name: &str, labels: &[String]) {
    let own: BTreeSet<String> = corpus().label_names().into_iter().map(plain).collect();
    let shared: BTreeSet<String> = labels
        .iter()
        .map(|label| plain(label))
        .filter(|label| own.contains(label))
        .collect();
    assert!(shared.is_empty(), "{name}: {shared:?}");
}

#[test]
fn no_label_or_message_of_the_support_rows_is_in_the_corpus() {
    let seen = Seen::of_corpus();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/support-intents");
    for file in ["train.csv", "test.csv"] {
        seen.check(
            &format!("support-intents {file}"),
            &column(&folder.join(file), "text"),
        );
        assert_no_label_of("support-intents", &column(&folder.join(file), "label"));
    }
}

#[test]
fn no_label_schema_or_message_of_the_public_sets_is_in_the_corpus() {
    let Some(data) = std::env::var_os("DISTILL_DATA_DIR").map(PathBuf::from) else {
        println!(
            "skipped: no_label_schema_or_message_of_the_public_sets_is_in_the_corpus: DISTILL_DATA_DIR is not set"
        );
        return;
    };
    let seen = Seen::of_corpus();
    for file in ["train.csv", "test.csv"] {
        let path = data.join("banking77").join(file);
        seen.check(&format!("banking77 {file}"), &column(&path, "text"));
        assert_no_label_of("banking77", &column(&path, "category"));
    }
    for file in ["train_0.json", "test.json"] {
        let text = fs::read_to_string(data.join("restaurant8k").join(file)).unwrap();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let texts: Vec<String> = rows
            .iter()
            .map(|row| row["userInput"]["text"].as_str().unwrap().to_owned())
            .collect();
        seen.check(&format!("restaurant8k {file}"), &texts);
    }
    let slots = ["people", "time", "date", "first_name", "last_name"];
    for keys in corpus().schema_keys() {
        assert!(!keys.iter().any(|key| slots.contains(key)), "{keys:?}");
    }
}
