//! `/admin`: for whoever runs the proxy.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{Method, Response, StatusCode, request::Parts},
};
use distill_gateway::days_of_date;
use distill_ledger::{
    Answer, Caller, Dimension, KeyLimits, LedgerError, NewKey, QuestionFilter, RequestFilter, Role,
    UsageQuery,
};
use distill_wire::ErrorKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, live::Live, service::json_response, story::now_ms};
use crate::problem::Problem;

/// Answers an admin.
///
/// # Errors
/// A [`Problem`].
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    parts: &Parts,
    path: &str,
    body: &Bytes,
) -> Result<Response<Body>, Problem> {
    let query = Query::of(parts.uri.query().unwrap_or_default());
    let records = shared.ledger.records();
    match (&parts.method, path) {
        (&Method::POST, "reload") => return Ok(reload(shared).await),
        (&Method::GET, "config") => Ok(configuration(&shared.live())),
        (&Method::GET, "usage") => usage(shared, &query).await,
        (&Method::GET, "requests") => {
            let filter = RequestFilter {
                user: query.text("user"),
                team: query.text("team"),
                route: query.text("route"),
                since_ms: query.moment("since")?,
                until_ms: query.moment("until")?,
                limit: query.limit()?,
                ..RequestFilter::default()
            };
            let rows = records.requests(&filter).await.map_err(unreadable)?;
            Ok(json!({"data": rows}))
        }
        (&Method::GET, "unsettled") => {
            let rows = records.unsettled().await.map_err(unreadable)?;
            Ok(json!({"data": rows}))
        }
        (&Method::GET, "questions") => {
            let filter = QuestionFilter {
                only_open: query.text("open").is_some_and(|open| open == "true"),
                limit: query.limit()?,
                ..QuestionFilter::default()
            };
            let rows = records.questions(&filter).await.map_err(unreadable)?;
            Ok(json!({"data": rows}))
        }
        (&Method::GET, "alerts") => Ok(json!({"data": shared.alerts.list()})),
        (&Method::GET, "keys") => {
            let keys = shared.ledger.list_keys().await.map_err(unreadable)?;
            Ok(json!({"data": keys}))
        }
        (&Method::POST, "keys") => make_key(shared, body).await,
        (method, path) => match (method, path.split_once('/')) {
            (&Method::POST, Some(("questions", id))) => {
                answer_question(shared, caller, id, body).await
            }
            (&Method::DELETE, Some(("keys", id))) => {
                shared.ledger.revoke_key(id).await.map_err(unreadable)?;
                Ok(json!({"done": true}))
            }
            _ => Err(Problem::new(
                ErrorKind::NotFound,
                "there is nothing at this path; GET /openapi.json lists what there is",
            )
            .code("unknown_path")),
        },
    }
    .map(|value| json_response(&value))
}

async fn reload(shared: &Shared) -> Response<Body> {
    match shared.reload().await {
        Ok(reloaded) => json_response(&json!({
            "taken": true,
            "config": reloaded.digest,
            "changed": reloaded.changed,
            "needs_restart": reloaded.needs_restart,
        })),
        Err(findings) => {
            let mut response = json_response(&json!({
                "taken": false,
                "config": shared.live().config.digest,
                "findings": findings,
            }));
            *response.status_mut() = StatusCode::CONFLICT;
            response
        }
    }
}

/// Names only: what a configuration holds of addresses and keys stays there.
fn configuration(live: &Live) -> Value {
    let config = &live.config;
    let routes = live.named().map(|route| {
        json!({
            "name": route.name,
            "members": route.members.iter().map(|member| &member.target).collect::<Vec<_>>(),
        })
    });
    let targets = live.targets();
    let targets = targets
        .iter()
        .map(|target| json!({"target": target.target, "state": target.state}));
    json!({
        "name": config.name,
        "config": config.digest,
        "passthrough": config.passthrough,
        "routes": routes.collect::<Vec<_>>(),
        "tasks": live.tasks.list(),
        "targets": targets.collect::<Vec<_>>(),
        "notes": config.notes,
    })
}

