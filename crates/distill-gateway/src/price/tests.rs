use distill_chat::Usage;
use serde_json::json;

use super::*;
use crate::vendor;

fn usage(input: u64, cached: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        cached_input_tokens: Some(cached),
        output_tokens: Some(output),
        ..Usage::default()
    }
}

fn of(vendor_name: &str, model: &str, day: Option<&str>) -> Option<Price> {
    Price::of(
        vendor(vendor_name).unwrap(),
        model,
        PriceTable::embedded(),
        day,
    )
}

#[test]
fn every_row_of_the_table_names_its_source_and_stretches_do_not_overlap() {
    let table = PriceTable::embedded();
    let mut last: Option<&PriceRow> = None;
    for row in &table.prices {
        let name = row.name();
        let source = table
            .sources
            .iter()
            .find(|source| Some(&source.name) == row.source.as_ref())
            .unwrap_or_else(|| panic!("{name}"));
        assert_eq!(row.as_of, source.as_of, "{name}");
        assert!(
            row.cached_input.is_none_or(|cached| cached <= row.input),
            "{name}"
        );
        if let Some(last) = last.filter(|last| last.name() == name) {
            assert!(last.to.is_some() && last.to == row.from, "{name}");
        }
        last = Some(row);
    }
    assert_eq!(table.as_of.as_deref(), Some("2026-07-24"));
    assert!(table.prices.len() > 300);
    assert!(include_str!("../../data/prices.json").len() < 300_000);
}

#[test]
fn the_table_is_written_as_it_is_committed() {
    let text = include_str!("../../data/prices.json");
    assert_eq!(PriceTable::read(text).unwrap().to_text(), text);
}

#[test]
fn a_dated_snapshot_costs_what_its_alias_costs() {
    let alias = of("groq", "llama-3.3-70b-versatile", None).unwrap();
    assert_eq!(
        of("groq", "llama-3.3-70b-versatile-2025-01-31", None),
        Some(alias)
    );
    assert_eq!(
        without_date("claude-sonnet-4-5-20250929"),
        "claude-sonnet-4-5"
    );
    assert_eq!(without_date("gpt-4.1-nano"), "gpt-4.1-nano");
    assert_eq!(of("openai", "unheard-of", None), None);
}

#[test]
fn classes_are_charged_apart_and_a_missing_usage_has_no_cost() {
    let price = Price::per_million(2.0, 8.0, Some(0.5), PriceSource::Custom);
    let usage = Usage {
        reasoning_tokens: Some(20),
        ..usage(100, 1000, 10)
    };
    assert_eq!(
        price.cost(&usage),
        Some(Usd::from_dollars(0.0002 + 0.0005 + 0.000_24))
    );
    assert_eq!(price.cost(&Usage::default()), None);
}

/// Two dollars in and eight out; four and twelve beyond 1,000 tokens of input.
fn tiered() -> Price {
    let row: PriceRow = serde_json::from_value(json!({
        "vendor": "openai", "model": "long", "input": 2.0, "output": 8.0, "cached_input": 0.5,
        "tiers": [{"above": 1000, "input": 4.0, "output": 12.0, "cached_input": 1.0}],
    }))
    .unwrap();
    row.price()
}

#[test]
fn a_long_request_is_charged_at_its_own_price_throughout() {
    let price = tiered();
    // 1,000 tokens are not more than 1,000; cached ones count.
    assert_eq!(
        price.cost(&usage(900, 100, 10)),
        Some(Usd::from_dollars(0.0018 + 0.000_05 + 0.000_08))
    );
    assert_eq!(
        price.cost(&usage(900, 101, 10)),
        Some(Usd::from_dollars(0.0036 + 0.000_101 + 0.000_12))
    );
    assert_eq!(
        price.worst_case(1000, 10),
        Usd::from_dollars(0.002 + 0.000_08)
    );
    assert_eq!(
        price.worst_case(1001, 10),
        Usd::from_dollars(0.004_004 + 0.000_12)
    );
}

