//! "Did you mean to spend this?": questions to whoever spends much, and their answers.

use serde::{Deserialize, Serialize};

use crate::{
    books::Scope,
    error::LedgerError,
    key::draw_id,
    store::{Database, Row, Statement},
};

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    GoOn,
    Stop,
}

impl Answer {
    pub fn name(self) -> &'static str {
        match self {
            Self::GoOn => "go on",
            Self::Stop => "stop",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::GoOn, Self::Stop]
            .into_iter()
            .find(|answer| answer.name() == name)
    }
}

/// A question as it is raised.
#[derive(Debug, Clone, PartialEq)]
pub struct NewQuestion {
    /// Whose requests it is about, and whose it stops.
    pub about: Scope,
    /// Whom to ask.
    pub user: Option<String>,
    /// The rule that raised it.
    pub rule: String,
    /// What is asked, with the figures.
    pub wording: String,
    /// New requests are refused while it stands open. Those under way finish in any case.
    pub holds: bool,
    /// The answer where none comes in time.
    pub default: Answer,
    /// Milliseconds since 1970.
    pub deadline_ms: i64,
}

/// A question as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    pub id: String,
    pub about: Scope,
    pub user: Option<String>,
    pub rule: String,
    pub wording: String,
    pub holds: bool,
    pub default: Answer,
    pub raised_ms: i64,
    pub deadline_ms: i64,
    /// `None`: open.
    pub answer: Option<Answer>,
    /// Who answered; `deadline` where nobody did in time.
    pub answered_by: Option<String>,
    pub answered_ms: Option<i64>,
    /// With `stop`: until when, in milliseconds since 1970; `None`: until somebody says go on.
    pub stops_until_ms: Option<i64>,
}

impl Question {
    /// Whether it refuses new requests at a time.
    pub fn pauses(&self, now_ms: i64) -> bool {
        match self.answer {
            None => self.holds,
            Some(Answer::GoOn) => false,
            Some(Answer::Stop) => self.stops_until_ms.is_none_or(|until| now_ms < until),
        }
    }
}

/// Which questions are wanted; the newest come first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuestionFilter {
    pub only_open: bool,
    /// Only those that may refuse requests now.
    pub only_pausing: bool,
    pub about: Option<Scope>,
    /// 0: a hundred.
    pub limit: u32,
}

const COLUMNS: &str = "id, account, user_name, rule, wording, holds, default_answer, raised_ms,
    deadline_ms, answer, answered_by, answered_ms, stops_until_ms";

pub(crate) async fn raise(
    database: &Database,
    question: NewQuestion,
    now_ms: i64,
) -> Result<Question, LedgerError> {
    let question = Question {
        id: draw_id("q").map_err(|error| LedgerError::Random {
            source: std::sync::Arc::new(error),
        })?,
        about: question.about,
        user: question.user,
        rule: question.rule,
        wording: question.wording,
        holds: question.holds,
        default: question.default,
        raised_ms: now_ms,
        deadline_ms: question.deadline_ms,
        answer: None,
        answered_by: None,
        answered_ms: None,
        stops_until_ms: None,
    };
    let insert = Statement::new(
        "INSERT INTO questions (id, account, user_name, rule, wording, holds, default_answer,
         raised_ms, deadline_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        vec![
            question.id.clone().into(),
            question.about.account().into(),
            question.user.clone().into(),
            question.rule.clone().into(),
            question.wording.clone().into(),
            question.holds.into(),
            question.default.name().into(),
            question.raised_ms.into(),
            question.deadline_ms.into(),
        ],
    );
    database.change(vec![insert, changed("questions")]).await?;
    Ok(question)
}

/// Answers a question, or answers it anew. `unless_answered`: not where an answer stands.
pub(crate) async fn answer(
    database: &Database,
    id: &str,
    given: (Answer, Option<i64>),
    by: &str,
    now_ms: i64,
    unless_answered: bool,
) -> Result<Question, LedgerError> {
    let (answer, until) = given;
    let condition = if unless_answered {
        " AND answer IS NULL"
    } else {
        ""
    };
    let update = Statement::new(
        format!(
            "UPDATE questions SET answer = $1, answered_by = $2, answered_ms = $3,
             stops_until_ms = $4 WHERE id = $5{condition}"
        ),
        vec![
            answer.name().into(),
            by.to_owned().into(),
            now_ms.into(),
            until.into(),
            id.to_owned().into(),
        ],
    );
    database.change(vec![update, changed("questions")]).await?;
    let found = Statement::new(
        format!("SELECT {COLUMNS} FROM questions WHERE id = $1"),
        vec![id.to_owned().into()],
    );
    let rows = database.query(found).await?;
    rows.first()
        .and_then(question)
        .ok_or_else(|| LedgerError::Unknown {
            what: "question",
            name: id.to_owned(),
        })
}

pub(crate) async fn list(
    database: &Database,
    filter: &QuestionFilter,
) -> Result<Vec<Question>, LedgerError> {
    let mut conditions = vec!["1 = 1".to_owned()];
    let mut values = Vec::new();
    if filter.only_open {
        conditions.push("answer IS NULL".to_owned());
    }
    if filter.only_pausing {
        conditions.push("((answer IS NULL AND holds = 1) OR answer = 'stop')".to_owned());
    }
    if let Some(about) = &filter.about {
        values.push(about.account().into());
        conditions.push(format!("account = ${}", values.len()));
    }
    values.push(i64::from(if filter.limit == 0 { 100 } else { filter.limit }).into());
    let sql = format!(
        "SELECT {COLUMNS} FROM questions WHERE {} ORDER BY raised_ms DESC, id LIMIT ${}",
        conditions.join(" AND "),
        values.len()
    );
    let rows = database.query(Statement::new(sql, values)).await?;
    Ok(rows.iter().filter_map(question).collect())
}

fn question(row: &Row) -> Option<Question> {
    Some(Question {
        id: row[0].text()?,
        about: Scope::from_account(&row[1].text()?)?,
        user: row[2].text(),
        rule: row[3].words(),
        wording: row[4].words(),
        holds: row[5].integer()? != 0,
        default: Answer::from_name(&row[6].text()?)?,
        raised_ms: row[7].integer()?,
        deadline_ms: row[8].integer()?,
        answer: row[9].text().as_deref().and_then(Answer::from_name),
        answered_by: row[10].text(),
        answered_ms: row[11].integer(),
        stops_until_ms: row[12].integer(),
    })
}

/// Tells every process that looks that something of that kind changed.
pub(crate) fn changed(what: &'static str) -> Statement<'static> {
    Statement::new(
        "INSERT INTO versions (name, value) VALUES ($1, 1)
         ON CONFLICT (name) DO UPDATE SET value = versions.value + 1",
        vec![what.into()],
    )
}
