//! A metric with its settings, ready to score.

use std::collections::BTreeMap;

use distill_chat::{Fields, ObjectSchema, Task};
use regex::Regex;
use serde_json::{Map, Value};

use super::{Context, Metric, Rule, metric};
use crate::{Sample, Score, ScoredRow, Statistic, stats::Mean};

#[cfg(test)]
mod tests;

/// What a setting's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// A text that is not empty.
    Text,
    /// A finite number, 0 or more.
    Number,
    /// A whole number, 0 or more.
    Count,
    /// `true` or `false`.
    Flag,
    /// A regular expression.
    Pattern,
    /// The JSON schema of a flat object.
    Schema,
}

impl SettingKind {
    /// As a message names it.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text that is not empty",
            Self::Number => "a number, 0 or more",
            Self::Count => "a whole number from 0 to 100",
            Self::Flag => "true or false",
            Self::Pattern => "a regular expression",
            Self::Schema => "the JSON schema of a flat object",
        }
    }
}

/// A setting that a metric takes.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub name: &'static str,
    pub kind: SettingKind,
    /// Without it the metric scores nothing.
    pub required: bool,
    /// What it does and its default, in one line.
    pub description: &'static str,
}

/// Why a scorer cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScorerError {
    #[error("there is no scorer `{name}`; the scorers are {known}")]
    Unknown { name: String, known: String },
    #[error("scorer `{scorer}` has no setting `{setting}`; it takes {known}")]
    UnknownSetting {
        scorer: &'static str,
        setting: String,
        known: String,
    },
    #[error("scorer `{scorer}` needs the setting `{setting}`: {description}")]
    Missing {
        scorer: &'static str,
        setting: &'static str,
        description: &'static str,
    },
    #[error("setting `{setting}` of scorer `{scorer}` must be {expected}: {problem}")]
    Value {
        scorer: &'static str,
        setting: &'static str,
        expected: &'static str,
        problem: String,
    },
}

/// Settings as rules read them: checked, patterns and schemas compiled.
#[derive(Debug, Clone, Default)]
pub struct Options {
    values: BTreeMap<&'static str, OptionValue>,
}

/// A regular expression, to be found in a text or to fit the whole of it.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) part: Regex,
    pub(crate) whole: Regex,
}

#[derive(Debug, Clone)]
enum OptionValue {
    Text(String),
    Number(f64),
    Flag(bool),
    Pattern(Pattern),
    Schema(ObjectSchema),
}

impl Options {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            OptionValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.values.get(name)? {
            OptionValue::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// `false` where it is left out.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(OptionValue::Flag(true)))
    }

    pub(crate) fn pattern(&self, name: &str) -> Option<&Pattern> {
        match self.values.get(name)? {
            OptionValue::Pattern(pattern) => Some(pattern),
            _ => None,
        }
    }

    pub(crate) fn schema(&self, name: &str) -> Option<&ObjectSchema> {
        match self.values.get(name)? {
            OptionValue::Schema(schema) => Some(schema),
            _ => None,
        }
    }
}

/// A metric with its settings.
#[derive(Debug, Clone)]
pub struct Scorer {
    pub metric: &'static Metric,
    /// As written.
    pub settings: Map<String, Value>,
    options: Options,
}

impl Scorer {
    /// # Errors
    /// When there is no such metric, or a setting is unknown, missing or not of its kind.
    pub fn parse(name: &str, settings: &Map<String, Value>) -> Result<Self, ScorerError> {
        let metric = metric(name).ok_or_else(|| ScorerError::Unknown {
            name: name.to_owned(),
            known: listed(super::METRICS.iter().map(|metric| metric.name)),
        })?;
        let mut values = BTreeMap::new();
        for (given, value) in settings {
            let setting = metric.settings.iter().find(|known| known.name == given);
            let setting = setting.ok_or_else(|| ScorerError::UnknownSetting {
                scorer: metric.name,
                setting: given.clone(),
                known: listed(metric.settings.iter().map(|setting| setting.name)),
            })?;
            let read = read(setting.kind, value).map_err(|problem| ScorerError::Value {
                scorer: metric.name,
                setting: setting.name,
                expected: setting.kind.expected(),
                problem,
            })?;
            values.insert(setting.name, read);
        }
        let missing = metric
            .settings
            .iter()
            .find(|setting| setting.required && !values.contains_key(setting.name));
        if let Some(setting) = missing {
            return Err(ScorerError::Missing {
                scorer: metric.name,
                setting: setting.name,
                description: setting.description,
            });
        }
        Ok(Self {
            metric,
            settings: settings.clone(),
            options: Options { values },
        })
    }

