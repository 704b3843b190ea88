//! Checks of `models`, `defaults` and `data_classes`: targets, conditions, timeouts.

use std::{collections::BTreeMap, ops::Range};

use distill_gateway::date_of_days;
use distill_pipeline::spec::document::{At, Code};

use super::{
    Known, OPEN_SHARE, POSITIVE, Resolver, SHARE, STUDENT, length, matches, size, texts, vendor_of,
};
use crate::config::{
    Keys,
    resolved::{
        CacheConfig, ClassConfig, Conditions, HedgeConfig, MemberConfig, RedactConfig, RouteConfig,
        RouteQuality, RouteTimeouts,
    },
    values::{Entry, Short, Switch, Texts},
    written::{
        CacheSection, ConditionsSection, MemberSection, MissingKeys, Proxy, RedactSection,
        RouteQualitySection, RouteSection, TimeoutsSection, WrittenRoute,
    },
};

impl Resolver<'_> {
    /// Every route, and how models are asked that are passed through.
    pub(super) fn routes(
        &mut self,
        written: &Proxy,
        known: &Known,
    ) -> (Vec<RouteConfig>, RouteConfig) {
        let mut defaults = RouteConfig::named("");
        if let Some(section) = &written.defaults {
            if let Some(members) = &section.value.members {
                self.report(
                    Code::Conflict,
                    &members.span,
                    "`defaults.members` has no meaning",
                    "each route has members of its own",
                    "move it into an entry of `models`",
                );
            }
            self.settings(&mut defaults, &section.value, "defaults", known);
        }
        let mut routes = Vec::new();
        for entry in written.models.iter().flat_map(|at| &at.value.0) {
            if let Some(route) = self.route(entry, &defaults, known) {
                routes.push(route);
            }
        }
        (routes, defaults)
    }

    fn route(
        &mut self,
        entry: &Entry<WrittenRoute>,
        defaults: &RouteConfig,
        known: &Known,
    ) -> Option<RouteConfig> {
        let name = entry.name.as_str();
        let path = format!("models.{name}");
        self.route_name(name, &entry.span);
        let mut route = RouteConfig {
            name: name.to_owned(),
            ..defaults.clone()
        };
        let none = Vec::new();
        let members = match &entry.value {
            WrittenRoute::Members(members) => members,
            WrittenRoute::Detailed(section) => {
                self.settings(&mut route, section, &path, known);
                section.members.as_ref().map_or(&none, |at| &at.value)
            }
        };
        if members.is_empty() {
            self.report(
                Code::Missing,
                &entry.span,
                format!("`{path}` has no members"),
                "nobody to ask",
                "list targets: `members: [openai/gpt-5-mini]`",
            );
            return None;
        }
        let left_out = self.left_out.len();
        for (index, member) in members.iter().enumerate() {
            let place = format!("{path}.members[{index}]");
            if let Some(member) = self.member(member, &place, known) {
                self.is_allowed(&member.0, &member.1, &route, known);
                if route
                    .members
                    .iter()
                    .any(|other| other.target == member.0.target && other.when == member.0.when)
                {
                    self.report(
                        Code::Invalid,
                        &member.1,
                        format!("`{}` is listed twice", member.0.target),
                        "a second time, for the same requests",
                        "remove one of the two, or give them different conditions in `when`",
                    );
                }
                route.members.push(member.0);
            }
        }
        if route.members.is_empty() && self.left_out.len() - left_out == members.len() {
            self.report(
                Code::Missing,
                &entry.span,
                format!(
                    "`{path}` has no member with a key: {}",
                    self.left_out[left_out..].join(", ")
                ),
                "nobody to ask",
                "set the key of one of them, or remove the route",
            );
        }
        Some(route)
    }

    fn route_name(&mut self, name: &str, span: &Range<usize>) {
        let star = name.trim_end_matches('*');
        let problem = if star.is_empty() {
            Some("says nothing")
        } else if name.starts_with("task/") {
            Some("`task/` begins the name of a task")
        } else if name.len() - star.len() > 1 || star.contains('*') {
            Some("`*` can stand once, at the end")
        } else if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            Some("white space")
        } else {
            None
        };
        if let Some(problem) = problem {
            self.report(
                Code::Invalid,
                span,
                format!("`{name}` cannot be the name of a route"),
                problem,
                "callers write it as `model`; `claude-*` takes every model that begins so",
            );
        }
    }

    /// A member and its place; nothing where it is left out or has a finding.
    fn member(
        &mut self,
        member: &At<Short<MemberSection>>,
        path: &str,
        known: &Known,
    ) -> Option<(MemberConfig, Range<usize>)> {
        let (target, span, section) = match &member.value {
            Short::Text(target) => (target.as_str(), member.span.clone(), None),
            Short::Section(section) => {
                let model = section.model.as_ref()?;
                (model.value.as_str(), model.span.clone(), Some(section))
            }
        };
        let exists = self.target(target, &span, known);
        let mut config = MemberConfig::target(target);
        let (vendor, model) = target.split_once('/').unwrap_or((target, ""));
        let of_model = known
            .vendors
            .iter()
            .find(|known| known.name == vendor)
            .and_then(|vendor| vendor.model(model));
        let priced_until = self.price_ends(vendor, model);
        config.sunset = of_model.and_then(|model| model.sunset);
        if let Some(section) = section {
            config.weight = self.number(
                section.weight.as_ref(),
                &format!("{path}.weight"),
                1.0,
                &POSITIVE,
                "3 gets three times the traffic of 1; remove a member that should get none",
            );
            if let Some(when) = &section.when {
                config.when = self.conditions(&when.value, &format!("{path}.when"));
            }
            let own = self.day(section.sunset.as_ref(), &format!("{path}.sunset"));
            config.sunset = own.or(config.sunset);
            if let Some(options) = &section.options {
                self.options(options, &format!("{path}.options"));
                config.options.clone_from(&options.value.0);
            }
        }
        if let (Some(until), None) = (priced_until, config.sunset) {
            self.notes.push(format!(
                "`{target}`: the price table knows no price of it after {until}"
            ));
        }
        exists.then_some((config, span))
    }

    /// The day after which the price table has no price of a model, if that is near.
    fn price_ends(&self, vendor: &str, model: &str) -> Option<String> {
        let today = date_of_days(self.sources.today.0);
        let soon = date_of_days(self.sources.today.0 + 30);
        self.prices.find(vendor, model, Some(&today))?;
        self.prices
            .find(vendor, model, Some(&soon))
            .is_none()
            .then_some(soon)
    }

    /// Fields that say what the proxy itself says have no place in a member's options.
    fn options(&mut self, options: &At<crate::config::values::Json>, path: &str) {
        for name in [
            "model",
            "messages",
            "input",
            "stream",
            "stream_options",
            "contents",
        ] {
            if options.value.0.contains_key(name) {
                self.report(
                    Code::Conflict,
                    &options.span,
                    format!("`{path}.{name}` is set by each request"),
                    "in here",
                    "remove it",
                );
            }
        }
    }

    /// Whether somebody can be asked under this name. A target that is left out for want of a key
    /// is not there, and no mistake.
    pub(super) fn target(&mut self, target: &str, span: &Range<usize>, known: &Known) -> bool {
        let Some((name, model)) = target
            .split_once('/')
            .filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty())
        else {
            self.report(
                Code::Invalid,
                span,
                format!("`{target}` does not name a model as `vendor/model`"),
                "not a target",
                "for example openai/gpt-5-mini",
            );
            return false;
        };
        if name == STUDENT && !known.students {
            self.report(
                Code::UnknownName,
                span,
                format!("`{target}` is a released student, and the file names no release registry"),
                "not there",
                "add `students: .distill/releases`, or where `distill deploy` releases to",
            );
            return false;
        }
        let names = known.vendors.iter().map(|vendor| vendor.name.as_str());
        let hint = "give it an entry in `vendors`, or use one of the table's: openai, anthropic, gemini, mistral, groq, …";
        if !self.known_name(name, span, "vendor", names, hint) {
            return false;
        }
        let Some(vendor) = known.vendors.iter().find(|vendor| vendor.name == name) else {
            return false;
        };
        if vendor.base_url.is_none() && !vendor.row.simulated && name != STUDENT {
            // A vendor of the file has its finding already.
            if vendor.name == vendor.row.name {
                self.report(
                    Code::Missing,
                    span,
                    format!("`{name}` has an address of each customer's own"),
                    "nowhere to send it",
                    format!("add `vendors: {{{name}: {{base_url: https://…}}}}`"),
                );
            }
            return false;
        }
        if !self.has_key(name, target, span) {
            return false;
        }
        self.has_price(vendor, model, target, span);
        true
    }

    fn has_key(&mut self, vendor: &str, target: &str, span: &Range<usize>) -> bool {
        let Some(variable) = self.missing.get(vendor).cloned() else {
            return true;
        };
        match self.missing_keys {
            MissingKeys::LeaveOut => {
                self.notes
                    .push(format!("`{target}` is left out: {variable} is not set"));
                self.left_out.push(format!("{target} ({variable})"));
            }
            MissingKeys::Refuse => self.report(
                Code::Missing,
                span,
                format!("`{target}` needs a key: the environment variable {variable} holds nothing"),
                "cannot be asked",
                format!("set {variable}, name another variable in `vendors.{vendor}.key_env`, or say `missing_keys: leave_out`"),
            ),
        }
        false
    }

    /// Without a price no budget can hold a model.
    fn has_price(
        &mut self,
        vendor: &crate::config::VendorConfig,
        model: &str,
        target: &str,
        span: &Range<usize>,
    ) {
        let own = vendor.price.is_some()
            || vendor
                .model(model)
                .is_some_and(|model| model.price.is_some());
        let row = vendor.row;
        let today = date_of_days(self.sources.today.0);
        let priced = own
            || row.local
            || row.simulated
            || self.prices.find(row.name, model, Some(&today)).is_some();
        if !priced && self.keys == Keys::Needed {
            self.report(
                Code::Missing,
                span,
                format!("`{target}`: what it costs is not known, so no budget could hold it"),
                "no price",
                format!(
                    "add `vendors: {{{}: {{models: {{{model}: {{price: {{input: …, output: …}}}}}}}}}}` in US dollars for a million tokens, or import a price table",
                    vendor.name
                ),
            );
        }
    }

    fn conditions(&mut self, when: &ConditionsSection, path: &str) -> Conditions {
        let conditions = Conditions {
            min_prompt_bytes: size(when.min_prompt.as_ref()),
            max_prompt_bytes: size(when.max_prompt.as_ref()),
            tools: when.tools.as_ref().map(|at| at.value),
            images: when.images.as_ref().map(|at| at.value),
            schema: when.schema.as_ref().map(|at| at.value),
        };
        if let (Some(least), Some(most), Some(at)) = (
            conditions.min_prompt_bytes,
            conditions.max_prompt_bytes,
            &when.min_prompt,
        ) && least > most
        {
            self.report(
                Code::Conflict,
                &at.span,
                format!("`{path}.min_prompt` is above `max_prompt`"),
                "no request is both",
                "swap the two",
            );
        }
        conditions
    }

    /// What a section says about a route, beside its members.
    fn settings(
        &mut self,
        route: &mut RouteConfig,
        section: &RouteSection,
        path: &str,
        known: &Known,
    ) {
        if let Some(policy) = &section.policy {
            route.policy = policy.value;
        }
        if let Some(timeouts) = &section.timeouts {
            route.timeouts = self.timeouts(&timeouts.value, route.timeouts, path);
        }
        if let Some(attempts) = self.whole(
            section.attempts.as_ref(),
            &format!("{path}.attempts"),
            1,
            100,
        ) {
            route.max_attempts = attempts as u32;
        }
        if let Some(retry) = &section.retry {
            route.retry = retry.value;
        }
        if let Some(after) = length(section.hedge.as_ref()) {
            route.hedge = Some(HedgeConfig { after });
        }
        if let Some(affinity) = &section.affinity {
            route.affinity = affinity.value;
        }
        if let Some(cache) = &section.cache {
            route.cache = self.route_cache(&cache.value, known.cache.as_ref());
        }
        if let Some(store) = &section.store_bodies {
            route.store_bodies = store.value;
        }
        if let Some(redact) = &section.redact {
            route.redact = redact_config(&redact.value);
        }
        if let Some(class) = &section.data_class {
            let names = known.classes.keys().map(String::as_str);
            let hint = "define it in `data_classes`";
            self.known_name(&class.value, &class.span, "data class", names, hint);
            route.data_class = Some(class.value.clone());
        }
        if let Some(allow) = &section.allow {
            self.allowed(&allow.value);
            route.allow = allow.value.values();
        }
        if let Some(most) = size(section.max_prompt.as_ref()) {
            route.max_prompt_bytes = Some(most);
        }
        if let Some(quality) = &section.quality {
            route.quality = self.route_quality(&quality.value, &format!("{path}.quality"));
        }
    }

    /// Who may ask: what begins with a word and a colon is a group, and there are two kinds.
    pub(super) fn allowed(&mut self, allow: &Texts) {
        for name in &allow.0 {
            let group = name.value.split_once(':');
            let known = match group {
                None => !name.value.trim().is_empty(),
                Some(("team", team)) => !team.is_empty(),
                Some(("role", role)) => role == "admin",
                Some(_) => false,
            };
            if !known {
                self.report(
                    Code::Invalid,
                    &name.span,
                    format!("`{}` names nobody", name.value),
                    "not a user, a team or a role",
                    "write a user's name, `team:NAME` or `role:admin`",
                );
            }
        }
    }

    fn timeouts(
        &mut self,
        section: &TimeoutsSection,
        default: RouteTimeouts,
        path: &str,
    ) -> RouteTimeouts {
        let timeouts = RouteTimeouts {
            connect: length(section.connect.as_ref()).unwrap_or(default.connect),
            first_token: length(section.first_token.as_ref()).unwrap_or(default.first_token),
            between_tokens: length(section.between_tokens.as_ref())
                .unwrap_or(default.between_tokens),
            total: length(section.total.as_ref()).unwrap_or(default.total),
        };
        if let Some(first) = section.first_token.as_ref().or(section.total.as_ref())
            && timeouts.first_token > timeouts.total
        {
            self.report(
                Code::Conflict,
                &first.span,
                format!(
                    "`{path}.timeouts`: the first token may take longer than everything together"
                ),
                "above `total`, or `total` below it",
                "give `first_token` a part of `total`, so that another target can still be asked",
            );
        }
        timeouts
    }

    fn route_cache(
        &mut self,
        cache: &Switch<CacheSection>,
        common: Option<&CacheConfig>,
    ) -> Option<CacheConfig> {
        match cache {
            Switch::Plain(false) => None,
            Switch::Plain(true) => Some(common.cloned().unwrap_or_default()),
            Switch::Detailed(section) => Some(self.cache(section, common)),
        }
    }

    fn route_quality(&mut self, section: &RouteQualitySection, path: &str) -> Option<RouteQuality> {
        let floor = self.optional(
            section.floor.as_ref(),
            &format!("{path}.floor"),
            &SHARE,
            "0.9 asks a member last that scores below 90%",
        );
        let margin = self.number(
            section.margin.as_ref(),
            &format!("{path}.margin"),
            0.05,
            &OPEN_SHARE,
            "0.05 lets a member be 5 points under the best",
        );
        let suite = section.suite.as_ref()?;
        let file = self.path(&suite.value);
        if !file.is_file() {
            self.report(
                Code::Invalid,
                &suite.span,
                format!("`{path}.suite`: there is no file `{}`", suite.value),
                "not there",
                "give an eval suite, relative to this file",
            );
        }
        Some(RouteQuality {
            suite: file,
            floor,
            margin,
        })
    }

    /// That the route's data class lets this member see what it is asked.
    fn is_allowed(
        &mut self,
        member: &MemberConfig,
        span: &Range<usize>,
        route: &RouteConfig,
        known: &Known,
    ) {
        let Some((name, class)) = route
            .data_class
            .as_ref()
            .and_then(|name| Some((name, known.classes.get(name)?)))
        else {
            return;
        };
        if !class_allows(class, &member.target) {
            self.report(
                Code::Conflict,
                span,
                format!("the data class `{name}` does not allow `{}`", member.target),
                "must not see this data",
                "remove it, or change `data_classes`",
            );
        }
    }
}

