//! The price table of a run: the project's, or one that the user named, at today's prices.

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use distill_gateway::{PriceTable, Target, date_of_days};
use distill_report::PriceAge;
use distill_runner::StepFailure;
use distill_student::regular_file;

use crate::teacher::Environment;

/// Names the file whose rows go before the project's.
pub const PRICES_VARIABLE: &str = "DISTILL_PRICES";
const SECONDS_PER_DAY: u64 = 86_400;

/// Days since 1970-01-01, by this machine's clock.
pub fn today() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| (since.as_secs() / SECONDS_PER_DAY) as i64)
}

/// Today as `YYYY-MM-DD`: the day whose prices hold.
pub(crate) fn day() -> String {
    date_of_days(today())
}

/// The table that the environment asks for; `None` where the project's own holds alone.
///
/// # Errors
/// A [`StepFailure`] that names the file and what of it does not hold.
pub fn table(environment: &Environment) -> Result<Option<Arc<PriceTable>>, StepFailure> {
    let Some(path) = environment(PRICES_VARIABLE) else {
        return Ok(None);
    };
    let text = regular_file::read_text(Path::new(&path), regular_file::LONGEST_TEXT).map_err(|error| {
        StepFailure::bad_input(format!("the price table `{path}` cannot be read"))
            .caused_by(error)
            .hint(format!("name a file with `--prices` or {PRICES_VARIABLE}, or leave both out for the prices that come with the program"))
    })?;
    let table = PriceTable::read(&text).map_err(|error| {
        StepFailure::bad_input(format!("the price table `{path}` cannot be used"))
            .caused_by(error)
            .hint("its shape is that of `distill prices import`: {\"prices\": [{\"vendor\": …, \"model\": …, \"input\": …, \"output\": …}]} in USD per million tokens")
    })?;
    Ok(Some(Arc::new(table.over(PriceTable::embedded()))))
}

/// What each model's tokens cost and how old that knowledge is today.
pub(crate) fn ages(targets: &[Target]) -> Vec<PriceAge> {
    ages_on(targets, today())
}

fn ages_on(targets: &[Target], today: i64) -> Vec<PriceAge> {
    // An amount per token is a whole number of pico-dollars: a million of them are exact dollars.
    let per_million = |usd: distill_gateway::Usd| usd.pico() as f64 / 1e6;
    targets
        .iter()
        .map(|target| {
            let price = target.price();
            PriceAge {
                model: target.name().to_owned(),
                source: price.source.name().to_owned(),
                as_of: price.as_of.clone(),
                age_days: price.age_in_days(today),
                input_usd_per_million: per_million(price.base.input),
                output_usd_per_million: per_million(price.base.output),
                cached_input_usd_per_million: price.base.cached_input.map(per_million),
                note: price.note.clone(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use distill_gateway::{TargetOptions, days_of_date};

    use super::*;

    fn environment(path: Option<String>) -> Environment {
        Arc::new(move |name| path.clone().filter(|_| name == PRICES_VARIABLE))
    }

    fn target(model: &str, options: TargetOptions) -> Target {
        Target::resolve("openai", model, &options, &|_| Some("key".into())).unwrap()
    }

    #[test]
    fn the_named_table_goes_before_the_projects_own() {
        assert!(table(&environment(None)).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(
            &path,
            r#"{"prices": [{"vendor": "openai", "model": "gpt-4.1", "input": 1, "output": 7.5, "as_of": "2026-11-01"}]}"#,
        )
        .unwrap();
        let prices = table(&environment(Some(path.display().to_string()))).unwrap();
        let options = TargetOptions {
            prices,
            day: Some("2026-11-21".into()),
            ..TargetOptions::default()
        };
        let targets = [
            target("gpt-4.1", options.clone()),
            target("gpt-4.1-mini", options),
        ];
        let ages = ages_on(&targets, days_of_date("2026-11-21").unwrap());
        assert_eq!(
            (ages[0].output_usd_per_million, ages[0].age_days),
            (7.5, Some(20))
        );
        // 2026-07-24 to 2026-11-21: 7 + 31 + 30 + 31 + 21 days.
        assert_eq!(
            (ages[1].input_usd_per_million, ages[1].age_days),
            (0.4, Some(120))
        );
        assert!(ages[1].note.as_ref().unwrap().starts_with("from litellm"));
    }

    #[test]
    fn a_table_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        for text in [None, Some("{}")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let name = path.display().to_string();
            let failure = table(&environment(Some(name.clone()))).unwrap_err();
            assert!(failure.message.contains(&name), "{}", failure.message);
            assert!(failure.hint.is_some());
        }
    }

    #[test]
    fn the_users_own_price_has_no_age() {
        let options = TargetOptions {
            input_usd_per_million: Some(1.0),
            output_usd_per_million: Some(2.0),
            ..TargetOptions::default()
        };
        let [age] = ages_on(&[target("own", options)], 0).try_into().unwrap();
        assert_eq!(
            (age.source.as_str(), age.as_of, age.age_days),
            ("custom", None, None)
        );
    }
}
