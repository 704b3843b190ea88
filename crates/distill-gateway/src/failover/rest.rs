//! How long a throttled target wants to be left alone, from its headers.

use std::time::Duration;

use crate::price::days_since_epoch;

/// Reads `retry-after-ms`, `retry-after` and the vendors' rate-limit headers. `now` is seconds since
/// 1970. `None`: they say nothing.
pub fn rest_from_headers(header: &dyn Fn(&str) -> Option<String>, now: f64) -> Option<Duration> {
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    if let Some(milliseconds) = header("retry-after-ms").and_then(|text| text.trim().parse().ok()) {
        let milliseconds: f64 = milliseconds;
        return seconds(milliseconds / 1000.0);
    }
    if let Some(text) = header("retry-after") {
        let told = text.trim().parse::<f64>().ok();
        let told = told.or_else(|| Some(http_date(text.trim())? - now));
        if let Some(rest) = told.and_then(seconds) {
            return Some(rest);
        }
    }
    // Only a limit that is used up says when the target is free again.
    ["requests", "tokens", "input-tokens", "output-tokens"]
        .iter()
        .filter_map(|kind| {
            let openai = [
                format!("x-ratelimit-remaining-{kind}"),
                format!("x-ratelimit-reset-{kind}"),
            ];
            let anthropic = [
                format!("anthropic-ratelimit-{kind}-remaining"),
                format!("anthropic-ratelimit-{kind}-reset"),
            ];
            [openai, anthropic].iter().find_map(|[remaining, reset]| {
                (header(remaining)?.trim() == "0").then_some(())?;
                let reset = header(reset)?;
                span(reset.trim()).or_else(|| Some(timestamp(reset.trim())? - now))
            })
        })
        .fold(None, |longest: Option<f64>, rest| {
            Some(longest.map_or(rest, |longest| longest.max(rest)))
        })
        .and_then(seconds)
}

/// Seconds of `1s`, `6m0s`, `120ms`, `1h2m3.5s` or a bare number.
fn span(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits =
            rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let value: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|character: char| character.is_ascii_digit())
            .map_or(rest.len(), |length| digits + length);
        total += value
            * match &rest[digits..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Some(total)
}

/// Seconds since 1970 of `2026-07-24T18:23:43Z`.
fn timestamp(text: &str) -> Option<f64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let mut next = || date.next()?.ok();
    let days = days_since_epoch(next()?, next()?, next()?);
    let time = time.strip_suffix('Z')?;
    let time = time.split('.').next()?;
    Some(days as f64 * 86_400.0 + time_of_day(time)?)
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<f64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year = parts.next()?.parse().ok()?;
    let days = days_since_epoch(year, i64::try_from(month).ok()? + 1, day);
    Some(days as f64 * 86_400.0 + time_of_day(parts.next()?)?)
}

fn time_of_day(text: &str) -> Option<f64> {
    let mut parts = text.split(':').map(str::parse::<f64>);
    let mut next = || parts.next()?.ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{http_date, rest_from_headers, span};

    fn rest(headers: &[(&str, &str)]) -> Option<Duration> {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        rest_from_headers(&header, 784_111_777.0)
    }

    #[test]
    fn each_form_of_header_is_read() {
        let milliseconds = |count| Some(Duration::from_millis(count));
        assert_eq!(
            rest(&[("retry-after-ms", "250"), ("retry-after", "1")]),
            milliseconds(250)
        );
        assert_eq!(rest(&[("retry-after", "20")]), milliseconds(20_000));
        // Nine seconds after `now`.
        assert_eq!(
            rest(&[("retry-after", "Sun, 06 Nov 1994 08:49:46 GMT")]),
            milliseconds(9000)
        );
        // A date in the past is no rest at all.
        assert_eq!(
            rest(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]),
            milliseconds(0)
        );
        assert_eq!(
            rest(&[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ]),
            milliseconds(360_000)
        );
        assert_eq!(
            rest(&[
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "1994-11-06T08:50:37Z"),
            ]),
            milliseconds(60_000)
        );
    }

    #[test]
    fn a_limit_that_is_not_used_up_and_nonsense_say_nothing() {
        assert_eq!(rest(&[]), None);
        assert_eq!(rest(&[("retry-after", "soon")]), None);
        assert_eq!(
            rest(&[
                ("x-ratelimit-remaining-requests", "5"),
                ("x-ratelimit-reset-requests", "1s")
            ]),
            None
        );
        assert_eq!(rest(&[("retry-after", "1e400")]), None);
    }

    #[test]
    fn spans_and_dates() {
        assert_eq!(span("120ms"), Some(0.12));
        assert_eq!(span("1h2m3.5s"), Some(3723.5));
        assert_eq!(span("7w"), None);
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777.0)
        );
    }
}