async fn usage(shared: &Shared, query: &Query) -> Result<Value, Problem> {
    let by = query
        .text("by")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            Dimension::from_name(name).ok_or_else(|| {
                let known: Vec<_> = Dimension::ALL.iter().map(|known| known.name()).collect();
                invalid(
                    "by",
                    &format!("has no column `{name}`; there are {}", known.join(", ")),
                )
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let asked = UsageQuery {
        by,
        since_ms: query.moment("since")?,
        until_ms: query.moment("until")?,
        only: Vec::new(),
    };
    let table = shared
        .ledger
        .records()
        .usage(&asked)
        .await
        .map_err(unreadable)?;
    let columns: Vec<_> = table.by.iter().map(|column| column.name()).collect();
    Ok(json!({"columns": columns, "rows": table.rows}))
}

/// What a new key is made of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedKey {
    user: String,
    team: Option<String>,
    discipline: Option<String>,
    level: Option<String>,
    #[serde(default = "user")]
    role: Role,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    limits: KeyLimits,
    note: Option<String>,
    expires_ms: Option<i64>,
}

fn user() -> Role {
    Role::User
}

async fn make_key(shared: &Shared, body: &Bytes) -> Result<Value, Problem> {
    let wanted: WantedKey = read(body)?;
    let (key, info) = shared
        .ledger
        .create_key(NewKey {
            user: wanted.user,
            team: wanted.team,
            discipline: wanted.discipline,
            level: wanted.level,
            role: wanted.role,
            models: wanted.models,
            limits: wanted.limits,
            note: wanted.note,
            expires_ms: wanted.expires_ms,
        })
        .await
        .map_err(unreadable)?;
    // The one place where a key is told, to the admin who made it.
    Ok(json!({"id": info.id, "key": key.expose(), "user": info.user}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenAnswer {
    answer: Word,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    GoOn,
    Stop,
}

async fn answer_question(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    body: &Bytes,
) -> Result<Value, Problem> {
    let given: GivenAnswer = read(body)?;
    let stop_for = shared.live().config.spend.stop_for;
    let (answer, until) = match given.answer {
        Word::GoOn => (Answer::GoOn, None),
        Word::Stop => (
            Answer::Stop,
            stop_for.and_then(|time| {
                Some(now_ms().saturating_add(i64::try_from(time.as_millis()).ok()?))
            }),
        ),
    };
    shared
        .ledger
        .answer(id, answer, &caller.user, until)
        .await
        .map_err(unreadable)?;
    Ok(json!({"done": true}))
}

fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            ErrorKind::InvalidRequest,
            format!("the body is not what GET /openapi.json says: {error}"),
        )
    })
}

fn unreadable(error: LedgerError) -> Problem {
    match &error {
        LedgerError::Unknown { .. } => {
            Problem::new(ErrorKind::NotFound, error.to_string()).code("not_found")
        }
        _ => Problem::new(ErrorKind::Overloaded, error.to_string()).code("ledger_unavailable"),
    }
}

fn invalid(name: &str, problem: &str) -> Problem {
    Problem::new(ErrorKind::InvalidRequest, format!("`{name}` {problem}")).param(name)
}

/// The query of an address.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: &str) -> Self {
        // The parser of forms is what reads addresses' queries too.
        let address = reqwest::Url::parse(&format!("http://localhost/?{text}"));
        Self(address.map_or_else(
            |_| Vec::new(),
            |address| {
                address
                    .query_pairs()
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect()
            },
        ))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }

    /// Rows at most: a thousand.
    fn limit(&self) -> Result<u32, Problem> {
        match self.text("limit") {
            None => Ok(0),
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=1000).contains(limit))
                .ok_or_else(|| invalid("limit", "is a number from 1 to 1000")),
        }
    }

    /// A moment in milliseconds since 1970: a length of time back from now, or the start of a day.
    fn moment(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        moment(&text, now_ms()).map(Some).ok_or_else(|| {
            invalid(
                name,
                "is a time back from now as `30d`, `12h`, `15m`, or a day as `2026-01-31`",
            )
        })
    }
}

fn moment(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(day) = days_of_date(text) {
        return day.checked_mul(86_400_000);
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "d" => 86_400_000,
        "h" => 3_600_000,
        "m" => 60_000,
        _ => return None,
    };
    let back = number.parse::<u32>().ok()?;
    now_ms.checked_sub(i64::from(back).checked_mul(unit)?)
}

#[cfg(test)]
mod tests {
    use super::{Query, moment};

    #[test]
    fn a_moment_is_a_time_back_or_a_day() {
        let now = 1_000_000_000_000;
        assert_eq!(moment("1d", now), Some(now - 86_400_000));
        assert_eq!(moment("90m", now), Some(now - 5_400_000));
        assert_eq!(moment("1970-01-02", now), Some(86_400_000));
        for bad in ["", "d", "-1d", "1x", "1.5h", "é"] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::of("by=team%2Cmodel&limit=5&user=a+b");
        assert_eq!(query.text("by").as_deref(), Some("team,model"));
        assert_eq!(query.text("user").as_deref(), Some("a b"));
        assert_eq!(query.limit().unwrap(), 5);
        assert!(Query::of("limit=0").limit().is_err());
        assert!(Query::of("since=yesterday").moment("since").is_err());
    }
}
