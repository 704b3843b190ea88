//! F1 of the pooled label counts.

use super::{CLASSIFY, Context, Corpus, Direction, Metric, Rule, Unit, has_reference};
use crate::{Sample, Statistic, confusion::LabelCodes};

pub(super) static METRIC: Metric = Metric {
    name: "micro_f1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "F1 of the counts pooled over labels; equals accuracy when every reply is a label",
    kinds: CLASSIFY,
    settings: &[],
    rule: Rule::Corpus(Corpus {
        scorable: has_reference,
        statistic,
    }),
};

fn statistic(samples: &[&Sample], _context: &Context<'_>) -> Box<dyn Statistic> {
    Box::new(MicroF1(LabelCodes::of(samples)))
}

struct MicroF1(LabelCodes);

impl Statistic for MicroF1 {
    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let pooled = self
            .0
            .tally(weights)
            .into_iter()
            .fold(crate::fields::Tally::default(), |sum, label| sum + label);
        pooled.f1()
    }
}
