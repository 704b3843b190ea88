//! Checks of `teacher`: the chain of models, the budget, the simulated provider.

use std::ops::Range;

use distill_chat::TaskKind;

use super::{Bounds, MILLISECONDS, NOT_NEGATIVE, Resolver, SHARE};
use crate::spec::{
    finding::Code,
    nearest::nearest,
    read::At,
    resolved::{FaultsSpec, LatencySpec, ModelSpec, SimulateSpec, TeacherSpec},
    written::{FaultsSection, ModelSection, SimulateSection, TeacherSection, WrittenModel},
};

pub(super) const TEMPERATURE: Bounds = Bounds {
    holds: |value| (0.0..=2.0).contains(&value),
    words: "between 0 and 2",
};

/// The place of the first model that the provider inside this program answers for.
pub(super) fn embedded(teacher: &TeacherSection) -> Option<&Range<usize>> {
    teacher.models.as_ref()?.value.iter().find_map(|model| {
        let (vendor, elsewhere) = match &model.value {
            WrittenModel::Name(name) => (name.split('/').next()?, false),
            WrittenModel::Detailed(section) => (
                section.vendor.as_ref()?.value.as_str(),
                section.base_url.is_some(),
            ),
        };
        let simulated = vendor == "simulated" || vendor.starts_with("simulated-");
        (simulated && !elsewhere).then_some(&model.span)
    })
}

