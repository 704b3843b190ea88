//! Fills the pages from the ledger.

use distill_gateway::Usd;
use distill_ledger::{
    AttemptRecord, Dimension, KeyInfo, KeyLimits, Ledger, LedgerError, NewKey, Question,
    QuestionFilter, Records, RequestFilter, RequestRecord, Role, StoredBody, UsageQuery, UsageRow,
};

use super::{
    Kind, Pages,
    form::Fields,
    page::{groups::Table, overview::Overview, requests::Filter},
    view::{Bucket, Period},
};

/// Rows of the list of requests.
pub(super) const MOST_REQUESTS: usize = 200;
/// Requests on the overview.
const LATEST: u32 = 12;

/// Everything on the overview, looking back from `now` (seconds since 1970).
pub(super) async fn overview(
    pages: &Pages,
    period: Period,
    now: i64,
) -> Result<Overview, LedgerError> {
    let records = pages.ledger.records();
    let since = period.first(now);
    let all = usage(records, since, vec![]).await?;
    let latest = RequestFilter {
        limit: LATEST,
        ..RequestFilter::default()
    };
    Ok(Overview {
        period,
        totals: all.into_iter().next().unwrap_or_default(),
        buckets: buckets(records, period, now).await?,
        spenders: usage(records, since, vec![Dimension::User, Dimension::Team]).await?,
        targets: usage(records, since, vec![Dimension::Target]).await?,
        health: (pages.targets)(),
        questions: questions(records, now).await?,
        alerts: (pages.alerts)(),
        latest: records.requests(&latest).await?,
    })
}

async fn usage(
    records: &Records,
    since: i64,
    by: Vec<Dimension>,
) -> Result<Vec<UsageRow>, LedgerError> {
    let query = UsageQuery {
        by,
        since_ms: Some(since * 1000),
        ..UsageQuery::default()
    };
    Ok(records.usage(&query).await?.rows)
}

/// One bar for each step of the period, also where nothing was asked.
async fn buckets(records: &Records, period: Period, now: i64) -> Result<Vec<Bucket>, LedgerError> {
    let since = period.first(now);
    let rows = usage(records, since, vec![period.dimension()]).await?;
    let mut buckets: Vec<Bucket> = (since..=now)
        .step_by(period.step() as usize)
        .map(|from| Bucket {
            from,
            usage: UsageRow::default(),
        })
        .collect();
    for row in rows {
        let from = row
            .group
            .first()
            .and_then(|text| seconds_of(text.as_deref()?));
        let place = from.map(|from| (from - since).div_euclid(period.step()));
        let bucket = place
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| buckets.get_mut(place));
        if let Some(bucket) = bucket {
            bucket.usage = row;
        }
    }
    Ok(buckets)
}

/// Seconds since 1970 of `2026-01-31`, `2026-01-31T17` or `2026-01-31T17:05`.
fn seconds_of(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once('T').unwrap_or((text, "0"));
    let (hour, minute) = clock.split_once(':').unwrap_or((clock, "0"));
    let days = distill_gateway::days_of_date(date)?;
    Some(days * 86_400 + hour.parse::<i64>().ok()? * 3600 + minute.parse::<i64>().ok()? * 60)
}

/// Open questions, and answered ones that stop somebody still.
async fn questions(records: &Records, now: i64) -> Result<Vec<Question>, LedgerError> {
    let open = QuestionFilter {
        only_open: true,
        ..QuestionFilter::default()
    };
    let mut questions = records.questions(&open).await?;
    let pausing = QuestionFilter {
        only_pausing: true,
        ..QuestionFilter::default()
    };
    for question in records.questions(&pausing).await? {
        let known = questions.iter().any(|known| known.id == question.id);
        if !known && question.pauses(now * 1000) {
            questions.push(question);
        }
    }
    Ok(questions)
}

/// The tables of a page of usage.
pub(super) async fn tables(
    records: &Records,
    kind: Kind,
    period: Period,
    now: i64,
) -> Result<Vec<Table>, LedgerError> {
    let since = period.first(now);
    let wanted: &[(&str, &str, &[Dimension])] = match kind {
        Kind::Teams => &[
            ("teams", "By team", &[Dimension::Team]),
            (
                "team-models",
                "By team and model",
                &[Dimension::Team, Dimension::Target],
            ),
        ],
        Kind::Tasks => &[
            ("tasks", "By task", &[Dimension::Task]),
            (
                "task-models",
                "By task and model",
                &[Dimension::Task, Dimension::Target],
            ),
        ],
        Kind::Models => &[
            ("models", "By model", &[Dimension::Target]),
            (
                "disciplines",
                "By discipline and model",
                &[Dimension::Discipline, Dimension::Target],
            ),
            (
                "levels",
                "By level and model",
                &[Dimension::Level, Dimension::Target],
            ),
            ("routes", "By route", &[Dimension::Route]),
        ],
        _ => &[
            (
                "people",
                "By person",
                &[
                    Dimension::User,
                    Dimension::Team,
                    Dimension::Discipline,
                    Dimension::Level,
                ],
            ),
            (
                "people-models",
                "By person and model",
                &[Dimension::User, Dimension::Target],
            ),
        ],
    };
    let mut tables = Vec::with_capacity(wanted.len());
    for (id, title, by) in wanted {
        let mut rows = usage(records, since, by.to_vec()).await?;
        if kind == Kind::Tasks {
            // Most requests name a model and no task.
            rows.retain(|row| row.group.first().is_some_and(Option::is_some));
        }
        tables.push(Table {
            id,
            title,
            dimensions: by.iter().map(|by| column_of(*by)).collect(),
            rows,
        });
    }
    Ok(tables)
}