#[test]
fn a_simulated_price_says_so_and_has_no_date() {
    let price = of("simulated-anthropic", "frontier", None).unwrap();
    assert_eq!((price.source, price.as_of), (PriceSource::Simulated, None));
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
    let today = days_of_date("2026-08-03").unwrap();
    assert_eq!(price.age_in_days(today), None);
    price.as_of = Some("2026-07-24".into());
    assert_eq!(price.age_in_days(today), Some(10));
    for date in ["1970-01-01", "2000-02-29", "2026-12-31", "1969-12-31"] {
        assert_eq!(date_of_days(days_of_date(date).unwrap()), date);
    }
    assert_eq!(days_of_date("2026-13-01"), None);
    assert_eq!(days_of_date("soon"), None);
}

const LITELLM: &str = r#"{
  "last_updated": "2026-07-24T18:23:43+00:00",
  "sample_spec": {"litellm_provider": "one of", "mode": "one of"},
  "m-one": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.25e-06,
    "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07,
    "input_cost_per_token_batches": 6.25e-07, "output_cost_per_token_batches": 5e-06,
    "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05},
  "xai/g-two": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05},
  "m-two-2026-05-01": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06},
  "ft:m-one": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-06, "output_cost_per_token": 9e-06},
  "m-embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-08, "output_cost_per_token": 0.0},
  "other": {"litellm_provider": "elsewhere", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}
}"#;

const GENAI: &str = r#"[
  {"id": "openai", "models": [
    {"id": "m-one", "match": {"starts_with": "m-one"}, "prices": {"input_mtok": 1.5, "output_mtok": 10}},
    {"id": "m-two", "match": {"or": [{"equals": "nothing"}, {"starts_with": "m-two"}]}, "prices": [
      {"prices": {"input_mtok": 2, "output_mtok": 8}},
      {"constraint": {"start_date": "2026-09-01"}, "prices": {"input_mtok": 3, "output_mtok": 12}}]},
    {"id": "m-three", "match": {"equals": "m-three"}, "prices": {
      "input_mtok": {"base": 3, "tiers": [{"start": 272000, "price": 6}]}, "output_mtok": 15, "cache_read_mtok": 0.3}},
    {"id": "m-hours", "match": {"equals": "m-hours"}, "prices": [
      {"prices": {"input_mtok": 0.1, "output_mtok": 0.5}},
      {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 0.2, "output_mtok": 1.1}}]},
    {"id": "m-embed", "match": {"equals": "m-embed"}, "prices": {"input_mtok": 0.01, "output_mtok": 0}},
    {"id": "m-vectors", "match": {"equals": "m-vectors"}, "prices": {"input_mtok": 0.01}}
  ]}
]"#;

fn imported() -> PriceTable {
    import(LITELLM, GENAI).unwrap()
}

fn rows(model: &str) -> Vec<PriceRow> {
    let rows = imported().prices.into_iter();
    rows.filter(|row| row.model == model).collect()
}

#[test]
fn the_first_table_is_taken_and_the_row_says_where_the_other_differs() {
    let [row] = rows("m-one").try_into().unwrap();
    assert_eq!((row.input, row.output), (1.25, 10.0));
    assert_eq!(row.cached_input, Some(0.125));
    assert_eq!(
        row.batch,
        Some(BatchRates {
            input: 0.625,
            output: 5.0
        })
    );
    assert_eq!((row.tiers[0].above, row.tiers[0].input), (200_000, 2.5));
    assert_eq!(
        row.disagrees,
        Some(Disagreement {
            source: "genai-prices".into(),
            input: Some(1.5),
            tiers: Some(Vec::new()),
            ..Disagreement::default()
        })
    );
    assert_eq!(
        row.note().unwrap(),
        "from litellm; genai-prices says input $1.5, no price for long requests"
    );
    assert_eq!(row.as_of.as_deref(), Some("2026-07-24"));
}

#[test]
fn a_price_that_changes_on_a_day_is_two_rows_and_the_day_chooses() {
    let table = imported();
    let on = |day| {
        let row = table.find("openai", "m-two-2026-05-01", day).unwrap();
        (row.input, row.source.clone().unwrap())
    };
    assert_eq!(on(None), (2.0, "litellm".into()));
    assert_eq!(on(Some("2026-08-31")), (2.0, "litellm".into()));
    assert_eq!(on(Some("2026-09-01")), (3.0, "genai-prices".into()));
    // The family's own name is a model of the second table alone.
    let later = table.find("openai", "m-two", Some("2027-01-01")).unwrap();
    assert!((later.input - 3.0).abs() < 1e-12);
}

