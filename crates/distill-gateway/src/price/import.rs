//! Makes the price table from two public ones: `LiteLLM`'s `model_prices_and_context_window.json` and
//! `genai-prices`' `data.json`, facts only.
//!
//! Where both price a model, `LiteLLM`'s figures are taken: its copy says on which day it was read and
//! lists one model a key, while the other states no date and prices whole families by pattern. The
//! row says what the other says. Models that only one knows come from that one. Prices that change on
//! a day are known from the second alone; `LiteLLM`'s stand for the stretch that holds the day on
//! which they were read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    days_of_date,
    table::{BatchRates, Disagreement, PriceRow, PriceTable, TableSource, TierRates},
};

const LITELLM: &str = "litellm";
const GENAI: &str = "genai-prices";
const RULE: &str = "where both price a model, litellm is taken: it states its date and lists one model a key; the row says what genai-prices says instead";

/// Vendors as this program names them, by `LiteLLM`'s and by genai-prices' name.
const VENDORS: [(&str, &str, &str); 7] = [
    ("openai", "openai", "openai"),
    ("anthropic", "anthropic", "anthropic"),
    ("groq", "groq", "groq"),
    ("deepseek", "deepseek", "deepseek"),
    ("xai", "xai", "x-ai"),
    ("openrouter", "openrouter", "openrouter"),
    ("mistral", "mistral", "mistral"),
];

/// Why a table could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the {name} table is not JSON")]
    Json {
        name: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the {name} table is not of the shape that is known: {what}")]
    Shape {
        name: &'static str,
        what: &'static str,
    },
}

/// Makes the table of the chat models of all vendors that this program knows. The same two texts
/// give the same table.
///
/// # Errors
/// [`ImportError`] when a text is not such a table.
pub fn import(litellm: &str, genai: &str) -> Result<PriceTable, ImportError> {
    let first = read_litellm(litellm)?;
    let second = read_genai(genai)?;
    let mut prices = Vec::new();
    for (vendor, rows) in &first.rows {
        let families = second.get(vendor).map(Vec::as_slice).unwrap_or_default();
        for row in rows.values() {
            let family = families.iter().find(|family| family.matches(&row.model));
            prices.extend(join(row, family, first.as_of.as_deref()));
        }
    }
    for (vendor, families) in &second {
        let known: BTreeSet<&str> = first
            .rows
            .get(vendor)
            .into_iter()
            .flat_map(|rows| rows.keys().map(String::as_str))
            .collect();
        for family in families {
            let other = first.other.contains(&(*vendor, family.id.clone()));
            if !known.contains(family.id.as_str()) && !other && !family.id.contains("ft:") {
                prices.extend(family.stretches.iter().cloned());
            }
        }
    }
    prices.sort_by(|one, other| {
        let key = |row: &PriceRow| (row.vendor.clone(), row.model.clone(), row.from.clone());
        key(one).cmp(&key(other))
    });
    let source = |name: &str, as_of: Option<String>, text: &str| TableSource {
        name: name.to_owned(),
        as_of,
        sha256: format!("{:x}", Sha256::digest(text.as_bytes())),
        licence: "MIT".to_owned(),
    };
    Ok(PriceTable {
        as_of: first.as_of.clone(),
        rule: RULE.to_owned(),
        sources: vec![
            source(LITELLM, first.as_of, litellm),
            source(GENAI, None, genai),
        ],
        prices,
    })
}

/// The first table's row, set into the second's stretches of time.
fn join(row: &PriceRow, family: Option<&Family>, as_of: Option<&str>) -> Vec<PriceRow> {
    let Some(family) = family else {
        return vec![row.clone()];
    };
    family
        .stretches
        .iter()
        .map(|stretch| {
            let holds = as_of.is_none_or(|day| {
                stretch.from.as_deref().is_none_or(|from| from <= day)
                    && stretch.to.as_deref().is_none_or(|to| day < to)
            });
            if holds {
                PriceRow {
                    from: stretch.from.clone(),
                    to: stretch.to.clone(),
                    disagrees: disagreement(row, stretch),
                    ..row.clone()
                }
            } else {
                PriceRow {
                    model: row.model.clone(),
                    ..stretch.clone()
                }
            }
        })
        .collect()
}

