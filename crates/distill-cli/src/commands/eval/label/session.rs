//! Asks a person, one row at a time. What models said is not shown unless it was asked for: people
//! who see an answer first tend to agree with it.

use std::{
    collections::BTreeMap,
    io::{BufRead, Write},
};

use distill_chat::{Task, TaskKind};

use crate::failure::Failure;

/// A row to be answered.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) input: String,
    /// By arm; empty unless answers are to be shown.
    pub(super) said: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Quit,
}

/// Labels in one line of the list.
const COLUMNS: usize = 3;

/// What a line of input means.
#[derive(Debug, PartialEq)]
enum Line {
    Answer(String),
    Skip,
    Back,
    Quit,
    Help,
    /// It is no answer, and why.
    Wrong(String),
}

/// Asks every question; `save` keeps an answer before the next question is asked.
pub(super) fn run(
    questions: &[Question],
    task: &Task,
    mut input: impl BufRead,
    mut output: impl Write,
    save: &mut dyn FnMut(&str, &str) -> Result<(), Failure>,
) -> Result<End, Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed("the terminal cannot be read or written").caused_by(error)
    };
    help(task, &mut output).map_err(failed)?;
    let mut place = 0;
    while let Some(question) = questions.get(place) {
        show(question, place, questions.len(), &mut output).map_err(failed)?;
        let line = loop {
            write!(output, "> ")
                .and_then(|()| output.flush())
                .map_err(failed)?;
            let Some(text) = read(&mut input).map_err(failed)? else {
                break Line::Quit;
            };
            match meaning(&text, task) {
                Line::Wrong(why) => writeln!(output, "{why}").map_err(failed)?,
                Line::Help => help(task, &mut output).map_err(failed)?,
                line => break line,
            }
        };
        match line {
            Line::Answer(answer) => {
                save(&question.id, &answer)?;
                place += 1;
            }
            Line::Back => place = place.saturating_sub(1),
            Line::Quit => return Ok(End::Quit),
            _ => place += 1,
        }
    }
    Ok(End::Done)
}

fn show(
    question: &Question,
    place: usize,
    count: usize,
    output: &mut impl Write,
) -> std::io::Result<()> {
    writeln!(output, "\n[{}/{count}] row {}", place + 1, question.id)?;
    writeln!(output, "{}", printable(&question.input))?;
    for (arm, answer) in &question.said {
        writeln!(output, "  {arm}: {}", printable(answer))?;
    }
    Ok(())
}

/// Data may hold signs that a terminal takes for orders.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            control if control.is_control() => '\u{fffd}',
            other => other,
        })
        .collect()
}

fn help(task: &Task, output: &mut impl Write) -> std::io::Result<()> {
    let labels = &task.definition().labels;
    for (row, line) in labels.chunks(COLUMNS).enumerate() {
        let cells: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, label)| format!("{:>3} {label:<28}", row * COLUMNS + column + 1))
            .collect();
        writeln!(output, "{}", cells.concat().trim_end())?;
    }
    let what = match task.definition().kind {
        TaskKind::Classify => "a number, a label or the start of one",
        TaskKind::Extract => "a JSON object",
        TaskKind::Generate => "the answer; a line that ends with \\ goes on in the next",
    };
    writeln!(
        output,
        "answer: {what}; :s skips, :b goes back, :q stops (and keeps what you did), :? shows this"
    )
}

/// A line, with those that it goes on in; `None` at the end of the input.
fn read(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok((!text.is_empty()).then_some(text));
        }
        let line = line.trim_end_matches(['\n', '\r']);
        let Some(part) = line.strip_suffix('\\') else {
            text.push_str(line);
            return Ok(Some(text));
        };
        text.push_str(part);
        text.push('\n');
    }
}

fn meaning(text: &str, task: &Task) -> Line {
    let text = text.trim();
    match text {
        "" => return Line::Wrong("an empty line is no answer; :s skips the row".to_owned()),
        ":s" => return Line::Skip,
        ":b" => return Line::Back,
        ":q" => return Line::Quit,
        ":?" | "?" => return Line::Help,
        _ => {}
    }
    if task.definition().kind == TaskKind::Classify {
        return label(text, task);
    }
    match task.parse_reply(text) {
        Ok(answer) => Line::Answer(answer.to_text()),
        Err(error) => Line::Wrong(error.to_string()),
    }
}