#[test]
fn models_of_one_table_alone_come_from_it_and_only_chat_models_come() {
    let [row] = rows("m-three").try_into().unwrap();
    assert_eq!(
        (row.source.as_deref(), row.as_of),
        (Some("genai-prices"), None)
    );
    let tier = &row.tiers[0];
    // The output has one price at any length.
    assert_eq!((tier.above, tier.input, tier.output), (272_000, 6.0, 15.0));
    assert_eq!(tier.cached_input, Some(0.3));
    // By the hour of the day: the dearest.
    let [hours] = rows("m-hours").try_into().unwrap();
    assert_eq!((hours.input, hours.output), (0.2, 1.1));
    let [two] = rows("g-two").try_into().unwrap();
    assert_eq!((two.vendor.as_str(), two.disagrees), ("xai", None));
    for model in ["m-embed", "m-vectors", "ft:m-one", "other", "sample_spec"] {
        assert_eq!(rows(model), [], "{model}");
    }
}

#[test]
fn importing_twice_gives_the_same_bytes_and_reads_back() {
    let text = imported().to_text();
    assert_eq!(text, imported().to_text());
    assert_eq!(PriceTable::read(&text).unwrap(), imported());
}

#[test]
fn what_is_no_price_table_is_told_apart() {
    assert!(matches!(
        import("[", GENAI),
        Err(ImportError::Json {
            name: "litellm",
            ..
        })
    ));
    assert!(matches!(
        import(LITELLM, "[]"),
        Err(ImportError::Shape {
            name: "genai-prices",
            ..
        })
    ));
    let row = |extra: &str| {
        format!(
            r#"{{"prices": [{{"vendor": "openai", "model": "m", "input": 1, "output": 2{extra}}}]}}"#
        )
    };
    assert!(PriceTable::read(&row("")).is_ok());
    assert!(matches!(
        PriceTable::read(&row(r#", "cached_input": -1"#)),
        Err(PriceTableError::Price { .. })
    ));
    assert!(matches!(
        PriceTable::read(&row(r#", "from": "May""#)),
        Err(PriceTableError::Date { .. })
    ));
    assert!(matches!(
        PriceTable::read(&row(r#", "inputs": 1"#)),
        Err(PriceTableError::Shape(_))
    ));
    assert!(matches!(
        PriceTable::read(
            r#"{"prices": [{"vendor": "nobody", "model": "m", "input": 1, "output": 2}]}"#
        ),
        Err(PriceTableError::Vendor { .. })
    ));
}

#[test]
fn a_users_table_goes_before_the_projects() {
    let own = PriceTable::read(
        r#"{"prices": [{"vendor": "openai", "model": "gpt-4.1", "input": 1, "output": 2, "as_of": "2026-11-01"}]}"#,
    )
    .unwrap();
    let table = own.over(PriceTable::embedded());
    let row = table.find("openai", "gpt-4.1", None).unwrap();
    assert!((row.input - 1.0).abs() < 1e-12);
    assert!(table.find("openai", "gpt-4.1-mini", None).is_some());
    let count = |model: &str| {
        let rows = table.prices.iter();
        rows.filter(|row| row.vendor == "openai" && row.model == model)
            .count()
    };
    assert_eq!(count("gpt-4.1"), 1);
}

#[test]
#[allow(clippy::print_stdout, reason = "a test says that it was skipped")]
fn the_committed_table_is_what_the_import_makes() {
    let Some(folder) = std::env::var_os("DISTILL_PROVIDERS_DIR") else {
        println!(
            "skipped: the_committed_table_is_what_the_import_makes: DISTILL_PROVIDERS_DIR is not set"
        );
        return;
    };
    let read =
        |path: &str| std::fs::read_to_string(std::path::Path::new(&folder).join(path)).unwrap();
    let table = import(
        &read("litellm-prices/model_prices_and_context_window.json"),
        &read("genai-prices/data.json"),
    )
    .unwrap();
    assert_eq!(table.to_text(), include_str!("../../data/prices.json"));
}

#[test]
fn a_usage_that_cannot_be_true_counts_as_not_reported() {
    assert_eq!(believable(usage(900, 100, 10)), usage(900, 100, 10));
    for wrong in [
        usage(u64::MAX, 0, 1),
        usage(1, u64::MAX, 1),
        usage(1, 0, u64::MAX),
    ] {
        assert_eq!(believable(wrong), Usage::default());
    }
}
