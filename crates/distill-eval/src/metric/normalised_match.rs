//! The reply is the reference when case, spacing and outer punctuation do not count.

use super::{Context, Direction, EVERY, Metric, Rule, Unit, text::right_by_any};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "normalised_match",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that equal the reference in lower case, white space folded, outer quotes and stops removed",
    kinds: EVERY,
    settings: &[],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    right_by_any(sample, context, |reply, reference| {
        normalised(reply) == normalised(reference)
    })
}

/// Inner punctuation stays: `1.5` and `15` are different answers.
pub(super) fn normalised(text: &str) -> String {
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