/// Where `other` says something else. A figure that one of the two does not give is no disagreement.
fn disagreement(taken: &PriceRow, other: &PriceRow) -> Option<Disagreement> {
    let differs = |taken: Option<f64>, other: Option<f64>| {
        taken
            .zip(other)
            .filter(|(taken, other)| (taken - other).abs() > 1e-9)
            .map(|(_, other)| other)
    };
    let lengths = |row: &PriceRow| -> Vec<(u64, String, String)> {
        row.tiers
            .iter()
            .map(|tier| (tier.above, tier.input.to_string(), tier.output.to_string()))
            .collect()
    };
    let found = Disagreement {
        source: GENAI.to_owned(),
        input: differs(Some(taken.input), Some(other.input)),
        output: differs(Some(taken.output), Some(other.output)),
        cached_input: differs(taken.cached_input, other.cached_input),
        cache_write: differs(taken.cache_write, other.cache_write),
        tiers: (lengths(taken) != lengths(other)).then(|| other.tiers.clone()),
    };
    let differs = found.input.is_some()
        || found.output.is_some()
        || found.cached_input.is_some()
        || found.cache_write.is_some()
        || found.tiers.is_some();
    differs.then_some(found)
}

struct Litellm {
    as_of: Option<String>,
    /// By vendor and model.
    rows: BTreeMap<&'static str, BTreeMap<String, PriceRow>>,
    /// Models of a vendor that are there for something else than chat.
    other: BTreeSet<(&'static str, String)>,
}

fn read_litellm(text: &str) -> Result<Litellm, ImportError> {
    let name = LITELLM;
    let document: Map<String, Value> =
        serde_json::from_str(text).map_err(|source| ImportError::Json { name, source })?;
    let as_of = document
        .get("last_updated")
        .and_then(Value::as_str)
        .and_then(|stamp| stamp.get(..10))
        .filter(|date| days_of_date(date).is_some())
        .map(str::to_owned);
    let mut rows = BTreeMap::<_, BTreeMap<String, PriceRow>>::new();
    let mut other = BTreeSet::new();
    for (key, entry) in &document {
        let provider = entry.get("litellm_provider").and_then(Value::as_str);
        let vendor = VENDORS
            .iter()
            .find(|(_, name, _)| Some(*name) == provider)
            .map(|(vendor, name, _)| (*vendor, *name));
        // `ft:` rows are prices of a user's own tuned models.
        let (Some((vendor, provider)), false) = (vendor, key.starts_with("ft:")) else {
            continue;
        };
        let model = key
            .strip_prefix(provider)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(key);
        let mode = entry.get("mode").and_then(Value::as_str);
        // Models behind the responses endpoint alone are left to the second table.
        if !matches!(mode, Some("chat" | "responses")) {
            other.insert((vendor, model.to_owned()));
        }
        if mode != Some("chat") {
            continue;
        }
        if let Some(row) = litellm_row(vendor, model, entry, as_of.as_deref()) {
            rows.entry(vendor)
                .or_default()
                .insert(model.to_owned(), row);
        }
    }
    if rows.is_empty() {
        let what = "no entry with `litellm_provider`, `mode` and prices of a known vendor";
        return Err(ImportError::Shape { name, what });
    }
    Ok(Litellm { as_of, rows, other })
}

fn litellm_row(vendor: &str, model: &str, entry: &Value, as_of: Option<&str>) -> Option<PriceRow> {
    let price = |key: &str| entry.get(key).and_then(Value::as_f64).map(per_million);
    let mut tiers: Vec<TierRates> = entry
        .as_object()?
        .keys()
        .filter_map(|key| {
            let above = key
                .strip_prefix("input_cost_per_token_above_")?
                .strip_suffix("_tokens")?;
            let long = |class: &str| price(&format!("{class}_above_{above}_tokens"));
            Some(TierRates {
                above: above.strip_suffix('k')?.parse::<u64>().ok()? * 1000,
                input: long("input_cost_per_token")?,
                output: long("output_cost_per_token").or_else(|| price("output_cost_per_token"))?,
                cached_input: long("cache_read_input_token_cost"),
                cache_write: long("cache_creation_input_token_cost"),
            })
        })
        .collect();
    tiers.sort_by_key(|tier| tier.above);
    Some(PriceRow {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        input: price("input_cost_per_token")?,
        output: price("output_cost_per_token")?,
        cached_input: price("cache_read_input_token_cost"),
        cache_write: price("cache_creation_input_token_cost"),
        tiers,
        batch: price("input_cost_per_token_batches")
            .zip(price("output_cost_per_token_batches"))
            .map(|(input, output)| BatchRates { input, output }),
        source: Some(LITELLM.to_owned()),
        as_of: as_of.map(str::to_owned),
        ..PriceRow::default()
    })
}

/// Dollars a token to dollars per million, to the six decimals that vendors quote: the product
/// itself would carry the rounding of its binary factors.
fn per_million(per_token: f64) -> f64 {
    (per_token * 1e12).round() / 1e6
}

/// One entry of genai-prices: the models that its pattern covers.
struct Family {
    id: String,
    pattern: Value,
    /// In order of time; more than one where the price changes on a day.
    stretches: Vec<PriceRow>,
}

impl Family {
    fn matches(&self, model: &str) -> bool {
        self.id == model || matches(&self.pattern, model)
    }
}

/// Whether a pattern covers a name. Regular expressions, of which there are few, cover nothing.
fn matches(pattern: &Value, model: &str) -> bool {
    let Some((kind, value)) = pattern.as_object().and_then(|object| object.iter().next()) else {
        return false;
    };
    let text = value.as_str().unwrap_or_default();
    let parts = || value.as_array().into_iter().flatten();
    match kind.as_str() {
        "equals" => model == text,
        "starts_with" => model.starts_with(text),
        "ends_with" => model.ends_with(text),
        "contains" => model.contains(text),
        "or" => parts().any(|part| matches(part, model)),
        "and" => parts().all(|part| matches(part, model)),
        _ => false,
    }
}

fn read_genai(text: &str) -> Result<BTreeMap<&'static str, Vec<Family>>, ImportError> {
    let name = GENAI;
    let document: Vec<Value> =
        serde_json::from_str(text).map_err(|source| ImportError::Json { name, source })?;
    let mut families = BTreeMap::new();
    for provider in &document {
        let id = provider.get("id").and_then(Value::as_str);
        let Some((vendor, _, _)) = VENDORS.iter().find(|(_, _, name)| Some(*name) == id) else {
            continue;
        };
        let models = provider.get("models").and_then(Value::as_array);
        let models = models.into_iter().flatten();
        families.insert(
            *vendor,
            models.filter_map(|model| family(vendor, model)).collect(),
        );
    }
    if families.is_empty() {
        let what = "no provider with `id` and `models` of a known vendor";
        return Err(ImportError::Shape { name, what });
    }
    Ok(families)
}

