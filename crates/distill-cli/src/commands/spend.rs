//! `distill spend`: questions about spend, and their answers.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use distill_gateway::date_of_days;
use distill_ledger::{Answer, Clock, Question, QuestionFilter, Scope};
use serde_json::json;

use super::ledger::{LedgerArguments, failure, moment};
use crate::{arguments::Format, environment, failure::Failure};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A proxy that runs knows of an answer within a second. Requests in flight finish in any case.\n\nExamples:\n  distill spend\n  distill spend answer q-1a2b3c go\n  distill spend answer q-1a2b3c stop --for 2h"
)]
pub(crate) struct SpendArguments {
    #[command(subcommand)]
    command: Option<SpendCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum SpendCommand {
    /// Answer a question, or answer it anew: `go` lifts a stop
    Answer(AnswerArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Answered ones too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    ledger: LedgerArguments,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct AnswerArguments {
    /// The question's id
    question: String,
    /// Whether its person may go on
    #[arg(value_enum)]
    answer: GoOrStop,
    #[arg(
        long = "for",
        value_name = "TIME",
        help = "With stop: for how long, like 2h [default: `spend.stop_for`, else until somebody says go]"
    )]
    length: Option<String>,
    /// Who answers, for the record [default: who is logged in]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    ledger: LedgerArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GoOrStop {
    Go,
    Stop,
}

pub(crate) async fn execute(arguments: &SpendArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Some(SpendCommand::Answer(arguments)) => answer(arguments).await,
        None => list(&arguments.list).await,
    }
}

async fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let found = arguments.ledger.open(false).await?;
    let now_ms = Clock::System.now_ms();
    let filter = QuestionFilter {
        limit: 1_000,
        ..QuestionFilter::default()
    };
    let mut questions = found.records.questions(&filter).await.map_err(failure)?;
    questions
        .retain(|question| arguments.all || question.answer.is_none() || question.pauses(now_ms));
    if arguments.format == Format::Json {
        println!("{:#}", json!(questions));
        return Ok(ExitCode::SUCCESS);
    }
    if questions.is_empty() {
        eprintln!("no question is open, and nobody is stopped");
    }
    for question in &questions {
        println!(
            "{}  {}  {}",
            question.id,
            at(question.raised_ms),
            whom(question)
        );
        println!("  {}", question.wording);
        println!("  {}", state(question, now_ms));
    }
    Ok(ExitCode::SUCCESS)
}

async fn answer(arguments: &AnswerArguments) -> Result<ExitCode, Failure> {
    let answer = match arguments.answer {
        GoOrStop::Go => Answer::GoOn,
        GoOrStop::Stop => Answer::Stop,
    };
    let now_ms = Clock::System.now_ms();
    let until = match (&arguments.length, answer) {
        (Some(_), Answer::GoOn) => {
            return Err(Failure::bad_input("`--for` says how long a stop holds")
                .hint("leave it out with `go`"));
        }
        (Some(length), Answer::Stop) => Some(moment(length, now_ms, true)?),
        (None, Answer::Stop) => arguments
            .ledger
            .stop_for()?
            .map(|length| now_ms + milliseconds(length)),
        (None, Answer::GoOn) => None,
    };
    let found = arguments.ledger.open(false).await?;
    let by = arguments.by.clone().unwrap_or_else(environment::person);
    let question = found
        .records
        .answer(&arguments.question, answer, &by, until)
        .await
        .map_err(|error| failure(error).hint("`distill spend` lists what is open"))?;
    println!("{}  {}", question.id, state(&question, now_ms));
    Ok(ExitCode::SUCCESS)
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2)
}

fn whom(question: &Question) -> String {
    let about = match &question.about {
        Scope::Global => "everything".to_owned(),
        Scope::Key(name) => format!("key {name}"),
        Scope::User(name) => name.clone(),
        Scope::Team(name) => format!("team {name}"),
        Scope::Task(name) => format!("task {name}"),
    };
    match &question.user {
        Some(user) if *user != about => format!("about {about}, to {user}"),
        _ => format!("about {about}"),
    }
}

fn state(question: &Question, now_ms: i64) -> String {
    let Some(answer) = question.answer else {
        let otherwise = match question.default {
            Answer::GoOn => "everything goes on",
            Answer::Stop => "new requests are stopped",
        };
        let meanwhile = if question.holds {
            "new requests are refused until then; "
        } else {
            ""
        };
        return format!(
            "open: {meanwhile}without an answer by {}, {otherwise}; `distill spend answer {} go|stop`",
            at(question.deadline_ms),
            question.id
        );
    };
    let by = match question.answered_by.as_deref() {
        Some("deadline") => "because nobody answered in time".to_owned(),
        Some(name) => format!("by {name}"),
        None => "by somebody".to_owned(),
    };
    let when = question
        .answered_ms
        .map_or_else(String::new, |ms| format!(" at {}", at(ms)));
    match answer {
        Answer::GoOn => format!("goes on, {by}{when}"),
        Answer::Stop if !question.pauses(now_ms) => format!("was stopped {by}{when}"),
        Answer::Stop => {
            let until = question.stops_until_ms.map_or_else(
                || format!("until `distill spend answer {} go`", question.id),
                |ms| format!("until {}", at(ms)),
            );
            format!("stopped {by}{when}, {until}")
        }
    }
}

/// A moment as people read it, in UTC.
fn at(ms: i64) -> String {
    let day = date_of_days(ms.div_euclid(86_400_000));
    let minute = ms.rem_euclid(86_400_000) / 60_000;
    format!("{day} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use distill_ledger::{Answer, Question, Scope};

    use super::{state, whom};

    #[test]
    fn a_question_says_how_it_stands() {
        let hour = 3_600_000;
        let mut question = Question {
            id: "q-1".to_owned(),
            about: Scope::User("anna".to_owned()),
            user: Some("bert".to_owned()),
            rule: "usd".to_owned(),
            wording: String::new(),
            holds: false,
            default: Answer::Stop,
            raised_ms: 0,
            deadline_ms: hour,
            answer: None,
            answered_by: None,
            answered_ms: None,
            stops_until_ms: None,
        };
        assert_eq!(whom(&question), "about anna, to bert");
        assert!(
            state(&question, 0)
                .contains("without an answer by 1970-01-01 01:00 UTC, new requests are stopped")
        );
        question.answer = Some(Answer::Stop);
        question.answered_by = Some("deadline".to_owned());
        assert!(
            state(&question, 0)
                .contains("nobody answered in time, until `distill spend answer q-1 go`")
        );
        question.stops_until_ms = Some(2 * hour);
        assert!(state(&question, 0).contains("until 1970-01-01 02:00"));
        assert!(state(&question, 2 * hour).starts_with("was stopped"));
        question.answer = Some(Answer::GoOn);
        question.answered_by = Some("bert".to_owned());
        assert_eq!(state(&question, 0), "goes on, by bert");
    }
}
