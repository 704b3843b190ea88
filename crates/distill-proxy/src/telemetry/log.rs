//! The access log: one line for each request, as text or JSON. It holds no prompt, no reply and no
//! key. Where lines go is for whoever starts the proxy to say: nothing is printed here.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use distill_gateway::Usd;
use serde_json::{Map, Value};

use crate::config::LogFormat;

/// Takes finished lines. It must not wait: returns whether the line was taken.
pub type LogSink = Arc<dyn Fn(String) -> bool + Send + Sync>;

/// A request as the log tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessLine {
    pub request_id: String,
    pub method: String,
    /// Without its query.
    pub path: String,
    pub status: u16,
    /// `None`: nobody was recognised.
    pub user: Option<String>,
    pub team: Option<String>,
    pub model: Option<String>,
    pub route: Option<String>,
    pub task: Option<String>,
    pub target: Option<String>,
    pub attempts: Option<u32>,
    pub usd: Option<Usd>,
    pub cache: Option<String>,
    pub outcome: &'static str,
    /// Why it was turned away, as the answer has it.
    pub code: Option<String>,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    pub simulated: bool,
}

/// Something that happened to the proxy itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// One word, such as `reload` or `panic`.
    pub what: &'static str,
    pub message: String,
}

impl AccessLine {
    /// The line in the configured form; `None` where nothing is logged. `now` is in milliseconds
    /// since 1970.
    pub fn render(&self, format: LogFormat, now: i64) -> Option<String> {
        let fields = self.fields();
        match format {
            LogFormat::Off => None,
            LogFormat::Json => Some(json("request", now, fields)),
            LogFormat::Text => Some(text(now, fields)),
        }
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let milliseconds = |time: Duration| Value::from(rounded(time.as_secs_f64() * 1e3));
        let mut fields = vec![
            ("id", Value::from(self.request_id.as_str())),
            ("method", self.method.as_str().into()),
            ("path", self.path.as_str().into()),
            ("status", self.status.into()),
            ("outcome", self.outcome.into()),
            ("ms", milliseconds(self.latency)),
        ];
        let optional = [
            ("code", self.code.as_deref().map(Value::from)),
            ("first_token_ms", self.first_token.map(milliseconds)),
            ("user", self.user.as_deref().map(Value::from)),
            ("team", self.team.as_deref().map(Value::from)),
            ("model", self.model.as_deref().map(Value::from)),
            ("route", self.route.as_deref().map(Value::from)),
            ("task", self.task.as_deref().map(Value::from)),
            ("target", self.target.as_deref().map(Value::from)),
            ("attempts", self.attempts.map(Value::from)),
            ("usd", self.usd.map(|usd| usd.dollars().into())),
            ("cache", self.cache.as_deref().map(Value::from)),
            ("simulated", self.simulated.then(|| true.into())),
        ];
        fields.extend(
            optional
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        fields
    }
}

impl Notice {
    /// The line in the configured form; one that asks for no access log still gets these.
    pub fn render(&self, format: LogFormat, now: i64) -> String {
        let fields = vec![("message", Value::from(self.message.as_str()))];
        match format {
            LogFormat::Json => json(self.what, now, fields),
            LogFormat::Text | LogFormat::Off => {
                // Findings stand on a line each.
                let message = self.message.trim_end().replace('\n', "; ");
                let message = one_line(&message, NOTICE_LENGTH);
                format!("{} {}: {message}", clock(now), self.what)
            }
        }
    }
}

fn json(event: &str, now: i64, fields: Vec<(&'static str, Value)>) -> String {
    let mut object = Map::new();
    object.insert("time_ms".into(), now.into());
    object.insert("event".into(), event.into());
    for (name, value) in fields {
        object.insert(name.into(), value);
    }
    Value::Object(object).to_string()
}

fn text(now: i64, fields: Vec<(&'static str, Value)>) -> String {
    let mut line = clock(now);
    for (name, value) in fields {
        let shown = match &value {
            Value::String(text) => one_line(text, FIELD_LENGTH),
            value => value.to_string(),
        };
        // The first ones speak for themselves.
        let _ = match name {
            "method" | "path" | "status" | "outcome" => write!(line, " {shown}"),
            "ms" => write!(line, " {shown} ms"),
            name => write!(line, " {name}={shown}"),
        };
    }
    line
}

/// Characters of a field that a caller chose.
const FIELD_LENGTH: usize = 300;
/// Characters of what happened to the proxy itself, such as all that is wrong with its configuration.
const NOTICE_LENGTH: usize = 2_000;

/// What a caller named must not make a line of its own or draw on a terminal.
fn one_line(text: &str, length: usize) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .take(length)
        .collect()
}

/// To a hundredth.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// RFC 3339 in UTC, to the millisecond.
pub fn clock(now: i64) -> String {
    let (day, rest) = (now.div_euclid(86_400_000), now.rem_euclid(86_400_000));
    format!(
        "{}T{:02}:{:02}:{:02}.{:03}Z",
        distill_gateway::date_of_days(day),
        rest / 3_600_000,
        rest / 60_000 % 60,
        rest / 1000 % 60,
        rest % 1000
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::{AccessLine, Notice, clock};
    use crate::config::LogFormat;

    const NOW: i64 = 1_700_000_000_123;

    fn line() -> AccessLine {
        AccessLine {
            request_id: "req-1".into(),
            method: "POST".into(),
            path: "/v1/messages".into(),
            status: 200,
            user: Some("ada\nroot logged in".into()),
            outcome: "answered",
            latency: Duration::from_micros(1_234),
            ..AccessLine::default()
        }
    }

    #[test]
    fn text_is_one_line_whatever_a_caller_is_called() {
        let text = line().render(LogFormat::Text, NOW).unwrap();
        assert_eq!(
            text,
            "2023-11-14T22:13:20.123Z id=req-1 POST /v1/messages 200 answered 1.23 ms \
             user=ada\u{fffd}root logged in"
        );
    }

    #[test]
    fn json_is_an_object_without_what_is_not_known() {
        let text = line().render(LogFormat::Json, NOW).unwrap();
        assert_eq!(text.lines().count(), 1);
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["event"], "request");
        assert_eq!(object["time_ms"], NOW);
        assert_eq!(object["ms"], 1.23);
        assert!(object.get("usd").is_none() && object.get("simulated").is_none());
        assert_eq!(line().render(LogFormat::Off, NOW), None);
    }

    #[test]
    fn findings_on_several_lines_are_told_in_one() {
        let notice = Notice {
            what: "reload",
            message: "refused: a.yaml:1:1: one\na.yaml:2:1: two\n".into(),
        };
        assert_eq!(
            notice.render(LogFormat::Text, NOW),
            "2023-11-14T22:13:20.123Z reload: refused: a.yaml:1:1: one; a.yaml:2:1: two"
        );
    }

    #[test]
    fn a_notice_is_told_even_where_requests_are_not() {
        let notice = Notice {
            what: "reload",
            message: "took `proxy.yaml`".into(),
        };
        assert_eq!(
            notice.render(LogFormat::Off, NOW),
            "2023-11-14T22:13:20.123Z reload: took `proxy.yaml`"
        );
        let object: Value = serde_json::from_str(&notice.render(LogFormat::Json, NOW)).unwrap();
        assert_eq!(object["event"], "reload");
    }

    #[test]
    fn the_clock_is_utc() {
        assert_eq!(clock(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(clock(86_399_999), "1970-01-01T23:59:59.999Z");
    }
}
