//! A simulated judge: it knows the right answer to the question and says how near an answer comes,
//! or which of two comes nearer, with a set share of errors, of bias for what it is shown first, and
//! of chatter that is no verdict.
//!
//! It knows a judge's question by its fences ([`distill_chat::fence`]): `question` and `answer` for
//! one answer, `question`, `first` and `second` for two.

use std::collections::HashMap;

use distill_chat::fence;
use serde_json::json;

use super::{draw, gold::GoldTable, settings::SimulatorSettings};

/// The best score; the worst is 1.
const BEST: f64 = 5.0;
/// Answers nearer to each other than this share are as good as each other.
const AS_GOOD: f64 = 0.05;

/// The verdict on a judge's question; `None` when the message is none, or is about a question that
/// is not in the table.
pub(super) fn verdict(
    prompt: &str,
    table: &GoldTable,
    settings: &SimulatorSettings,
) -> Option<String> {
    let blocks: HashMap<&str, &str> = fence::read(prompt).into_iter().collect();
    let question = *blocks.get("question")?;
    let right = table.right(question)?;
    let seed = settings.seed;
    let judge = &settings.judge;
    if draw::uniform(seed, &[b"judge chatter", prompt.as_bytes()]) < judge.unreadable {
        return Some("It is hard to say; both have their merits.".to_owned());
    }
    if let Some(answer) = blocks.get("answer") {
        let names: [&[u8]; 3] = [b"judge", question.as_bytes(), answer.as_bytes()];
        let mut score = (1.0 + (BEST - 1.0) * nearness(answer, right)).round();
        if draw::uniform(seed, &names) >= judge.accuracy {
            score = BEST + 1.0 - score;
        }
        let said = json!({"reason": "simulated judge", "score": score as u32});
        return Some(said.to_string());
    }
    let (first, second) = (*blocks.get("first")?, *blocks.get("second")?);
    // The pair whichever way round it is shown, so that an error is the same in both orders.
    let (low, high) = if first <= second {
        (first, second)
    } else {
        (second, first)
    };
    let chance = |what: &[u8]| {
        let names = [what, question.as_bytes(), low.as_bytes(), high.as_bytes()];
        draw::uniform(seed, &names)
    };
    let mut lead = nearness(first, right) - nearness(second, right);
    if chance(b"judge pair") >= judge.accuracy {
        lead = if lead == 0.0 {
            if first == low { 1.0 } else { -1.0 }
        } else {
            -lead
        };
    }
    if chance(b"judge position") < judge.position_bias {
        lead = 1.0;
    }
    let better = if lead.abs() <= AS_GOOD || first == second {
        "tie"
    } else if lead > 0.0 {
        "first"
    } else {
        "second"
    };
    let said = json!({"reason": "simulated judge", "better": better});
    Some(said.to_string())
}

/// The share of words that an answer has in common with the right one: F1 of the two bags.
fn nearness(answer: &str, right: &str) -> f64 {
    let words = |text: &str| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for word in text
            .split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        counts
    };
    let (answer, right) = (words(answer), words(right));
    let total: usize = answer.values().sum::<usize>() + right.values().sum::<usize>();
    if total == 0 {
        return 1.0;
    }
    let common: usize = answer
        .iter()
        .map(|(word, count)| (*count).min(right.get(word).copied().unwrap_or(0)))
        .sum();
    2.0 * common as f64 / total as f64
}

#[cfg(test)]
mod tests {
    use distill_chat::fence;
    use serde_json::Value;

    use super::{super::gold::GoldEntry, verdict};
    use crate::simulate::{
        JudgeSettings, SimulatorSettings, gold::GoldTable, tests::gold as gold_rows,
    };

    fn table() -> (Vec<GoldEntry>, GoldTable) {
        let rows = gold_rows(300);
        let table = GoldTable::new(&rows, 7, 1.0).unwrap();
        (rows, table)
    }

    fn settings(accuracy: f64, position_bias: f64, unreadable: f64) -> SimulatorSettings {
        SimulatorSettings {
            judge: JudgeSettings {
                accuracy,
                position_bias,
                unreadable,
            },
            ..SimulatorSettings::default()
        }
    }

    fn said(blocks: &[fence::Block<'_>], settings: &SimulatorSettings) -> Value {
        let text = verdict(&fence::write(blocks), &table().1, settings).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_perfect_judge_scores_by_nearness_to_the_right_answer() {
        let perfect = settings(1.0, 0.0, 0.0);
        let question = gold_rows(1)[0].prompt.clone();
        let score = |answer: &str| said(&[("question", &question), ("answer", answer)], &perfect);
        assert_eq!(score("late delivery")["score"], 5);
        assert_eq!(score("Late delivery!")["score"], 5);
        assert_eq!(score("late")["score"], 4);
        assert_eq!(score("greeting")["score"], 1);
    }

    #[test]
    fn a_perfect_judge_prefers_the_nearer_in_either_order() {
        let perfect = settings(1.0, 0.0, 0.0);
        let question = gold_rows(1)[0].prompt.clone();
        let better = |first: &str, second: &str| {
            let blocks = [
                ("question", question.as_str()),
                ("first", first),
                ("second", second),
            ];
            said(&blocks, &perfect)["better"].clone()
        };
        assert_eq!(better("late delivery", "greeting"), "first");
        assert_eq!(better("greeting", "late delivery"), "second");
        assert_eq!(better("greeting", "refund please"), "tie");
        assert_eq!(better("late delivery", "late delivery"), "tie");
    }

    #[test]
    fn errors_are_alike_in_both_orders_and_position_bias_is_not() {
        let (rows, table) = table();
        let count = |settings: &SimulatorSettings| {
            let (mut wrong, mut contradicted) = (0, 0);
            for row in &rows {
                let ask = |first: &str, second: &str| {
                    let blocks = [
                        ("question", row.prompt.as_str()),
                        ("first", first),
                        ("second", second),
                    ];
                    verdict(&fence::write(&blocks), &table, settings).unwrap()
                };
                let (one, other) = (ask(&row.answer, "nothing"), ask("nothing", &row.answer));
                let first = |text: &str| text.contains("\"first\"");
                contradicted += usize::from(first(&one) == first(&other));
                wrong += usize::from(!first(&one) && first(&other));
            }
            (wrong, contradicted)
        };
        assert_eq!(count(&settings(1.0, 0.0, 0.0)), (0, 0));
        let (wrong, contradicted) = count(&settings(0.8, 0.0, 0.0));
        assert!((45..=75).contains(&wrong) && contradicted == 0, "{wrong}");
        let (wrong, contradicted) = count(&settings(1.0, 0.2, 0.0));
        assert!(
            (45..=75).contains(&contradicted) && wrong == 0,
            "{contradicted}"
        );
    }

    #[test]
    fn chatter_is_no_verdict_and_a_usual_message_is_not_judged() {
        let (rows, table) = table();
        let prompt = fence::write(&[("question", &rows[0].prompt), ("answer", "late delivery")]);
        let chatter = verdict(&prompt, &table, &settings(1.0, 0.0, 1.0)).unwrap();
        assert!(!chatter.contains('{'), "{chatter}");
        assert!(verdict(&rows[0].prompt, &table, &settings(1.0, 0.0, 0.0)).is_none());
        let unknown = fence::write(&[("question", "never seen"), ("answer", "x")]);
        assert!(verdict(&unknown, &table, &settings(1.0, 0.0, 0.0)).is_none());
    }
}
