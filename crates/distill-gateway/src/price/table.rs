//! The price table: rows, their dates, and how one is looked up.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Price, PriceSource, Rates, days_of_date, without_date};
use crate::{Usd, vendor::vendor};

/// Prices in USD per million tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// The day its dated sources were read (`YYYY-MM-DD`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// What was done where two sources differ.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<TableSource>,
    pub prices: Vec<PriceRow>,
}

/// A file that rows were taken from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    pub name: String,
    /// `None`: the file states no date.
    pub as_of: Option<String>,
    pub sha256: String,
    pub licence: String,
}

/// What a model costs in a stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    pub vendor: String,
    pub model: String,
    pub input: f64,
    pub output: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Longer requests, shortest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierRates>,
    /// Through the vendor's batch endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRates>,
    /// The first day of this price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first day on which it holds no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The name of the source that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The day on which that source was read, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// What the other source says instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disagrees: Option<Disagreement>,
}

/// What all tokens cost in a request with more than `above` tokens of input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierRates {
    pub above: u64,
    pub input: f64,
    pub output: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRates {
    pub input: f64,
    pub output: f64,
}

/// The figures of a source that was not taken, where they differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disagreement {
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Absent where they agree; empty where the source knows no tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<TierRates>>,
}

/// Why a price table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceTableError {
    #[error("this is not a price table")]
    Shape(#[source] serde_json::Error),
    #[error("the price of `{model}` is no number of dollars of 0 or more")]
    Price { model: String },
    #[error("the table prices `{model}`, and there is no vendor `{vendor}`")]
    Vendor { vendor: String, model: String },
    #[error("`{date}` of `{model}` is not a date as 2026-01-31")]
    Date { model: String, date: String },
}

static EMBEDDED: LazyLock<PriceTable> = LazyLock::new(|| {
    PriceTable::read(include_str!("../../data/prices.json"))
        .expect("the price table is part of the program and a test reads it")
});

impl PriceTable {
    /// The project's own table.
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// Reads a table and checks every row.
    ///
    /// # Errors
    /// [`PriceTableError`] names the row that does not hold.
    pub fn read(text: &str) -> Result<Self, PriceTableError> {
        let table: Self = serde_json::from_str(text).map_err(PriceTableError::Shape)?;
        for row in &table.prices {
            row.check()?;
        }
        Ok(table)
    }

    /// The table as text, one row a line: the same table gives the same bytes.
    pub fn to_text(&self) -> String {
        let as_of = self
            .as_of
            .as_ref()
            .map_or_else(String::new, |as_of| format!("\"as_of\":{},\n", line(as_of)));
        let rows: Vec<String> = self.prices.iter().map(line).collect();
        format!(
            "{{\n{as_of}\"rule\":{},\n\"sources\":{},\n\"prices\":[\n{}\n]\n}}\n",
            line(&self.rule),
            line(&self.sources),
            rows.join(",\n")
        )
    }

    /// This table's rows, and those of `base` for the models that it does not price.
    #[must_use]
    pub fn over(mut self, base: &Self) -> Self {
        let missing: Vec<PriceRow> = base
            .prices
            .iter()
            .filter(|row| {
                !self
                    .prices
                    .iter()
                    .any(|own| own.vendor == row.vendor && own.model == row.model)
            })
            .cloned()
            .collect();
        self.prices.extend(missing);
        self
    }

    /// The row of a model on a day; `None`: on the day that the row was read. A dated snapshot
    /// (`gpt-4.1-2025-04-14`) without a row of its own is priced like its alias.
    pub fn find(&self, vendor: &str, model: &str, day: Option<&str>) -> Option<&PriceRow> {
        let holds = |name: &str| {
            self.prices.iter().find(|row| {
                let day = day.or(row.as_of.as_deref()).or(self.as_of.as_deref());
                row.vendor == vendor && row.model == name && row.holds_on(day)
            })
        };
        holds(model).or_else(|| holds(without_date(model)))
    }
}

/// One line of JSON.
fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a price table is plain data")
}

impl PriceRow {
    /// `vendor/model`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.model)
    }

    /// Whether the price holds on a day. Dates in this form sort as text.
    pub fn holds_on(&self, day: Option<&str>) -> bool {
        let Some(day) = day else {
            return self.to.is_none();
        };
        self.from.as_deref().is_none_or(|from| from <= day)
            && self.to.as_deref().is_none_or(|to| day < to)
    }

    /// The price as requests are charged.
    pub fn price(&self) -> Price {
        Price {
            base: Rates {
                input: Usd::per_token(self.input),
                output: Usd::per_token(self.output),
                cached_input: self.cached_input.map(Usd::per_token),
                cache_write: self.cache_write.map(Usd::per_token),
            },
            tiers: self
                .tiers
                .iter()
                .map(|tier| {
                    let rates = Rates {
                        input: Usd::per_token(tier.input),
                        output: Usd::per_token(tier.output),
                        cached_input: tier.cached_input.map(Usd::per_token),
                        cache_write: tier.cache_write.map(Usd::per_token),
                    };
                    (tier.above, rates)
                })
                .collect(),
            as_of: self.as_of.clone(),
            source: PriceSource::Table,
            note: self.note(),
        }
    }

    /// Which source, and what the other says.
    pub fn note(&self) -> Option<String> {
        let source = self.source.as_deref()?;
        let mut note = match &self.as_of {
            Some(_) => format!("from {source}"),
            None => format!("from {source}, which states no date"),
        };
        if let Some(other) = &self.disagrees {
            let said = [
                ("input", other.input),
                ("output", other.output),
                ("cached input", other.cached_input),
                ("cache write", other.cache_write),
            ]
            .into_iter()
            .filter_map(|(what, usd)| Some(format!("{what} ${}", usd?)))
            .chain(other.tiers.as_ref().map(|tiers| {
                if tiers.is_empty() {
                    "no price for long requests".to_owned()
                } else {
                    "other prices for long requests".to_owned()
                }
            }))
            .collect::<Vec<_>>();
            note = format!("{note}; {} says {}", other.source, said.join(", "));
        }
        Some(note)
    }

    fn check(&self) -> Result<(), PriceTableError> {
        if vendor(&self.vendor).is_none() {
            return Err(PriceTableError::Vendor {
                vendor: self.vendor.clone(),
                model: self.model.clone(),
            });
        }
        let tiers = self.tiers.iter().flat_map(|tier| {
            [
                Some(tier.input),
                Some(tier.output),
                tier.cached_input,
                tier.cache_write,
            ]
        });
        let base = [
            Some(self.input),
            Some(self.output),
            self.cached_input,
            self.cache_write,
        ];
        let mut prices = base.into_iter().chain(tiers).flatten();
        if !prices.all(|price| price.is_finite() && price >= 0.0) {
            return Err(PriceTableError::Price { model: self.name() });
        }
        let dates = [&self.from, &self.to, &self.as_of];
        match dates
            .into_iter()
            .flatten()
            .find(|date| date.len() != 10 || days_of_date(date).is_none())
        {
            None => Ok(()),
            Some(date) => Err(PriceTableError::Date {
                model: self.name(),
                date: date.clone(),
            }),
        }
    }
}
