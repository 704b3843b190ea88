//! Log-probabilities as an API gives them: tokens by their text, with the likeliest at each place.
//!
//! They can be learnt only where teacher and student cut the reply at the same places: the texts of the
//! student's tokens must be those of the teacher's, one by one. A likely token that is no single token of the
//! student's is left to the rest.

use std::sync::Arc;

use distill_student::ops::TopTokens;
use distill_student::tokenizer::Tokenizer;

use super::TrainExample;

/// One token of a reply as the API told it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpokenToken {
    pub text: String,
    /// In nats.
    pub log_probability: f32,
    /// The likeliest tokens at this place with their log-probabilities, the token itself among them or
    /// not.
    pub top: Vec<(String, f32)>,
}

/// Why what an API said cannot be learnt by this student.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpokenError {
    #[error(
        "token {place} of the teacher's reply is {teacher:?} and the student's is {student:?}: their \
         tokenizers differ; learn from the labels, or take a student of the teacher's family"
    )]
    OtherToken {
        /// Counted from 1.
        place: usize,
        teacher: String,
        student: String,
    },
    #[error(
        "the teacher's reply has {teacher} tokens and the student's {student}: their tokenizers \
         differ; learn from the labels, or take a student of the teacher's family"
    )]
    OtherLength { teacher: usize, student: usize },
    #[error("token {place} of the teacher's reply has the log-probability {value}")]
    NoNumber { place: usize, value: String },
}

/// Below it a token is left to the rest: APIs write -9999 for "hardly ever".
const LEAST: f32 = -50.0;

/// The row with what an API said of each token of its reply. What ends the reply is told by no API and
/// is learnt as certain.
///
/// `temperature` other than 1 softens the top tokens among themselves; what lies outside is not known
/// at another temperature, so then only [`Rest::Renormalised`](distill_student::ops::Rest) is right.
///
/// # Errors
/// Replies that are cut into other tokens; numbers that are none.
pub fn with_spoken(
    row: &TrainExample,
    spoken: &[SpokenToken],
    tokenizer: &Tokenizer,
    temperature: f64,
) -> Result<TrainExample, SpokenError> {
    let targets = &row.tokens[row.first_target()..];
    let text = |id: u32| tokenizer.decode(&[id]).unwrap_or_default();
    // Tokens after the text close the reply.
    let closing = targets
        .iter()
        .rev()
        .take_while(|id| tokenizer.is_control(**id) || text(**id).is_empty())
        .count();
    let (own, end) = targets.split_at(targets.len() - closing);
    let mut places = Vec::with_capacity(targets.len());
    for (at, (spoken, &id)) in spoken.iter().zip(own).enumerate() {
        let student = text(id);
        if student != spoken.text {
            return Err(SpokenError::OtherToken {
                place: at + 1,
                teacher: spoken.text.clone(),
                student,
            });
        }
        places.push(top_of(spoken, id, tokenizer, temperature, at + 1)?);
    }
    if spoken.len() != own.len() {
        return Err(SpokenError::OtherLength {
            teacher: spoken.len(),
            student: own.len(),
        });
    }
    places.extend(end.iter().map(|id| TopTokens {
        tokens: vec![*id],
        log_probabilities: vec![0.0],
    }));
    let mut row = row.clone();
    row.teacher = Some(Arc::from(places));
    Ok(row)
}

fn top_of(
    spoken: &SpokenToken,
    own: u32,
    tokenizer: &Tokenizer,
    temperature: f64,
    place: usize,
) -> Result<TopTokens, SpokenError> {
    let mut top = TopTokens::default();
    let itself = [(own, spoken.log_probability)];
    let others = spoken
        .top
        .iter()
        .filter_map(|(text, value)| Some((single(text, tokenizer)?, *value)));
    for (token, value) in itself.into_iter().chain(others) {
        if !value.is_finite() || value > 1e-3 {
            return Err(SpokenError::NoNumber {
                place,
                value: value.to_string(),
            });
        }
        let likely = token == own || value >= LEAST;
        if likely && !top.tokens.contains(&token) {
            top.tokens.push(token);
            let softened = f64::from(value.max(LEAST)) / temperature;
            top.log_probabilities.push(softened as f32);
        }
    }
    Ok(top)
}

