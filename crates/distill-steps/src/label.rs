//! `label`: asks the teacher about each row and keeps the answers apart from what they cost.

use std::collections::BTreeMap;

use distill_chat::{FinishReason, Task};
use distill_gateway::{Answered, AskError, Gateway};
use distill_runner::{StepContext, StepFailure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    rows::{AnswerRow, AnswerStatus, Row},
    teacher::{Teacher, fatal},
};

/// How often rows that nobody answered are asked again at the end.
const SWEEPS: usize = 2;

/// How many answers there are of each status.
pub(crate) type StatusCounts = BTreeMap<AnswerStatus, usize>;

/// What labelling took, for the report. Varies from run to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelUsage {
    pub rows: usize,
    pub statuses: StatusCounts,
    /// Answers that the journal already had: asked and paid earlier.
    pub from_journal: usize,
    pub seconds: f64,
    /// The gateway's own account of the job so far.
    pub spend: serde_json::Value,
    pub alerts: Vec<String>,
    pub simulated: bool,
}

/// Asks about every row and waits for all answers.
///
/// # Errors
/// A [`StepFailure`] when the budget is spent, the run was interrupted, or the journal fails. A row
/// that nobody could answer is not an error: it is an [`AnswerRow`] with a reason.
pub(crate) async fn ask_all(
    gateway: &Gateway,
    teacher: &Teacher,
    task: &Task,
    rows: &[Row],
    context: &StepContext,
) -> Result<(Vec<AnswerRow>, usize), StepFailure> {
    let mut answers: Vec<Option<AnswerRow>> = vec![None; rows.len()];
    let mut from_journal = 0;
    let mut waiting: Vec<usize> = (0..rows.len()).collect();
    for sweep in 0..=SWEEPS {
        let mut asked = JoinSet::new();
        for index in std::mem::take(&mut waiting) {
            let request = teacher.request(task, &rows[index])?;
            let gateway = gateway.clone();
            asked.spawn(async move { (index, gateway.ask(&request).await) });
        }
        let mut stopped = None;
        while let Some(joined) = asked.join_next().await {
            let (index, result) = joined.map_err(|error| {
                StepFailure::bug("a question to the teacher panicked").caused_by(error)
            })?;
            if let Err(error) = &result
                && let Some(failure) = fatal(error)
            {
                // Let what is in flight arrive: it is paid for, and the journal keeps it.
                stopped.get_or_insert(failure);
                continue;
            }
            if let Ok(answered) = &result {
                from_journal += usize::from(answered.from_journal && sweep == 0);
            } else if sweep < SWEEPS && !matches!(result, Err(AskError::Refused { .. })) {
                waiting.push(index);
            }
            answers[index] = Some(answer_row(task, &rows[index].id, result));
            let done = answers.iter().flatten().count();
            context.progress(done as u64, Some(rows.len() as u64), "rows");
        }
        if let Some(failure) = stopped {
            return Err(failure);
        }
        waiting.sort_unstable();
        if waiting.is_empty() {
            break;
        }
    }
    Ok((answers.into_iter().flatten().collect(), from_journal))
}

fn answer_row(task: &Task, id: &str, result: Result<Answered, AskError>) -> AnswerRow {
    let answered = match result {
        Ok(answered) => answered,
        Err(error) => {
            return AnswerRow {
                id: id.to_owned(),
                status: AnswerStatus::Failed,
                answer: None,
                reply: None,
                model: None,
                reason: Some(error.to_string()),
            };
        }
    };
    let completion = answered.completion;
    let (status, answer, reason) = match &completion.finish {
        FinishReason::Length => (
            AnswerStatus::Truncated,
            None,
            Some("the reply was cut off by the token limit".to_owned()),
        ),
        FinishReason::ContentFilter => (
            AnswerStatus::Refused,
            None,
            Some("the vendor withheld the reply".to_owned()),
        ),
        _ => match task.parse_reply(&completion.text) {
            Ok(answer) => (AnswerStatus::Answered, Some(answer.to_text()), None),
            Err(error) => (AnswerStatus::Invalid, None, Some(error.to_string())),
        },
    };
    AnswerRow {
        id: id.to_owned(),
        status,
        answer,
        reply: Some(completion.text),
        model: Some(completion.model),
        reason,
    }
}

/// Counts answers by status.
pub(crate) fn count_statuses(answers: &[AnswerRow]) -> StatusCounts {
    let mut counts = StatusCounts::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

/// What the journal knows of the job, as a document for the report.
///
/// # Errors
/// A [`StepFailure`] when the journal cannot be read.
pub(crate) fn usage(
    gateway: &Gateway,
    answers: &[AnswerRow],
    from_journal: usize,
    seconds: f64,
) -> Result<LabelUsage, StepFailure> {
    let spend = gateway.spend().map_err(|error| {
        StepFailure::failed("the label journal cannot be read").caused_by(error)
    })?;
    Ok(LabelUsage {
        rows: answers.len(),
        statuses: count_statuses(answers),
        from_journal,
        seconds,
        simulated: spend.simulated,
        spend: serde_json::to_value(&spend).map_err(|error| {
            StepFailure::bug("the spend summary does not serialise").caused_by(error)
        })?,
        alerts: gateway
            .alerts()
            .into_iter()
            .map(|alert| alert.message)
            .collect(),
    })
}
