//! Numbers, money and times as a person reads them. What is not known is a dash, never 0.

use std::{fmt, time::Duration};

use distill_gateway::Usd;

/// Shown where nothing was measured.
pub(super) const ABSENT: &str = "–";

/// Money: cents from a dollar up, four places from a cent up, and below that as many as two
/// digits take.
pub(super) struct Money(pub(super) Usd);

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.0.dollars();
        let size = dollars.abs();
        let sign = if dollars < 0.0 { "-" } else { "" };
        let places = if size == 0.0 || size >= 1.0 {
            2
        } else if size >= 0.01 {
            4
        } else {
            // Pico-dollars have twelve.
            ((1 - size.log10().floor() as i32) as usize).min(12)
        };
        let text = format!("{size:.places$}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        write!(formatter, "{sign}${}.{fraction}", grouped(whole))
    }
}

/// A count with its thousands apart.
pub(super) struct Count(pub(super) u64);

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&grouped(&self.0.to_string()))
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that fits a tile or an axis: three digits and a letter.
pub(super) struct Short(pub(super) f64);

impl fmt::Display for Short {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0.abs() {
            size if size >= 999.5e6 => (self.0 / 1e9, "G"),
            size if size >= 999.5e3 => (self.0 / 1e6, "M"),
            size if size >= 10_000.0 => (self.0 / 1e3, "k"),
            _ => (self.0, ""),
        };
        let places = if value.fract().abs() < 1e-9 || value.abs() >= 100.0 {
            0
        } else if value.abs() >= 10.0 {
            1
        } else {
            2
        };
        write!(formatter, "{value:.places$}{unit}")
    }
}

/// A span of time: milliseconds, seconds, minutes, hours or days.
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        match seconds {
            small if small < 0.001 => write!(formatter, "{:.2} ms", small * 1e3),
            small if small < 0.01 => write!(formatter, "{:.1} ms", small * 1e3),
            small if small < 1.0 => write!(formatter, "{:.0} ms", small * 1e3),
            medium if medium < 120.0 => write!(formatter, "{medium:.1} s"),
            long if long < 7200.0 => write!(formatter, "{:.0} min", long / 60.0),
            long if long < 172_800.0 => write!(formatter, "{:.0} h", long / 3600.0),
            long => write!(formatter, "{:.0} d", long / 86_400.0),
        }
    }
}

/// A share as a percentage.
pub(super) struct Share(pub(super) f64);

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1}%", self.0 * 100.0)
    }
}

/// A moment in seconds since 1970, in UTC.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    /// `2026-01-31`.
    pub(super) fn date(self) -> String {
        distill_gateway::date_of_days(self.0.div_euclid(86_400))
    }

    /// `17:05`.
    pub(super) fn clock(self) -> String {
        let second = self.0.rem_euclid(86_400);
        format!("{:02}:{:02}", second / 3600, second / 60 % 60)
    }

    /// `2026-01-31T17:05:09Z`, as `<time>` wants it.
    pub(super) fn machine(self) -> String {
        let second = self.0.rem_euclid(86_400);
        format!("{}T{}:{:02}Z", self.date(), self.clock(), second % 60)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.0.rem_euclid(60);
        write!(formatter, "{} {}:{second:02}", self.date(), self.clock())
    }
}

/// A value, or the sign that there is none.
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(formatter),
            None => formatter.write_str(ABSENT),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use distill_gateway::Usd;

    use super::{Count, Maybe, Moment, Money, Share, Short, Span};

    #[test]
    fn money_below_a_cent_is_shown_truly() {
        let shown = |dollars: f64| Money(Usd::from_dollars(dollars)).to_string();
        assert_eq!(shown(0.0), "$0.00");
        assert_eq!(shown(1_234_567.891), "$1,234,567.89");
        assert_eq!(shown(0.0123), "$0.0123");
        assert_eq!(shown(0.001_25), "$0.0013");
        assert_eq!(shown(0.000_000_42), "$0.00000042");
        assert_eq!(shown(-2.5), "-$2.50");
        assert_eq!(Money(Usd::from_pico(1)).to_string(), "$0.000000000001");
    }

    #[test]
    fn counts_spans_and_shares_are_short() {
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(12).to_string(), "12");
        for (value, text) in [
            (0.0, "0"),
            (9_999.0, "9999"),
            (12_345.0, "12.3k"),
            (1_000_000.0, "1M"),
            (2.5e9, "2.50G"),
            (0.25, "0.25"),
        ] {
            assert_eq!(Short(value).to_string(), text);
        }
        for (seconds, text) in [
            (0.000_25, "0.25 ms"),
            (0.0042, "4.2 ms"),
            (0.42, "420 ms"),
            (4.2, "4.2 s"),
            (600.0, "10 min"),
            (10_800.0, "3 h"),
            (864_000.0, "10 d"),
        ] {
            assert_eq!(Span(Duration::from_secs_f64(seconds)).to_string(), text);
        }
        assert_eq!(Share(0.1234).to_string(), "12.3%");
    }

    #[test]
    fn moments_are_in_utc_and_nothing_is_a_dash() {
        let moment = Moment(1_769_879_109);
        assert_eq!(moment.to_string(), "2026-01-31 17:05:09");
        assert_eq!(moment.machine(), "2026-01-31T17:05:09Z");
        assert_eq!(Maybe(None::<Count>).to_string(), "–");
        assert_eq!(Maybe(Some(Count(0))).to_string(), "0");
    }
}
