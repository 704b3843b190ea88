//! `smoke`: asks the teacher about a few rows before the rest, and stops the run when the template,
//! the parse rate, truncation or the price is wrong.

use distill_gateway::{Estimate, Usd};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};

use crate::{
    label::{StatusCounts, count_statuses},
    rows::{AnswerRow, AnswerStatus},
};

/// Rows asked first.
pub(crate) const SMOKE_ROWS: usize = 16;
/// Share of usable answers under which labelling the rest would be waste.
pub(crate) const LEAST_USABLE: f64 = 0.75;

/// What the smoke showed. Holds nothing that varies from run to run: it is an input of labelling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Smoke {
    pub rows: usize,
    pub statuses: StatusCounts,
}

/// Judges the first answers.
///
/// # Errors
/// A [`StepFailure`] that says what is wrong, with an example, and what to change.
pub(crate) fn judge(answers: &[AnswerRow]) -> Result<Smoke, StepFailure> {
    let statuses = count_statuses(answers);
    let usable = statuses.get(&AnswerStatus::Answered).copied().unwrap_or(0);
    if (usable as f64) < LEAST_USABLE * answers.len() as f64 {
        let worst = statuses
            .iter()
            .filter(|(status, _)| **status != AnswerStatus::Answered)
            .max_by_key(|(_, count)| **count)
            .map(|(status, _)| *status);
        let example = answers.iter().find(|answer| Some(answer.status) == worst);
        let failure = StepFailure::bad_input(format!(
            "the smoke stopped the run: only {usable} of {} first answers can be used{}",
            answers.len(),
            example.map(describe).unwrap_or_default(),
        ));
        return Err(failure.hint(match worst {
            Some(AnswerStatus::Truncated) => "raise `teacher.max_tokens`",
            Some(AnswerStatus::Invalid) => "say in `task.system` exactly which form the answer must have, or mend `task.labels`",
            Some(AnswerStatus::Refused) => "the vendor withholds these replies: try another teacher",
            _ => "see whether the teacher's address and key are right, then run again",
        }));
    }
    Ok(Smoke {
        rows: answers.len(),
        statuses,
    })
}

fn describe(answer: &AnswerRow) -> String {
    let reply = answer.reply.as_deref().map(|reply| {
        let start: String = reply.chars().take(80).collect();
        format!(", reply {start:?}")
    });
    format!(
        " (row `{}`: {}{})",
        answer.id,
        answer.reason.as_deref().unwrap_or("no reason given"),
        reply.unwrap_or_default()
    )
}

/// Refuses a job whose expected price is over the budget before most of it is spent.
///
/// # Errors
/// A [`StepFailure`] of kind budget with both figures.
pub(crate) fn check_price(estimate: &Estimate, budget: Usd) -> Result<(), StepFailure> {
    if estimate.expected_usd <= budget {
        return Ok(());
    }
    Err(StepFailure::budget(format!(
        "labelling {} rows is expected to cost {}, the budget is {budget}",
        estimate.requests - estimate.in_journal,
        estimate.expected_usd,
    ))
    .hint("raise `teacher.budget_usd`, set `data.limit`, or choose a cheaper teacher; nothing but the smoke was spent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(usable: usize, other: AnswerStatus) -> Vec<AnswerRow> {
        (0..SMOKE_ROWS)
            .map(|index| AnswerRow {
                id: index.to_string(),
                status: if index < usable {
                    AnswerStatus::Answered
                } else {
                    other
                },
                answer: None,
                reply: Some("Sure! The answer is".into()),
                model: None,
                reason: Some("the reply is not one of the 11 labels".into()),
                token_logprobs: None,
            })
            .collect()
    }

    #[test]
    fn a_smoke_passes_with_three_usable_answers_of_four() {
        assert!(judge(&answers(12, AnswerStatus::Invalid)).is_ok());
        assert!(judge(&answers(11, AnswerStatus::Invalid)).is_err());
    }

    #[test]
    fn a_failed_smoke_shows_an_example_and_what_to_change() {
        let failure = judge(&answers(2, AnswerStatus::Invalid)).unwrap_err();
        assert!(
            failure.message.contains("only 2 of 16")
                && failure.message.contains("Sure! The answer is"),
            "{}",
            failure.message
        );
        assert!(failure.hint.unwrap().contains("task.system"));
        let failure = judge(&answers(2, AnswerStatus::Truncated)).unwrap_err();
        assert!(failure.hint.unwrap().contains("max_tokens"));
    }
}
