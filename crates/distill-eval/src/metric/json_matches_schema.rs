//! The reply is an object that satisfies the schema.

use distill_chat::{ObjectSchema, without_fence};
use serde_json::Value;

use super::{Context, Direction, JSON, Metric, Rule, Setting, SettingKind, Unit};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "json_matches_schema",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that are an object of the schema; needs no reference",
    kinds: JSON,
    settings: &[Setting {
        name: "schema",
        kind: SettingKind::Schema,
        required: false,
        description: "the JSON schema of a flat object; by default the task's own",
    }],
    rule: Rule::Share(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    let reply = match sample.reply_or_unscored() {
        Ok(reply) => reply,
        Err(unscored) => return unscored,
    };
    match context.options.schema("schema").or(context.task.schema()) {
        None => Score::unscored("the task has no schema, and the setting `schema` is not given"),
        Some(schema) => Score::right(holds(schema, reply)),
    }
}

fn holds(schema: &ObjectSchema, reply: &str) -> bool {
    serde_json::from_str::<Value>(without_fence(reply.trim()))
        .is_ok_and(|value| schema.check(&value).is_ok())
}
