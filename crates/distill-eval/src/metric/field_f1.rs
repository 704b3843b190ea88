//! The harmonic mean of field precision and recall.

use distill_chat::Task;

use super::{Direction, EXTRACT, Metric, Rule, Unit};
use crate::{
    Sample, Statistic,
    fields::{FieldCounts, PooledFields, Tally},
};

pub(super) static METRIC: Metric = Metric {
    name: "field_f1",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "F1 of fields pooled over rows (span F1 by exact value); an invalid reply finds nothing",
    kinds: EXTRACT,
    rule: Rule::Corpus(statistic),
};

fn statistic(samples: &[&Sample], _task: &Task) -> Box<dyn Statistic> {
    Box::new(PooledFields::new(FieldCounts::of(samples, None), Tally::f1))
}
