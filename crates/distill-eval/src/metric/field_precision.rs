//! Of the fields a model gave, how many are right.

use super::{Context, Corpus, Direction, JSON, Metric, Rule, Unit};
use crate::{
    Sample, Statistic,
    fields::{Pooled, Tally, field_tallies, has_object_reference},
};

pub(super) static METRIC: Metric = Metric {
    name: "field_precision",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of the fields given that are right, pooled over rows; a value must match exactly",
    kinds: JSON,
    settings: &[],
    rule: Rule::Corpus(Corpus {
        scorable: has_object_reference,
        statistic,
    }),
};

fn statistic(samples: &[&Sample], context: &Context<'_>) -> Box<dyn Statistic> {
    Box::new(Pooled::new(
        field_tallies(samples, context.kind(), None),
        Tally::precision,
    ))
}
