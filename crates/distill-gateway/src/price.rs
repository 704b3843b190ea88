//! What a token costs: dated data, not code (`data/prices.json`, whose README says how it was made).

use std::sync::LazyLock;

use distill_chat::Usage;
use serde::Deserialize;

use crate::{Usd, vendor::Vendor};

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The project's dated table.
    Table,
    /// The user's own figure.
    Custom,
    /// Made up, like the answers it is charged for.
    Simulated,
    /// The user's own machine: tokens are free, time is not.
    Local,
}

/// What one token of each class costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    pub input: Usd,
    pub output: Usd,
    /// `None`: charged like other input, which is never less than the truth.
    pub cached_input: Option<Usd>,
    pub cache_write: Option<Usd>,
    /// The day the table was read (`YYYY-MM-DD`); `None` where no table was.
    pub as_of: Option<String>,
    pub source: PriceSource,
}

#[derive(Deserialize)]
struct Table {
    as_of: String,
    prices: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    vendor: String,
    model: String,
    input: f64,
    output: f64,
    cached_input: Option<f64>,
    cache_write: Option<f64>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/prices.json"))
        .expect("the price table is part of the program and a test reads it")
});

impl Price {
    /// A price per million tokens.
    pub fn per_million(input: f64, output: f64, cached: Option<f64>, source: PriceSource) -> Self {
        Self {
            input: Usd::per_token(input),
            output: Usd::per_token(output),
            cached_input: cached.map(Usd::per_token),
            cache_write: None,
            as_of: None,
            source,
        }
    }

    /// The price of a model in the table; a dated snapshot costs what its alias costs.
    pub(crate) fn of(vendor: &Vendor, model: &str) -> Option<Self> {
        if vendor.local {
            return Some(Self::per_million(0.0, 0.0, None, PriceSource::Local));
        }
        let name = if vendor.simulated {
            "simulated"
        } else {
            vendor.name
        };
        let row = TABLE.prices.iter().find(|row| {
            row.vendor == name && (row.model == model || row.model == without_date(model))
        })?;
        Some(Self {
            input: Usd::per_token(row.input),
            output: Usd::per_token(row.output),
            cached_input: row.cached_input.map(Usd::per_token),
            cache_write: row.cache_write.map(Usd::per_token),
            as_of: (!vendor.simulated).then(|| TABLE.as_of.clone()),
            source: if vendor.simulated {
                PriceSource::Simulated
            } else {
                PriceSource::Table
            },
        })
    }

    /// What a reported usage costs. `None` when input or output were not reported.
    pub fn cost(&self, usage: &Usage) -> Option<Usd> {
        let input = usage.input_tokens?;
        let output = usage.output_tokens?;
        Some(
            self.input * input
                + self.cached_input.unwrap_or(self.input)
                    * usage.cached_input_tokens.unwrap_or_default()
                + self.cache_write.unwrap_or(self.input)
                    * usage.cache_write_tokens.unwrap_or_default()
                + self.output * (output + usage.reasoning_tokens.unwrap_or_default()),
        )
    }

    /// The most that a request can cost: every token in the dearest class of its side.
    pub fn worst_case(&self, input_tokens: u64, output_tokens: u64) -> Usd {
        let input = [
            self.input,
            self.cached_input.unwrap_or_default(),
            self.cache_write.unwrap_or_default(),
        ]
        .into_iter()
        .max()
        .unwrap_or_default();
        input * input_tokens + self.output * output_tokens
    }

    /// Days between the table and `today` (days since 1970-01-01).
    pub fn age_in_days(&self, today: i64) -> Option<i64> {
        let mut parts = self.as_of.as_deref()?.split('-');
        let mut next = || parts.next()?.parse::<i64>().ok();
        let (year, month, day) = (next()?, next()?, next()?);
        Some(today - days_since_epoch(year, month, day))
    }
}

/// Takes `-2025-04-14` or `-20250929` off the end of a model's name.
fn without_date(model: &str) -> &str {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let dashed = |text: &str| {
        text.len() == 11
            && text.bytes().enumerate().all(|(index, byte)| {
                if matches!(index, 0 | 5 | 8) {
                    byte == b'-'
                } else {
                    byte.is_ascii_digit()
                }
            })
    };
    if let Some(start) = model.len().checked_sub(11)
        && model.get(start..).is_some_and(dashed)
    {
        return &model[..start];
    }
    match model.rsplit_once('-') {
        Some((name, date)) if date.len() == 8 && digits(date) => name,
        _ => model,
    }
}

/// Days of a date of the Gregorian calendar since 1970-01-01.
pub(crate) fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years run from March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use distill_chat::Usage;

    use super::{PriceSource, TABLE, days_since_epoch, without_date};
    use crate::{Price, Usd, vendor};

    #[test]
    fn every_row_of_the_table_belongs_to_a_vendor_and_is_a_price() {
        for row in &TABLE.prices {
            assert!(vendor(&row.vendor).is_some(), "{}", row.vendor);
            assert!(row.input > 0.0 && row.output >= row.input, "{}", row.model);
            assert!(
                row.cached_input.is_none_or(|cached| cached < row.input),
                "{}",
                row.model
            );
        }
        assert_eq!(TABLE.as_of.len(), 10);
    }

    #[test]
    fn a_dated_snapshot_costs_what_its_alias_costs() {
        let openai = vendor("openai").unwrap();
        assert_eq!(
            Price::of(openai, "gpt-4.1-nano-2025-04-14"),
            Price::of(openai, "gpt-4.1-nano")
        );
        assert!(Price::of(openai, "gpt-4.1-nano").is_some());
        assert_eq!(
            without_date("claude-sonnet-4-5-20250929"),
            "claude-sonnet-4-5"
        );
        assert_eq!(without_date("gpt-4.1-nano"), "gpt-4.1-nano");
        assert_eq!(Price::of(openai, "unheard-of"), None);
    }

    #[test]
    fn classes_are_charged_apart_and_a_missing_usage_has_no_cost() {
        let price = Price::per_million(2.0, 8.0, Some(0.5), PriceSource::Custom);
        let usage = Usage {
            input_tokens: Some(100),
            cached_input_tokens: Some(1000),
            output_tokens: Some(10),
            reasoning_tokens: Some(20),
            ..Usage::default()
        };
        assert_eq!(
            price.cost(&usage),
            Some(Usd::from_dollars(0.0002 + 0.0005 + 0.000_24))
        );
        assert_eq!(price.cost(&Usage::default()), None);
    }

    #[test]
    fn a_simulated_price_says_so_and_has_no_date() {
        let price = Price::of(vendor("simulated-anthropic").unwrap(), "frontier").unwrap();
        assert_eq!(price.source, PriceSource::Simulated);
        assert_eq!(price.as_of, None);
    }

    #[test]
    fn the_age_counts_calendar_days() {
        assert_eq!(days_since_epoch(1970, 1, 1), 0);
        assert_eq!(days_since_epoch(2000, 3, 1), 11_017);
        assert_eq!(
            days_since_epoch(2024, 2, 29) + 1,
            days_since_epoch(2024, 3, 1)
        );
        let mut price = Price::per_million(1.0, 1.0, None, PriceSource::Table);
        price.as_of = Some("2026-07-24".into());
        assert_eq!(price.age_in_days(days_since_epoch(2026, 8, 3)), Some(10));
    }
}
