//! Of the fields that should be there, how many were found.

use distill_chat::Task;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{
    Sample, Statistic,
    fields::{FieldCounts, PooledFields, Tally},
};

pub(super) static METRIC: Metric = Metric {
    name: "field_recall",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of the reference fields that were found, pooled over rows; a value must match exactly",
    kinds: EXTRACT,
    rule: Rule::Corpus(statistic),
};

fn statistic(samples: &[&Sample], _task: &Task) -> Box<dyn Statistic> {
    Box::new(PooledFields::new(
        FieldCounts::of(samples, None),
        Tally::recall,
    ))
}
