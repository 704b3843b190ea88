//! What asking will cost, as `check` and `plan` show it.

use std::collections::BTreeSet;

use distill_steps::{SpendEstimate, SpendLine};

/// The lines, what they come to, each account's cap, and how old the prices are.
pub(super) fn render(estimate: &SpendEstimate) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let width = estimate
        .lines
        .iter()
        .map(|line| line.what.len())
        .max()
        .unwrap_or_default();
    let mut put = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    put(format!(
        "{:width$}  {:>8}  {:>8}  {:>10}  {:>10}",
        "asked", "requests", "answered", "about", "at most"
    ));
    for line in &estimate.lines {
        put(format!(
            "{:width$}  {:>8}  {:>8}  {:>10}  {:>10}{}",
            line.what,
            line.requests,
            line.in_journal
                .map_or_else(|| "?".to_owned(), |answered| answered.to_string()),
            line.expected_usd.to_string(),
            line.worst_usd.to_string(),
            if line.simulated { "  SIMULATED" } else { "" },
        ));
    }
    put(format!(
        "spend   about {}, at most {}",
        estimate.expected_usd, estimate.worst_usd
    ));
    let caps: Vec<String> = estimate
        .accounts
        .iter()
        .map(|account| format!("{} ${}", account.name, account.cap_usd))
        .collect();
    put(format!("caps    {}", caps.join(", ")));
    for account in &estimate.accounts {
        if account.expected_usd.dollars() > account.cap_usd {
            put(format!(
                "note    {} is expected to cost {}, above its cap: the run would stop; raise `{}` or ask for less",
                account.name, account.expected_usd, account.cap_key
            ));
        }
    }
    put(format!("time    about {:.0} s of asking", estimate.seconds));
    put(format!("prices  {}", prices(&estimate.lines)));
    if estimate.lines.iter().any(|line| line.in_journal.is_none()) {
        put("judge   every answer in every order; which of them were judged before is known when the answers are".to_owned());
    }
    text
}

fn prices(lines: &[SpendLine]) -> String {
    let dated = |line: &SpendLine| match &line.price_as_of {
        Some(day) => format!("{} as of {day}", line.model),
        None if line.simulated => format!("{} made up", line.model),
        None => format!("{} from your settings or not dated", line.model),
    };
    let prices: BTreeSet<String> = lines.iter().map(dated).collect();
    prices.into_iter().collect::<Vec<_>>().join(", ")
}
