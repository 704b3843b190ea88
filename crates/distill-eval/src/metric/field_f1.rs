//! The harmonic mean of field precision and recall.

use super::{Context, Corpus, Direction, JSON, Metric, Rule, Unit};
use crate::{
    Sample, Statistic,
    fields::{Pooled, Tally, field_tallies, has_object_reference},
};

pub(super) static METRIC: Metric = Metric {
    name: "field_f1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "F1 of fields pooled over rows (span F1 by exact value); an invalid reply finds nothing",
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
        Tally::f1,
    ))
}
