//! The reply is the reference when case, spacing and outer punctuation do not count.

use distill_chat::Task;

use super::{Direction, EVERY, Metric, Rule, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "normalised_match",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that equal the reference in lower case, white space folded, outer quotes and stops removed",
    kinds: EVERY,
    rule: Rule::Share(score),
};

fn score(sample: &Sample, _task: &Task) -> Score {
    match sample.reply_and_gold() {
        Ok((reply, gold)) => Score::right(normalised(reply) == normalised(gold)),
        Err(unscored) => unscored,
    }
}

/// Inner punctuation stays: `1.5` and `15` are different answers.
fn normalised(text: &str) -> String {
    let outer = |character: char| {
        character.is_whitespace()
            || matches!(
                character,
                '"' | '\'' | '`' | '.' | '!' | '?' | ',' | ';' | ':'
            )
    };
    text.trim_matches(outer)
        .to_lowercase()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn case_spacing_and_outer_punctuation_do_not_count_and_the_rest_does() {
        assert_eq!(normalised("  \"Lost   Card.\" "), "lost card");
        assert_eq!(normalised("ÄRGER"), "ärger");
        assert_ne!(normalised("1.5"), normalised("15"));
    }
}
