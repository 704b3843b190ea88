//! What answers are scored by: the metric of the verdict, and those shown beside it.

use distill_chat::TaskKind;
use distill_eval::{Metric, Rule, Scale, Scorer, metric, primary_metric};
use distill_runner::StepFailure;

use crate::action::Compare;

/// The metric of the verdict first.
pub(super) struct Scorers(Vec<Scorer>);

impl Scorers {
    /// # Errors
    /// A [`StepFailure`] for a metric that does not exist or cannot decide; specs are checked for
    /// both when they are read.
    pub(super) fn of(settings: &Compare) -> Result<Self, StepFailure> {
        let parse = |name: &str, options: &serde_json::Map<String, serde_json::Value>| {
            Scorer::parse(name, options).map_err(|error| {
                StepFailure::bad_input(format!("scorer `{name}` cannot be used")).caused_by(error)
            })
        };
        let kind = settings.task.kind;
        let shown = if settings.scorers.is_empty() {
            usual(kind).into_iter().map(Scorer::plain).collect()
        } else {
            settings
                .scorers
                .iter()
                .map(|scorer| parse(&scorer.name, &scorer.settings))
                .collect::<Result<Vec<_>, _>>()?
        };
        let name = primary_name(settings);
        // A metric that is shown with settings decides with them.
        let primary = match shown.iter().find(|scorer| scorer.metric.name == name) {
            Some(scorer) => scorer.clone(),
            None => parse(name, &serde_json::Map::new())?,
        };
        if !primary.metric.scores_rows() {
            return Err(StepFailure::bad_input(format!(
                "a verdict cannot rest on `{name}`: it has no value for a single row"
            ))
            .hint("name another metric in `evals.metric`"));
        }
        let first = primary.name();
        let mut scorers = vec![primary];
        scorers.extend(shown.into_iter().filter(|scorer| scorer.name() != first));
        Ok(Self(scorers))
    }

    /// What the verdict rests on.
    pub(super) fn primary(&self) -> &Scorer {
        &self.0[0]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Scorer> {
        self.0.iter()
    }

    /// Whether the primary metric calls each row right or wrong.
    pub(super) fn decides_by_share(&self) -> bool {
        matches!(self.primary().metric.rule, Rule::Share(_))
    }

    /// What the primary metric's numbers mean.
    pub(super) fn scale(&self) -> Scale {
        let metric = self.primary().metric;
        Scale::of(metric.unit, metric.direction)
    }

    /// The first one that has a value for the whole set only.
    pub(super) fn corpus(&self) -> Option<&Scorer> {
        self.0.iter().find(|scorer| !scorer.metric.scores_rows())
    }
}

/// The name of the metric that a comparison's verdict rests on.
pub(crate) fn primary_name(settings: &Compare) -> &str {
    settings
        .metric
        .as_deref()
        .unwrap_or(primary_metric(settings.task.kind).name)
}

/// The scorer of the verdict as every figure names it: the metric with the settings it is used with.
pub(crate) fn primary_scorer_name(settings: &Compare) -> String {
    Scorers::of(settings).map_or_else(
        // Settings that make no scorer make no figure either.
        |_| primary_name(settings).to_owned(),
        |scorers| scorers.primary().name(),
    )
}

/// What is shown where the spec does not say.
fn usual(kind: TaskKind) -> Vec<&'static Metric> {
    let names: &[&str] = match kind {
        TaskKind::Classify => &["accuracy", "macro_f1"],
        TaskKind::Extract => &[
            "json_exact_object",
            "field_f1",
            "field_precision",
            "field_recall",
            "json_parses",
            "json_matches_schema",
        ],
        TaskKind::Generate => &["normalised_match", "token_f1", "rouge_l", "chrf"],
    };
    names.iter().filter_map(|name| metric(name)).collect()
}

#[cfg(test)]
mod tests {
    use distill_pipeline::spec::ScorerSpec;
    use serde_json::json;

    use super::{super::tests, Scorers, primary_scorer_name};
    use crate::action::Compare;

    #[test]
    fn a_metric_shown_with_settings_decides_with_them_and_is_named_so_everywhere() {
        let settings = Compare {
            metric: Some("regex".to_owned()),
            scorers: vec![ScorerSpec {
                name: "regex".to_owned(),
                settings: json!({"pattern": "c.t"}).as_object().unwrap().clone(),
            }],
            ..tests::settings(&tests::arms())
        };
        assert_eq!(primary_scorer_name(&settings), "regex(pattern=c.t)");
        let scorers = Scorers::of(&settings).unwrap();
        assert_eq!(scorers.primary().name(), primary_scorer_name(&settings));
        assert_eq!(scorers.all().count(), 1);
        let plain = tests::settings(&tests::arms());
        assert_eq!(primary_scorer_name(&plain), "accuracy");
    }
}
