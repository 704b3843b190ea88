//! What several judges say together.

use super::JudgeMode;
use crate::{Judgement, Score};

/// A panel's verdict on one answer or pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PanelScore {
    pub score: Score,
    /// Why the verdict is a tie, where it is one: the orders, the votes, or the judges' own words.
    pub tie: Option<String>,
}

/// The verdict of all judges of one answer or pair: pairwise the strict majority of those that could
/// be read, and else a tie; pointwise their median. Unscored, with the first reason, unless more
/// than half of the judges could be read: a panel that lost its majority is another panel.
pub fn panel<'a>(
    mode: JudgeMode,
    judgements: impl IntoIterator<Item = &'a Judgement>,
) -> PanelScore {
    let mut values = Vec::new();
    let mut reason = None;
    let mut contradicted = 0;
    let mut judges = 0;
    for judgement in judgements {
        judges += 1;
        match &judgement.score {
            Score::Value(value) => values.push(*value),
            Score::Unscored { reason: why } => {
                reason.get_or_insert_with(|| why.clone());
            }
        }
        contradicted += usize::from(judgement.orders_disagree == Some(true));
    }
    if 2 * values.len() <= judges || values.is_empty() {
        let reason = reason.unwrap_or_else(|| "no judge was asked".to_owned());
        return PanelScore {
            score: Score::Unscored { reason },
            tie: None,
        };
    }
    match mode {
        JudgeMode::Pointwise => PanelScore {
            score: Score::Value(median(values)),
            tie: None,
        },
        JudgeMode::Pairwise => majority(&values, contradicted),
    }
}

fn majority(values: &[f64], contradicted: usize) -> PanelScore {
    // Votes are 0, 0.5 and 1.
    let votes = |value: f64| {
        let meant = |vote: &&f64| (**vote - value).abs() < 0.25;
        values.iter().filter(meant).count()
    };
    let (wins, ties, losses) = (votes(1.0), votes(0.5), votes(0.0));
    let needed = values.len() / 2 + 1;
    let (value, tie) = if wins >= needed {
        (1.0, None)
    } else if losses >= needed {
        (0.0, None)
    } else if ties < needed {
        let why = format!("the judges split: {wins} for, {ties} tied, {losses} against");
        (0.5, Some(why))
    } else if contradicted > 0 {
        let why = format!(
            "the two orders contradicted each other for {contradicted} of {} judges",
            values.len()
        );
        (0.5, Some(why))
    } else {
        (0.5, Some("as good as each other".to_owned()))
    };
    PanelScore {
        score: Score::Value(value),
        tie,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