/// `None` for a model without a price of both input and output: an embedding, an image.
fn family(vendor: &str, model: &Value) -> Option<Family> {
    let id = model.get("id")?.as_str()?;
    let prices = match model.get("prices")? {
        Value::Array(stretches) => stretches.clone(),
        single => vec![serde_json::json!({ "prices": single })],
    };
    let mut stretches: Vec<PriceRow> = Vec::new();
    for stretch in &prices {
        let row = genai_row(vendor, id, stretch.get("prices")?)?;
        let constraint = |name: &str| stretch.get("constraint")?.get(name)?.as_str();
        match (constraint("start_date"), stretches.last_mut()) {
            (Some(from), last) => {
                if let Some(last) = last {
                    last.to = Some(from.to_owned());
                }
                stretches.push(PriceRow {
                    from: Some(from.to_owned()),
                    ..row
                });
            }
            // Prices by the hour of the day: the dearest, which no bill exceeds.
            (None, Some(last)) if row.input + row.output <= last.input + last.output => {}
            (None, Some(last)) => *last = row,
            (None, None) => stretches.push(row),
        }
    }
    Some(Family {
        id: id.to_owned(),
        pattern: model.get("match").cloned().unwrap_or_default(),
        stretches,
    })
}

fn genai_row(vendor: &str, model: &str, prices: &Value) -> Option<PriceRow> {
    let base = |class: &str| {
        let price = prices.get(class)?;
        price.as_f64().or_else(|| price.get("base")?.as_f64())
    };
    let starts: BTreeSet<u64> = ["input_mtok", "output_mtok"]
        .iter()
        .filter_map(|class| prices.get(class)?.get("tiers")?.as_array())
        .flatten()
        .filter_map(|tier| tier.get("start")?.as_u64())
        .collect();
    // The price of a class for requests longer than `start`: its last tier that begins by then.
    let long = |class: &str, start: u64| {
        let tiers = prices.get(class)?.get("tiers").and_then(Value::as_array);
        tiers
            .into_iter()
            .flatten()
            .filter(|tier| tier.get("start").and_then(Value::as_u64) <= Some(start))
            .filter_map(|tier| tier.get("price")?.as_f64())
            .next_back()
            .or_else(|| base(class))
    };
    Some(PriceRow {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        input: base("input_mtok")?,
        output: base("output_mtok")?,
        cached_input: base("cache_read_mtok"),
        cache_write: base("cache_write_mtok"),
        tiers: starts
            .into_iter()
            .filter_map(|start| {
                Some(TierRates {
                    above: start,
                    input: long("input_mtok", start)?,
                    output: long("output_mtok", start)?,
                    cached_input: long("cache_read_mtok", start),
                    cache_write: long("cache_write_mtok", start),
                })
            })
            .collect(),
        source: Some(GENAI.to_owned()),
        ..PriceRow::default()
    })
}