impl Resolver<'_> {
    pub(super) fn teacher(
        &mut self,
        teacher: &TeacherSection,
        kind: Option<TaskKind>,
    ) -> Option<TeacherSpec> {
        let models = teacher
            .models
            .as_ref()
            .and_then(|models| self.models(models, "teacher.models"));
        if let Some(budget) = &teacher.budget_usd
            && budget.value <= 0.0
        {
            self.report(
                Code::OutOfRange,
                &budget.span,
                format!("`teacher.budget_usd` is {}, and must be above 0", budget.value),
                "a budget of 0 asks for no label",
                "give the most that labelling may cost in US dollars; `distill plan` estimates it. Without a teacher, use `data.labels: gold` and remove this section",
            );
        }
        let concurrency = self
            .integer(
                teacher.concurrency.as_ref(),
                "teacher.concurrency",
                1,
                1024,
                "16 suits most vendors",
            )
            .unwrap_or(16);
        let temperature = self.number(
            teacher.temperature.as_ref(),
            "teacher.temperature",
            0.0,
            &TEMPERATURE,
            "0 gives the steadiest labels",
        );
        let reply = match kind {
            Some(TaskKind::Generate) => 1024,
            Some(TaskKind::Extract) => 256,
            Some(TaskKind::Classify) | None => 64,
        };
        let max_tokens = self
            .integer(
                teacher.max_tokens.as_ref(),
                "teacher.max_tokens",
                1,
                1 << 20,
                "give room for the longest answer; 64 suits a label",
            )
            .unwrap_or(reply);
        let is_embedded = embedded(teacher).is_some();
        if let (Some(simulate), false) = (&teacher.simulate, is_embedded) {
            self.report(
                Code::Conflict,
                &simulate.span,
                "`teacher.simulate` is set, but no model of the chain is the embedded simulated one",
                "applies to nothing",
                "remove the section, or put `simulated/frontier` in `models`",
            );
        }
        let written = teacher.simulate.as_ref().map(|at| &at.value);
        let simulate = self.simulate(written, "teacher.simulate");
        Some(TeacherSpec {
            models: models?,
            budget_usd: teacher.budget_usd.as_ref()?.value,
            concurrency,
            temperature,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            simulate: is_embedded.then_some(simulate),
        })
    }

    /// The models of the list under `path`.
    pub(super) fn models(
        &mut self,
        models: &At<Vec<At<WrittenModel>>>,
        path: &str,
    ) -> Option<Vec<ModelSpec>> {
        if models.value.is_empty() {
            self.report(
                Code::Missing,
                &models.span,
                format!("`{path}` is an empty list"),
                "nobody to ask",
                "name a model, `vendor/model`: `simulated/frontier` needs no key and no network",
            );
        }
        let mut chain: Vec<ModelSpec> = Vec::new();
        for model in &models.value {
            let read = match &model.value {
                WrittenModel::Name(name) => self.named(name, &model.span),
                WrittenModel::Detailed(section) => self.detailed(section, &model.span),
            };
            let Some(read) = read else { continue };
            if chain.contains(&read) {
                self.report(
                    Code::Invalid,
                    &model.span,
                    format!("model `{}` is in `{path}` twice", read.name()),
                    "a second time",
                    "remove one of the two",
                );
            }
            chain.push(read);
        }
        (chain.len() == models.value.len()).then_some(chain)
    }

    fn named(&mut self, name: &str, span: &Range<usize>) -> Option<ModelSpec> {
        let parts = name
            .split_once('/')
            .filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty());
        let Some((vendor, model)) = parts else {
            self.report(
                Code::Invalid,
                span,
                format!("`{name}` does not say who answers"),
                "must be `vendor/model`",
                format!(
                    "for instance `openai/{}`",
                    if name.is_empty() {
                        "gpt-5-mini"
                    } else {
                        name.trim_matches('/')
                    }
                ),
            );
            return None;
        };
        self.vendor(vendor, span).then(|| ModelSpec {
            vendor: vendor.to_owned(),
            model: model.to_owned(),
            base_url: None,
            api_key_env: None,
            input_usd_per_million: None,
            output_usd_per_million: None,
        })
    }

    fn vendor(&mut self, vendor: &str, span: &Range<usize>) -> bool {
        let known = self.vocabulary.vendors;
        if known.contains(&vendor) {
            return true;
        }
        let hint = match nearest(vendor, known.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!(
                "known vendors: {}. Another one that speaks OpenAI's dialect: `{{vendor: openai, model: NAME, base_url: URL}}`",
                known.join(", ")
            ),
        };
        self.report(
            Code::UnknownName,
            span,
            format!("there is no vendor `{vendor}`"),
            "not in the vendor table",
            hint,
        );
        false
    }

    fn detailed(&mut self, section: &ModelSection, span: &Range<usize>) -> Option<ModelSpec> {
        if let Some(url) = &section.base_url
            && !(url.value.starts_with("http://") || url.value.starts_with("https://"))
        {
            self.report(
                Code::Invalid,
                &url.span,
                format!("`base_url` is `{}`", url.value),
                "must begin with http:// or https://",
                "give the whole address, for instance `https://host/v1`",
            );
        }
        if let Some(variable) = &section.api_key_env
            && !variable
                .value
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_')
        {
            // The value may be the key itself, so it is not repeated.
            self.report(
                Code::Invalid,
                &variable.span,
                "`api_key_env` is not the name of an environment variable",
                "a name has letters, digits and _ only",
                "put the key into an environment variable and give the variable's name here",
            );
        }
        let input = self.optional(
            section.input_usd_per_million.as_ref(),
            "input_usd_per_million",
            &NOT_NEGATIVE,
            "give the vendor's list price",
        );
        let output = self.optional(
            section.output_usd_per_million.as_ref(),
            "output_usd_per_million",
            &NOT_NEGATIVE,
            "give the vendor's list price",
        );
        if input.is_some() != output.is_some() {
            self.report(
                Code::Missing,
                span,
                "a model's price has two parts, and one is given",
                "`input_usd_per_million` and `output_usd_per_million`",
                "give both, or neither to use the built-in table",
            );
        }
        let vendor = section.vendor.as_ref()?;
        let known = self.vendor(&vendor.value, &vendor.span);
        let text = |field: &Option<At<String>>| field.as_ref().map(|at| at.value.clone());
        let model = section.model.as_ref()?;
        known.then(|| ModelSpec {
            vendor: vendor.value.clone(),
            model: model.value.clone(),
            base_url: text(&section.base_url),
            api_key_env: text(&section.api_key_env),
            input_usd_per_million: input,
            output_usd_per_million: output,
        })
    }

    /// The simulated provider's settings under `path`.
    pub(super) fn simulate(
        &mut self,
        simulate: Option<&SimulateSection>,
        path: &str,
    ) -> SimulateSpec {
        let latency = simulate.and_then(|simulate| simulate.latency_ms.as_ref());
        let median_at = latency.and_then(|latency| latency.value.median.as_ref());
        let p95_at = latency.and_then(|latency| latency.value.p95.as_ref());
        let median = self.number(
            median_at,
            &format!("{path}.latency_ms.median"),
            30.0,
            &MILLISECONDS,
            "for instance 30",
        );
        let p95 = self.number(
            p95_at,
            &format!("{path}.latency_ms.p95"),
            f64::max(80.0, median),
            &MILLISECONDS,
            "for instance 80",
        );
        if let (Some(at), true) = (p95_at, p95 < median) {
            self.report(
                Code::OutOfRange,
                &at.span,
                format!("the 95th percentile, {p95}, is below the median, {median}"),
                "must not be below `median`",
                "give a larger figure",
            );
        }
        let faults = simulate.and_then(|simulate| simulate.faults.as_ref());
        let shares = self.faults(faults, path);
        let accuracy = self.number(
            simulate.and_then(|simulate| simulate.accuracy.as_ref()),
            &format!("{path}.accuracy"),
            0.91,
            &SHARE,
            "0.91 gives 91 in 100 rows the gold answer",
        );
        let mut rate = |name: &str, of: fn(&SimulateSection) -> Option<&At<f64>>| {
            self.optional(
                simulate.and_then(of),
                &format!("{path}.{name}"),
                &SHARE,
                "0.05 is one row in twenty",
            )
        };
        SimulateSpec {
            accuracy,
            latency_ms: LatencySpec { median, p95 },
            faults: shares,
            seed: simulate
                .and_then(|simulate| simulate.seed.as_ref())
                .map_or(7, |seed| seed.value),
            cheap_accuracy: rate("cheap_accuracy", |section| section.cheap_accuracy.as_ref()),
            judge_accuracy: rate("judge_accuracy", |section| section.judge_accuracy.as_ref()),
            judge_position_bias: rate("judge_position_bias", |section| {
                section.judge_position_bias.as_ref()
            }),
            unsteady: rate("unsteady", |section| section.unsteady.as_ref()),
        }
    }

    /// Shares of requests that go wrong.
    fn faults(&mut self, faults: Option<&At<FaultsSection>>, path: &str) -> FaultsSpec {
        let mut share = |name: &str, at: Option<&At<f64>>| {
            self.number(
                at,
                &format!("{path}.faults.{name}"),
                0.0,
                &SHARE,
                "0.01 is one request in a hundred",
            )
        };
        let written = faults.map(|at| &at.value);
        let shares = FaultsSpec {
            rate_limit: share(
                "rate_limit",
                written.and_then(|faults| faults.rate_limit.as_ref()),
            ),
            server_error: share(
                "server_error",
                written.and_then(|faults| faults.server_error.as_ref()),
            ),
            hang: share("hang", written.and_then(|faults| faults.hang.as_ref())),
            stall: share("stall", written.and_then(|faults| faults.stall.as_ref())),
            malformed: share(
                "malformed",
                written.and_then(|faults| faults.malformed.as_ref()),
            ),
            truncate: share(
                "truncate",
                written.and_then(|faults| faults.truncate.as_ref()),
            ),
        };
        let each = [
            shares.rate_limit,
            shares.server_error,
            shares.hang,
            shares.stall,
            shares.malformed,
            shares.truncate,
        ];
        let total: f64 = each.iter().sum();
        let shares_hold = each.iter().all(|share| (SHARE.holds)(*share));
        if let (Some(at), true) = (faults, total > 1.0 && shares_hold) {
            self.report(
                Code::OutOfRange,
                &at.span,
                format!("the shares of faults add up to {total}"),
                "together at most 1",
                "lower them: what is left of 1 is the share of requests that work",
            );
        }
        shares
    }
}
