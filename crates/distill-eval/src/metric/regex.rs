//! The reply fits a pattern.

use super::{Context, Direction, EVERY, Metric, Rule, Setting, SettingKind, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "regex",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies, outer white space aside, in which the pattern is found; needs no reference",
    kinds: EVERY,
    settings: &[
        Setting {
            name: "pattern",
            kind: SettingKind::Pattern,
            required: true,
            description: "a regular expression in the syntax of the Rust crate regex (no look-around); `(?i)` ignores case, `(?s)` lets a dot match a line break",
        },
        Setting {
            name: "full",
            kind: SettingKind::Flag,
            required: false,
            description: "true: the whole reply must fit; false (default): a part is enough",
        },
    ],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    let reply = match sample.reply_or_unscored() {
        Ok(reply) => reply.trim(),
        Err(unscored) => return unscored,
    };
    let Some(pattern) = context.options.pattern("pattern") else {
        return Score::unscored("the setting `pattern` is not given");
    };
    Score::right(if context.options.flag("full") {
        pattern.whole.is_match(reply)
    } else {
        pattern.part.is_match(reply)
    })
}