/// The student's token of that text, if one is.
fn single(text: &str, tokenizer: &Tokenizer) -> Option<u32> {
    let ids = tokenizer.encode_text(text).ok()?;
    let [id] = ids[..] else {
        return None;
    };
    (tokenizer.decode(&[id]).ok()? == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use distill_student::embedded;

    use super::*;

    fn spoken(text: &str, value: f32, top: &[(&str, f32)]) -> SpokenToken {
        SpokenToken {
            text: text.to_owned(),
            log_probability: value,
            top: top.iter().map(|(t, v)| ((*t).to_owned(), *v)).collect(),
        }
    }

    /// A row of the embedded model's tokenizer, and the texts of its reply's tokens.
    fn row() -> (TrainExample, Arc<Tokenizer>, Vec<String>) {
        let tokenizer = embedded::nano().unwrap().tokenizer;
        let reply = tokenizer.encode_text("the delivery was late").unwrap();
        let texts = reply
            .iter()
            .map(|id| tokenizer.decode(&[*id]).unwrap())
            .collect();
        let end = tokenizer.eos_ids()[0];
        let row = TrainExample::new([&[5, 6], &reply[..], &[end]].concat(), 2);
        (row, tokenizer, texts)
    }

    #[test]
    fn what_an_api_says_lands_on_the_students_tokens() {
        let (row, tokenizer, texts) = row();
        let said: Vec<SpokenToken> = texts
            .iter()
            .map(|text| {
                let unknown = "no single token of anybody";
                spoken(
                    text,
                    -0.5,
                    &[
                        (text, -0.5),
                        (" a", -2.0),
                        (unknown, -3.0),
                        (" an", -9999.0),
                    ],
                )
            })
            .collect();
        let taught = with_spoken(&row, &said, &tokenizer, 1.0).unwrap();
        assert_eq!(taught.fault(), None);
        let places = taught.teacher.unwrap();
        let other = single(" a", &tokenizer).unwrap();
        for (place, id) in places.iter().zip(&row.tokens[2..]).take(texts.len()) {
            assert_eq!(place.tokens, [*id, other]);
            assert_eq!(place.log_probabilities, [-0.5, -2.0]);
        }
        let last = places.last().unwrap();
        assert_eq!(
            (&last.tokens[..], &last.log_probabilities[..]),
            (&[tokenizer.eos_ids()[0]][..], &[0.0][..])
        );
        let softened = with_spoken(&row, &said, &tokenizer, 2.0).unwrap();
        assert_eq!(
            softened.teacher.unwrap()[0].log_probabilities,
            [-0.25, -1.0]
        );
    }

    #[test]
    fn another_tokenizer_and_numbers_that_are_none_are_refused_by_name() {
        let (row, tokenizer, texts) = row();
        let mut said: Vec<SpokenToken> = texts.iter().map(|t| spoken(t, -0.5, &[])).collect();
        said[0].text = "th".to_owned();
        let error = with_spoken(&row, &said, &tokenizer, 1.0).unwrap_err();
        assert!(
            matches!(&error, SpokenError::OtherToken { place: 1, teacher, .. } if teacher == "th")
        );
        said[0].text = texts[0].clone();
        let cut = &said[..said.len() - 1];
        let error = with_spoken(&row, cut, &tokenizer, 1.0).unwrap_err();
        assert!(matches!(error, SpokenError::OtherLength { .. }));
        said[0].log_probability = f32::NAN;
        let error = with_spoken(&row, &said, &tokenizer, 1.0).unwrap_err();
        assert!(matches!(error, SpokenError::NoNumber { place: 1, .. }));
    }
}