/// A label by itself, by its number, or by the start of its name.
fn label(text: &str, task: &Task) -> Line {
    if let Ok(answer) = task.parse_reply(text) {
        return Line::Answer(answer.to_text());
    }
    let labels = &task.definition().labels;
    if let Ok(number) = text.parse::<usize>() {
        return match number.checked_sub(1).and_then(|place| labels.get(place)) {
            Some(label) => Line::Answer(label.clone()),
            None => Line::Wrong(format!("there are labels 1 to {}", labels.len())),
        };
    }
    let start = text.to_lowercase();
    let fitting: Vec<&String> = labels
        .iter()
        .filter(|label| label.to_lowercase().starts_with(&start))
        .collect();
    match fitting.as_slice() {
        [one] => Line::Answer((*one).clone()),
        [] => Line::Wrong(format!("no label begins with `{text}`; :? lists them")),
        several => {
            let names: Vec<&str> = several.iter().map(|label| label.as_str()).collect();
            Line::Wrong(format!("`{text}` may be {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use distill_chat::TaskDefinition;

    use super::*;

    fn task(kind: TaskKind) -> Task {
        let labels = ["refund", "delivery", "delivery_time", "2"];
        Task::new(TaskDefinition {
            kind,
            system: None,
            prompt: "{{ text }}".into(),
            labels: match kind {
                TaskKind::Classify => labels.map(str::to_owned).to_vec(),
                _ => Vec::new(),
            },
            schema: (kind == TaskKind::Extract).then(|| {
                serde_json::json!({"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"], "additionalProperties": false})
            }),
        })
        .unwrap()
    }

    fn questions(count: usize) -> Vec<Question> {
        (0..count)
            .map(|number| Question {
                id: format!("r{number}"),
                input: format!("text {number}"),
                said: BTreeMap::new(),
            })
            .collect()
    }

    fn session(kind: TaskKind, count: usize, typed: &str) -> (End, Vec<(String, String)>, String) {
        let mut kept = Vec::new();
        let mut shown = Vec::new();
        let mut save = |id: &str, answer: &str| {
            kept.push((id.to_owned(), answer.to_owned()));
            Ok(())
        };
        let end = run(
            &questions(count),
            &task(kind),
            typed.as_bytes(),
            &mut shown,
            &mut save,
        )
        .unwrap();
        (end, kept, String::from_utf8(shown).unwrap())
    }

    fn kept(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(id, answer): &(&str, &str)| ((*id).to_owned(), (*answer).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn labels_are_chosen_by_name_number_or_start() {
        let typed = "REFUND\n1\ndeli\ndelivery_\n2\n";
        let (end, answers, shown) = session(TaskKind::Classify, 4, typed);
        assert_eq!(end, End::Done);
        // `deli` fits two labels and is asked again; `2` is a label before it is a number.
        let expected = [
            ("r0", "refund"),
            ("r1", "refund"),
            ("r2", "delivery_time"),
            ("r3", "2"),
        ];
        assert_eq!(answers, kept(&expected));
        assert!(
            shown.contains("`deli` may be delivery, delivery_time"),
            "{shown}"
        );
        assert!(shown.contains("[1/4] row r0\ntext 0"), "{shown}");
    }

    #[test]
    fn skipping_going_back_and_stopping_keep_what_was_done() {
        let (end, answers, _) = session(TaskKind::Classify, 3, "1\n:s\n:b\n2\n:q\n");
        assert_eq!(end, End::Quit);
        assert_eq!(answers, kept(&[("r0", "refund"), ("r1", "2")]));
        let (end, answers, _) = session(TaskKind::Classify, 2, "1\n");
        assert_eq!((end, answers.len()), (End::Quit, 1), "the input ended");
    }

    #[test]
    fn an_object_must_fit_the_schema_and_is_kept_in_canonical_text() {
        let typed = "{\"time\": 1}\nmonday\n{ \"day\": \"monday\" }\n";
        let (_, answers, shown) = session(TaskKind::Extract, 1, typed);
        assert_eq!(answers, kept(&[("r0", r#"{"day":"monday"}"#)]));
        assert!(shown.contains("not JSON"), "{shown}");
    }

    #[test]
    fn free_text_may_have_several_lines() {
        let (_, answers, _) = session(TaskKind::Generate, 1, "one\\\ntwo\n");
        assert_eq!(answers, kept(&[("r0", "one\ntwo")]));
    }

    #[test]
    fn answers_of_models_are_shown_only_when_they_are_handed_in_and_nothing_orders_the_terminal() {
        let mut asked = questions(1);
        asked[0].input = "hello\u{1b}[2J".into();
        asked[0].said.insert("teacher".into(), "refund".into());
        let mut shown = Vec::new();
        run(
            &asked,
            &task(TaskKind::Generate),
            &b":q\n"[..],
            &mut shown,
            &mut |_, _| Ok(()),
        )
        .unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.contains("  teacher: refund") && !shown.contains('\u{1b}'),
            "{shown}"
        );
        let (_, _, shown) = session(TaskKind::Classify, 1, ":q\n");
        assert!(!shown.contains("teacher"));
    }
}