    /// A metric without settings. One that needs a setting scores no row and says which is missing.
    pub fn plain(metric: &'static Metric) -> Self {
        Self {
            metric,
            settings: Map::new(),
            options: Options::default(),
        }
    }

    /// The metric's name, with the settings where there are any: `numeric(tolerance=0.01)`.
    pub fn name(&self) -> String {
        if self.settings.is_empty() {
            return self.metric.name.to_owned();
        }
        let mut settings: Vec<String> = self
            .settings
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text}"),
                value => format!("{name}={value}"),
            })
            .collect();
        settings.sort();
        format!("{}({})", self.metric.name, settings.join(", "))
    }

    /// The column that holds the option texts of a multiple-choice row, where the settings name
    /// one.
    pub fn choices_column(&self) -> Option<&str> {
        self.options.text(super::multiple_choice::CHOICES)
    }

    /// The option texts of a data row, for [`Sample::choices`]: a list of texts, or a text that
    /// holds one as JSON. Empty where the settings name no column or it holds none.
    pub fn choices(&self, row: &Fields) -> Vec<String> {
        let Some(value) = self.choices_column().and_then(|column| row.get(column)) else {
            return Vec::new();
        };
        let list = match value {
            Value::String(text) => serde_json::from_str(text).ok(),
            value => serde_json::from_value(value.clone()).ok(),
        };
        list.unwrap_or_default()
    }

    /// The score of one sample; `None` for a metric that has a value for the whole set only.
    pub fn score(&self, sample: &Sample, task: &Task) -> Option<Score> {
        match self.metric.rule {
            Rule::Share(score) | Rule::Mean(score) => Some(score(sample, &self.context(task))),
            Rule::Corpus(_) => None,
        }
    }

    /// The score of each sample, in their order; `None` for a metric that has a value for the whole
    /// set only.
    pub fn score_all(&self, samples: &[Sample], task: &Task) -> Option<Vec<ScoredRow>> {
        samples
            .iter()
            .map(|sample| {
                Some(ScoredRow {
                    id: sample.id.clone(),
                    score: self.score(sample, task)?,
                })
            })
            .collect()
    }

    /// Why the metric cannot count this sample; `None` when it can.
    pub(crate) fn unscored_reason(&self, sample: &Sample, task: &Task) -> Option<String> {
        let context = self.context(task);
        let score = match self.metric.rule {
            Rule::Share(score) | Rule::Mean(score) => score(sample, &context),
            Rule::Corpus(corpus) => (corpus.scorable)(sample, &context).err()?,
        };
        match score {
            Score::Value(_) => None,
            Score::Unscored { reason } => Some(reason),
        }
    }

    /// The value over samples that can all be counted, as a bootstrap draws it.
    pub(crate) fn statistic(&self, samples: &[&Sample], task: &Task) -> Box<dyn Statistic> {
        let context = self.context(task);
        match self.metric.rule {
            Rule::Corpus(corpus) => (corpus.statistic)(samples, &context),
            Rule::Share(score) | Rule::Mean(score) => Box::new(Mean(
                samples
                    .iter()
                    .filter_map(|sample| score(sample, &context).value())
                    .collect(),
            )),
        }
    }

    pub(crate) fn context<'a>(&'a self, task: &'a Task) -> Context<'a> {
        Context {
            task,
            options: &self.options,
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        "no settings".to_owned()
    } else {
        names.join(", ")
    }
}

fn read(kind: SettingKind, value: &Value) -> Result<OptionValue, String> {
    let found = || format!("`{value}` is given");
    match kind {
        SettingKind::Text => value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(|text| OptionValue::Text(text.to_owned()))
            .ok_or_else(found),
        SettingKind::Number => value
            .as_f64()
            .filter(|number| number.is_finite() && *number >= 0.0)
            .map(OptionValue::Number)
            .ok_or_else(found),
        SettingKind::Count => value
            .as_u64()
            .filter(|count| *count <= 100)
            .map(|count| OptionValue::Number(count as f64))
            .ok_or_else(found),
        SettingKind::Flag => value.as_bool().map(OptionValue::Flag).ok_or_else(found),
        SettingKind::Pattern => {
            let text = value.as_str().ok_or_else(found)?;
            let compile = |text: &str| Regex::new(text).map_err(|error| error.to_string());
            Ok(OptionValue::Pattern(Pattern {
                part: compile(text)?,
                // A shorter alternative that is preferred elsewhere must not hide a longer one.
                whole: compile(&format!(r"\A(?:{text})\z"))?,
            }))
        }
        SettingKind::Schema => ObjectSchema::parse(value)
            .map(OptionValue::Schema)
            .map_err(|error| error.to_string()),
    }
}
