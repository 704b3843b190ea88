//! F1 of each label, averaged with equal weight.

use super::{CLASSIFY, Context, Corpus, Direction, Metric, Rule, Unit, has_reference};
use crate::{Sample, Statistic, confusion::LabelCodes};

pub(super) static METRIC: Metric = Metric {
    name: "macro_f1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean F1 over the labels that occur in references or answers; an invalid reply misses its label",
    kinds: CLASSIFY,
    settings: &[],
    rule: Rule::Corpus(Corpus {
        scorable: has_reference,
        statistic,
    }),
};

fn statistic(samples: &[&Sample], _context: &Context<'_>) -> Box<dyn Statistic> {
    Box::new(MacroF1(LabelCodes::of(samples)))
}

struct MacroF1(LabelCodes);

impl Statistic for MacroF1 {
    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let per_label: Vec<f64> = self
            .0
            .tally(weights)
            .iter()
            .filter_map(|label| label.f1())
            .collect();
        (!per_label.is_empty()).then(|| per_label.iter().sum::<f64>() / per_label.len() as f64)
    }
}