/// What a dimension is called, and the filter of the list of requests that it is.
fn column_of(dimension: Dimension) -> (&'static str, Option<&'static str>) {
    match dimension {
        Dimension::User => ("person", Some("user")),
        Dimension::Team => ("team", Some("team")),
        Dimension::Task => ("task", Some("task")),
        Dimension::Route => ("route", Some("route")),
        Dimension::Target => ("model", None),
        other => (other.name(), None),
    }
}

pub(super) fn filter(fields: &Fields) -> Filter {
    let field = |name: &str| fields.get(name).map(str::to_owned);
    Filter {
        user: field("user"),
        team: field("team"),
        task: field("task"),
        route: field("route"),
        outcome: field("outcome"),
    }
}

pub(super) async fn requests(
    records: &Records,
    filter: &Filter,
    period: Period,
    now: i64,
) -> Result<Vec<RequestRecord>, LedgerError> {
    let filter = RequestFilter {
        user: filter.user.clone(),
        team: filter.team.clone(),
        task: filter.task.clone(),
        route: filter.route.clone(),
        outcome: filter.outcome.clone(),
        since_ms: Some(period.first(now) * 1000),
        limit: MOST_REQUESTS as u32,
        ..RequestFilter::default()
    };
    records.requests(&filter).await
}

/// One request with what belongs to it.
pub(super) struct Found {
    pub(super) request: RequestRecord,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) bodies: Option<StoredBody>,
}

pub(super) async fn request(records: &Records, id: &str) -> Result<Option<Found>, LedgerError> {
    let filter = RequestFilter {
        id: Some(id.to_owned()),
        limit: 1,
        ..RequestFilter::default()
    };
    let Some(request) = records.requests(&filter).await?.into_iter().next() else {
        return Ok(None);
    };
    Ok(Some(Found {
        request,
        attempts: records.attempts_of(id).await?,
        bodies: records.body(id).await?,
    }))
}

pub(super) async fn keys(ledger: &Ledger) -> Result<Vec<KeyInfo>, LedgerError> {
    ledger.list_keys().await
}

/// A key as the form describes it; the error is for the one who filled it in.
pub(super) fn new_key(fields: &Fields, by: &str) -> Result<NewKey, &'static str> {
    let field = |name: &str| fields.get(name).map(str::to_owned);
    let user = field("user").ok_or("Say whose key it is to be.")?;
    let usd_per_month = match fields.get("usd_per_month") {
        None => None,
        Some(text) => match text.trim_start_matches('$').parse::<f64>() {
            Ok(dollars) if dollars.is_finite() && (0.0..=1e6).contains(&dollars) => {
                Some(Usd::from_dollars(dollars))
            }
            _ => return Err("The dollars a month are not a number between 0 and 1,000,000."),
        },
    };
    let models = fields.get("models").unwrap_or_default();
    Ok(NewKey {
        user,
        team: field("team"),
        discipline: field("discipline"),
        level: field("level"),
        role: Role::User,
        models: models
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        limits: KeyLimits {
            usd_per_month,
            ..KeyLimits::default()
        },
        note: Some(format!("made on the page by {by}")),
        expires_ms: None,
    })
}

#[cfg(test)]
mod tests {
    use distill_gateway::Usd;

    use super::{Fields, new_key, seconds_of};

    #[test]
    fn the_ledgers_times_are_read() {
        assert_eq!(seconds_of("2026-01-31"), Some(1_769_817_600));
        assert_eq!(seconds_of("2026-01-31T17"), Some(1_769_878_800));
        assert_eq!(seconds_of("2026-01-31T17:05"), Some(1_769_879_100));
        assert_eq!(seconds_of("nonsense"), None);
    }

    #[test]
    fn a_form_makes_a_key_or_says_what_is_wrong() {
        let fields = Fields::read("user=ada&team=&models=fast%2C+task%2F*&usd_per_month=%2412.5");
        let key = new_key(&fields, "admin").unwrap();
        assert_eq!((key.user.as_str(), key.team), ("ada", None));
        assert_eq!(key.models, ["fast", "task/*"]);
        assert_eq!(key.limits.usd_per_month, Some(Usd::from_dollars(12.5)));
        assert!(new_key(&Fields::read("team=x"), "admin").is_err());
        for bad in ["nan", "-1", "much"] {
            let fields = Fields::read(&format!("user=ada&usd_per_month={bad}"));
            assert!(new_key(&fields, "admin").is_err(), "{bad}");
        }
    }
}
