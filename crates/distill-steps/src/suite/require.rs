//! Requirements: `[ANSWERER:]SCORER>=NUMBER`, held by the end of the interval that could be worse.

use std::{fmt, str::FromStr};

use distill_eval::{Aggregate, METRICS, Unit};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};

use super::{Summary, compare::is_called};

/// A bound that results must keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// A scorer, or `ANSWERER:SCORER`.
    target: String,
    bound: Bound,
    value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtLeast,
    AtMost,
}

/// What became of a requirement for one answerer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequirementResult {
    /// As written.
    pub requirement: String,
    pub answerer: String,
    pub scorer: String,
    pub met: bool,
    /// The value with the end of the interval that was held against the bound, or why there is none.
    pub reason: String,
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.bound {
            Bound::AtLeast => ">=",
            Bound::AtMost => "<=",
        };
        write!(formatter, "{}{sign}{}", self.target, self.value)
    }
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = "write `SCORER>=NUMBER`, `SCORER<=NUMBER` or `ANSWERER:SCORER>=NUMBER`";
        let split = |sign: &str| text.rsplit_once(sign);
        let (target, bound, value) = match (split(">="), split("<=")) {
            (Some((target, value)), _) => (target, Bound::AtLeast, value),
            (None, Some((target, value))) => (target, Bound::AtMost, value),
            (None, None) => return Err(format!("no `>=` or `<=` in it: {help}")),
        };
        let value = value
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .ok_or_else(|| format!("`{}` is not a number: {help}", value.trim()))?;
        let target = target.trim();
        if target.is_empty() {
            return Err(format!("no scorer is named: {help}"));
        }
        Ok(Self {
            target: target.to_owned(),
            bound,
            value,
        })
    }
}

impl Requirement {
    /// The answerer, where one is named, and the scorer.
    fn find<'a>(
        &self,
        answerers: &'a [String],
        scorers: &'a [String],
    ) -> Option<(Option<&'a str>, &'a str)> {
        let scorer = |wanted: &str| {
            let mut called = scorers.iter().filter(|name| is_called(name, wanted));
            let first = called.next()?;
            // Two settings of one scorer: its bare name does not say which is meant.
            (called.next().is_none() || first == wanted).then_some(first.as_str())
        };
        if let Some(scorer) = scorer(&self.target) {
            return Some((None, scorer));
        }
        self.target.match_indices(':').find_map(|(colon, _)| {
            let answerer = answerers
                .iter()
                .find(|name| **name == self.target[..colon])?;
            Some((Some(answerer.as_str()), scorer(&self.target[colon + 1..])?))
        })
    }

    /// Whether it names an answerer and a scorer that there are: before anything is asked.
    ///
    /// # Errors
    /// A [`StepFailure`] that lists those there are.
    pub fn check(&self, answerers: &[String], scorers: &[String]) -> Result<(), StepFailure> {
        if let Some((_, scorer)) = self.find(answerers, scorers) {
            return self.check_value(scorer);
        }
        Err(
            StepFailure::bad_input(format!("`--require {self}` names no scorer of the suite"))
                .hint(format!(
                    "the scorers are {}; before one may stand an answerer and a colon: {}",
                    scorers.join(", "),
                    answerers.join(", ")
                )),
        )
    }

    /// A bound outside the scorer's scale says nothing, or can never be met: a share of 0.9 written as
    /// 90, mostly.
    fn check_value(&self, scorer: &str) -> Result<(), StepFailure> {
        let metric = METRICS.iter().find(|metric| is_called(scorer, metric.name));
        let top = match metric.map(|metric| metric.unit) {
            Some(Unit::Share | Unit::Score0To1) => 1.0,
            Some(Unit::Score0To100) => 100.0,
            Some(Unit::Points) | None => return Ok(()),
        };
        if (0.0..=top).contains(&self.value) {
            return Ok(());
        }
        Err(StepFailure::bad_input(format!(
            "`--require {self}`: `{scorer}` goes from 0 to {top}, and {} lies outside",
            self.value
        ))
        .hint("`distill eval scorers` shows the unit of each"))
    }

    /// Whether figures keep the bound, and why.
    pub(super) fn judge(&self, figures: &Aggregate) -> (bool, String) {
        let (Some(value), Some(interval)) = (figures.value, figures.interval.as_ref()) else {
            return (false, "nothing could be scored".to_owned());
        };
        let (end, word, met) = match self.bound {
            Bound::AtLeast => (interval.low, "lower", interval.low >= self.value),
            Bound::AtMost => (interval.high, "upper", interval.high <= self.value),
        };
        let reason = format!(
            "{value:.4}, and the {word} end of its {}% interval is {end:.4}",
            interval.confidence * 100.0
        );
        (met, reason)
    }
}

impl Summary {
    /// Holds the results to requirements and keeps what came out. Gives whether all are met.
    ///
    /// # Errors
    /// As [`Requirement::check`].
    pub fn require(&mut self, requirements: &[Requirement]) -> Result<bool, StepFailure> {
        let answerers: Vec<String> = self.answerers.iter().map(|one| one.name.clone()).collect();
        let scorers: Vec<String> = self.scorers.iter().map(|one| one.name.clone()).collect();
        for requirement in requirements {
            requirement.check(&answerers, &scorers)?;
            let Some((answerer, name)) = requirement.find(&answerers, &scorers) else {
                continue;
            };
            let Some(scorer) = self.scorers.iter().find(|one| one.name == name) else {
                continue;
            };
            for (one, figures) in answerers.iter().zip(&scorer.values) {
                if answerer.is_some_and(|wanted| wanted != one) {
                    continue;
                }
                let (met, reason) = requirement.judge(figures);
                self.requirements.push(RequirementResult {
                    requirement: requirement.to_string(),
                    answerer: one.clone(),
                    scorer: name.to_owned(),
                    met,
                    reason,
                });
            }
        }
        Ok(self.requirements.iter().all(|result| result.met))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_outside_the_scale_is_refused_before_anything_is_asked() {
        let scorers = ["accuracy", "bleu", "numeric(tolerance=0.01)", "of_my_own"]
            .map(str::to_owned)
            .to_vec();
        let check = |text: &str| {
            let requirement: Requirement = text.parse().unwrap();
            requirement.check(&["small".to_owned()], &scorers)
        };
        for inside in [
            "accuracy>=0",
            "accuracy>=1",
            "bleu>=40",
            "small:numeric>=0.5",
            // Nothing is known of its scale.
            "of_my_own>=1234",
        ] {
            check(inside).unwrap_or_else(|error| panic!("{inside}: {error}"));
        }
        for outside in ["accuracy>=90", "accuracy<=-0.1", "bleu>=101", "numeric>=2"] {
            let refused = check(outside).expect_err(outside);
            assert!(refused.message.contains("from 0 to"), "{refused}");
        }
    }
}
