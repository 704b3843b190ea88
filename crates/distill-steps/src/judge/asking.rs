//! Puts the questions to the judges and waits for what they say.

use distill_chat::FinishReason;
use distill_gateway::{AskError, Gateway};
use distill_runner::{StepContext, StepFailure};
use tokio::task::JoinSet;

use super::{Question, SWEEPS, Said};
use crate::teacher::fatal;

/// Asks every question and waits for all replies, in the order of the questions.
pub(super) async fn ask_all(
    gateways: &[Gateway],
    questions: &[Question],
    context: &StepContext,
) -> Result<(Vec<Said>, usize), StepFailure> {
    let mut replies: Vec<Option<Said>> = vec![None; questions.len()];
    let mut from_journal = 0;
    let mut waiting: Vec<usize> = (0..questions.len()).collect();
    for sweep in 0..=SWEEPS {
        let mut asked = JoinSet::new();
        for index in std::mem::take(&mut waiting) {
            let gateway = gateways[questions[index].judge].clone();
            let request = questions[index].request.clone();
            asked.spawn(async move { (index, gateway.ask(&request).await) });
        }
        let mut stopped = None;
        while let Some(joined) = asked.join_next().await {
            let (index, result) = joined.map_err(|error| {
                StepFailure::bug("a question to the judge panicked").caused_by(error)
            })?;
            if let Err(error) = &result
                && let Some(failure) = fatal(error)
            {
                // What is in flight is paid for: let it arrive in the journal.
                stopped.get_or_insert(of_the_judge(error, failure));
                continue;
            }
            replies[index] = Some(match result {
                Ok(answered) => {
                    from_journal += usize::from(answered.from_journal && sweep == 0);
                    match answered.completion.finish {
                        FinishReason::Length => {
                            Err("the judge's reply was cut off by the token limit".to_owned())
                        }
                        FinishReason::ContentFilter => {
                            Err("the judge's vendor withheld the reply".to_owned())
                        }
                        _ => Ok(answered.completion.text),
                    }
                }
                Err(error) => {
                    if sweep < SWEEPS && !matches!(error, AskError::Refused { .. }) {
                        waiting.push(index);
                    }
                    Err(format!("the judge did not answer: {error}"))
                }
            });
            let done = replies.iter().flatten().count();
            context.progress(done as u64, Some(questions.len() as u64), "judgements");
        }
        if let Some(failure) = stopped {
            return Err(failure);
        }
        waiting.sort_unstable();
        if waiting.is_empty() {
            break;
        }
    }
    Ok((replies.into_iter().flatten().collect(), from_journal))
}

/// A spent budget is the judge's own, not the teacher's.
fn of_the_judge(error: &AskError, failure: StepFailure) -> StepFailure {
    match error {
        AskError::BudgetExhausted { .. } => failure
            .hint("raise `evals.judge.budget_usd`: what was judged is kept and not paid for again"),
        _ => failure,
    }
}