/// What each data class allows.
pub(super) fn classes(written: &Proxy) -> BTreeMap<String, ClassConfig> {
    let entries = written.data_classes.iter().flat_map(|at| &at.value.0);
    entries
        .map(|entry| {
            let class = ClassConfig {
                vendors: texts(entry.value.vendors.as_ref()),
                models: texts(entry.value.models.as_ref()),
            };
            (entry.name.clone(), class)
        })
        .collect()
}

/// Whether data of this class may go to this target.
pub(crate) fn class_allows(class: &ClassConfig, target: &str) -> bool {
    let vendor = vendor_of(target);
    (class.vendors.is_empty() || class.vendors.iter().any(|name| name == vendor))
        && (class.models.is_empty() || class.models.iter().any(|model| matches(model, target)))
}

pub(super) fn redact_config(redact: &Switch<RedactSection>) -> RedactConfig {
    match redact {
        Switch::Plain(on) => RedactConfig {
            before_sending: *on,
            before_storing: *on,
            reversible: false,
        },
        Switch::Detailed(section) => RedactConfig {
            before_sending: section.sent.as_ref().is_none_or(|at| at.value),
            before_storing: section.stored.as_ref().is_none_or(|at| at.value),
            reversible: section.reversible.as_ref().is_some_and(|at| at.value),
        },
    }
}
