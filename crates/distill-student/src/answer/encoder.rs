//! Answers of an encoder: one label for the last user message of each conversation.

use std::sync::Arc;

use distill_chat::{FinishReason, Message};

use super::{AnswerError, StudentAnswer, last_user_text};
use crate::encoder::{EncodedText, EncoderStudent};

pub(super) fn answer_encoder(
    student: &EncoderStudent,
    conversations: Vec<Result<Vec<Message>, AnswerError>>,
) -> Vec<Result<StudentAnswer, AnswerError>> {
    let encoded: Vec<Result<EncodedText, AnswerError>> = conversations
        .into_iter()
        .map(|messages| Ok(student.encode(&last_user_text(messages?)?)?))
        .collect();
    let asked: Vec<EncodedText> = encoded.iter().flatten().cloned().collect();
    let predictions = match student.predict(&asked) {
        Ok(predictions) => predictions.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => {
            let error = Arc::new(error);
            asked.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    };
    let mut predictions = predictions.into_iter();
    encoded
        .into_iter()
        .map(|text| {
            let text = text?;
            let prediction = predictions.next().expect("every text has a prediction");
            let prediction = prediction.map_err(AnswerError::Generate)?;
            Ok(StudentAnswer {
                text: student.labels()[prediction.label].clone(),
                confidence: prediction.log_probability,
                input_tokens: Some(text.tokens.len() as u64),
                output_tokens: None,
                finish: FinishReason::Stop,
                dropped_characters: dropped(student, &text)?,
            })
        })
        .collect()
}

/// Characters that did not fit, as their tokens spell them.
fn dropped(student: &EncoderStudent, text: &EncodedText) -> Result<usize, AnswerError> {
    if text.dropped.is_empty() {
        return Ok(0);
    }
    let spelled = student.tokenizer().decode(&text.dropped)?;
    Ok(spelled.chars().count().max(1))
}
