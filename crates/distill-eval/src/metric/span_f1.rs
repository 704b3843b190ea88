//! Labelled spans of a text: entities, slots, redactions.

use std::collections::HashMap;

use distill_chat::without_fence;
use serde_json::{Map, Value};

use super::{Context, Corpus, Direction, GENERATE, Metric, Rule, Unit};
use crate::{
    Sample, Score, Statistic,
    fields::{Pooled, Tally},
};

#[cfg(test)]
mod tests;

pub(super) static METRIC: Metric = Metric {
    name: "span_f1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "micro F1 of spans pooled over rows, right only with the same label and the same ends (or text): a JSON list of {start, end, label} or {text, label}",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Corpus(Corpus {
        scorable,
        statistic,
    }),
};

/// What makes a span the same: its label and its ends, or its label and its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Span {
    Ends(String, u64, u64),
    Text(String, String),
}

fn scorable(sample: &Sample, _context: &Context<'_>) -> Result<(), Score> {
    let (_, gold) = sample.reply_and_gold()?;
    match spans(gold) {
        Some(_) => Ok(()),
        None => Err(Score::unscored(
            "the reference is not a JSON list of {start, end, label} or {text, label}",
        )),
    }
}

fn statistic(samples: &[&Sample], _context: &Context<'_>) -> Box<dyn Statistic> {
    let counts = samples
        .iter()
        .map(|sample| {
            let of = |text: Option<&str>| text.and_then(spans).unwrap_or_default();
            tally(&of(sample.gold.as_deref()), &of(sample.reply()))
        })
        .collect();
    Box::new(Pooled::new(counts, Tally::f1))
}

/// A text that occurs twice is two spans; the same ends given twice are one.
fn tally(gold: &HashMap<Span, u64>, answer: &HashMap<Span, u64>) -> Tally {
    let correct = answer
        .iter()
        .filter_map(|(span, count)| Some(*count.min(gold.get(span)?)))
        .sum();
    Tally {
        gold: gold.values().sum(),
        predicted: answer.values().sum(),
        correct,
    }
}

/// The spans of a text; `None` when it is not a list of spans. A reply that is none finds nothing.
fn spans(text: &str) -> Option<HashMap<Span, u64>> {
    let Ok(Value::Array(list)) = serde_json::from_str(without_fence(text.trim())) else {
        return None;
    };
    let mut counts = HashMap::new();
    for item in &list {
        let span = span(item.as_object()?)?;
        let once = matches!(span, Span::Ends(..));
        let count = counts.entry(span).or_insert(0);
        *count = if once { 1 } else { *count + 1 };
    }
    Some(counts)
}

/// Ends win over a text that stands beside them.
fn span(object: &Map<String, Value>) -> Option<Span> {
    let label = object.get("label")?.as_str()?.to_owned();
    match (object.get("start"), object.get("end")) {
        (Some(start), Some(end)) => Some(Span::Ends(label, start.as_u64()?, end.as_u64()?)),
        (None, None) => {
            let text = object.get("text")?.as_str()?;
            Some(Span::Text(label, text.trim().to_owned()))
        }
        _ => None,
    }
}
