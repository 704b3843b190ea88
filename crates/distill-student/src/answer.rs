//! A student in memory, of any class, ready to answer.
//!
//! Evaluation and serving both come through here, so what was measured is what is served: rows go
//! through the task's own renderer, conversations through the model's own chat template, and the
//! reply is the model's free text.

use std::sync::Arc;

use distill_chat::{
    BoxFuture, ChatError, ChatModel, ChatRequest, Completion, ErrorKind, Fields, FinishReason,
    Message, Role, Task, TaskError, Usage,
};

use crate::{
    decoder::{Decoder, DecoderError},
    encoder::EncoderStudent,
    generate::{Finish, GenerateSettings, Generation, Sampling, generate_each},
    linear::LinearStudent,
    template::{ChatEncoder, EncodedPrompt, TemplateError},
    tokenizer::{Tokenizer, TokenizerError},
};

mod encoder;

#[cfg(test)]
pub(crate) mod tests;

/// Rows that a decoder answers side by side.
const ROWS_AT_ONCE: usize = 32;

/// The kinds of student, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StudentClass {
    Linear,
    Encoder,
    Decoder,
}

/// Hears of a piece of an answer: the place of its conversation, the text.
type OnText<'a> = Option<&'a mut dyn FnMut(usize, &str)>;

/// What a student said.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentAnswer {
    pub text: String,
    /// Natural log of the probability that the student gave to this answer.
    pub confidence: f64,
    /// `None` for a student that has no tokens.
    pub input_tokens: Option<u64>,
    /// With the stop token; `None` for a student that writes no tokens.
    pub output_tokens: Option<u64>,
    pub finish: FinishReason,
    /// Characters of the last user message that did not fit the student's window: a decoder cuts at
    /// its beginning, an encoder at its end.
    pub dropped_characters: usize,
}

/// Why one question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("cannot render the row for the student")]
    Task(#[from] TaskError),
    #[error("cannot encode the conversation for the student")]
    Template(#[from] TemplateError),
    #[error("cannot turn the text into the student's tokens")]
    Tokenizer(#[from] TokenizerError),
    #[error("the conversation has no user message")]
    NoUserMessage,
    #[error("the student cannot generate")]
    Generate(#[source] Arc<DecoderError>),
}

/// A trained student with the contract of its task.
#[derive(Debug)]
pub struct LoadedStudent {
    identity: String,
    task: Task,
    engine: Engine,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each student")]
enum Engine {
    Linear(LinearStudent),
    Encoder(Box<EncoderStudent>),
    Decoder {
        decoder: Decoder,
        encoder: ChatEncoder,
        rows_at_once: usize,
    },
}

impl LoadedStudent {
    /// `identity` names the student in completions and cache keys.
    pub fn linear(identity: &str, task: Task, student: LinearStudent) -> Self {
        Self {
            identity: identity.to_owned(),
            task,
            engine: Engine::Linear(student),
        }
    }

    pub fn encoder(identity: &str, task: Task, student: EncoderStudent) -> Self {
        Self {
            identity: identity.to_owned(),
            task,
            engine: Engine::Encoder(Box::new(student)),
        }
    }

    /// A decoder, tuned or not; it answers greedily.
    pub fn decoder(identity: &str, task: Task, decoder: Decoder, encoder: ChatEncoder) -> Self {
        Self {
            identity: identity.to_owned(),
            task,
            engine: Engine::Decoder {
                decoder,
                encoder,
                rows_at_once: ROWS_AT_ONCE,
            },
        }
    }

    /// Sets how many rows a decoder answers side by side.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_rows_at_once(mut self, rows: usize) -> Self {
        if let Engine::Decoder { rows_at_once, .. } = &mut self.engine {
            *rows_at_once = rows.max(1);
        }
        self
    }

    pub fn class(&self) -> StudentClass {
        match self.engine {
            Engine::Linear(_) => StudentClass::Linear,
            Engine::Encoder(_) => StudentClass::Encoder,
            Engine::Decoder { .. } => StudentClass::Decoder,
        }
    }

    pub fn task(&self) -> &Task {
        &self.task
    }

    /// One answer a row, in order. A row that cannot be asked fails alone.
    pub fn answer_batch(&self, rows: &[Fields]) -> Vec<Result<StudentAnswer, AnswerError>> {
        let conversations = rows
            .iter()
            .map(|row| self.task.messages(row).map_err(AnswerError::from))
            .collect();
        self.answer(conversations, None, None)
    }

    /// One answer a conversation, in order. Linear and encoder students read the last user message
    /// alone.
    pub fn answer_conversations(
        &self,
        conversations: &[Vec<Message>],
    ) -> Vec<Result<StudentAnswer, AnswerError>> {
        self.answer(conversations.iter().cloned().map(Ok).collect(), None, None)
    }

    /// As [`LoadedStudent::answer_conversations`]; `on_text` hears each new piece of an answer (the
    /// place of its conversation, the text) as soon as it is there. The pieces of an answer joined
    /// are its text. A label is one piece.
    pub fn stream_conversations(
        &self,
        conversations: &[Vec<Message>],
        on_text: &mut dyn FnMut(usize, &str),
    ) -> Vec<Result<StudentAnswer, AnswerError>> {
        let conversations = conversations.iter().cloned().map(Ok).collect();
        self.answer(conversations, None, Some(on_text))
    }

    /// Tokens that the student is sent for a row; `None` for a linear student.
    pub fn prompt_tokens(&self, row: &Fields) -> Result<Option<Vec<u32>>, AnswerError> {
        match &self.engine {
            Engine::Linear(_) => Ok(None),
            Engine::Encoder(student) => {
                let text = last_user_text(self.task.messages(row)?)?;
                Ok(Some(student.encode(&text)?.tokens))
            }
            Engine::Decoder { encoder, .. } => {
                let messages = self.task.messages(row)?;
                Ok(Some(encoder.encode_prompt(&messages)?.tokens))
            }
        }
    }

    fn answer(
        &self,
        conversations: Vec<Result<Vec<Message>, AnswerError>>,
        max_tokens: Option<usize>,
        on_text: OnText<'_>,
    ) -> Vec<Result<StudentAnswer, AnswerError>> {
        match &self.engine {
            Engine::Linear(student) => {
                let answers = answer_linear(student, conversations);
                tell_whole(&answers, on_text);
                answers
            }
            Engine::Encoder(student) => {
                let answers = encoder::answer_encoder(student, conversations);
                tell_whole(&answers, on_text);
                answers
            }
            Engine::Decoder {
                decoder,
                encoder,
                rows_at_once,
            } => {
                let limit = encoder.limits().max_reply_tokens;
                let settings = GenerateSettings {
                    max_new_tokens: max_tokens.map_or(limit, |asked| asked.min(limit)),
                    stop_tokens: encoder.stop_ids().to_vec(),
                    max_rows: *rows_at_once,
                    sampling: Sampling::Greedy,
                };
                answer_decoder(decoder, encoder, &settings, conversations, on_text)
            }
        }
    }

    fn complete(&self, request: &ChatRequest) -> Result<Completion, ChatError> {
        let asked = vec![Ok(request.messages.clone())];
        let max_tokens = request.max_tokens.map(|tokens| tokens as usize);
        let answer = self
            .answer(asked, max_tokens, None)
            .pop()
            .expect("one conversation has one answer")
            .map_err(|error| ChatError {
                kind: match error {
                    AnswerError::Generate(_) => ErrorKind::Target,
                    _ => ErrorKind::Request,
                },
                message: format!("student `{}` cannot answer", self.identity),
                source: Some(Box::new(error)),
            })?;
        let (text, finish) = match first_stop(&answer.text, &request.stop) {
            Some(at) => (answer.text[..at].to_owned(), FinishReason::Stop),
            None => (answer.text, answer.finish),
        };
        Ok(Completion {
            text,
            finish,
            usage: Usage {
                input_tokens: answer.input_tokens,
                output_tokens: answer.output_tokens,
                ..Usage::default()
            },
            model: self.identity.clone(),
            logprob: Some(answer.confidence),
            token_logprobs: None,
        })
    }
}

/// The work is done when the future is polled, without a pause: poll it where blocking is allowed.
/// Answers are greedy whatever temperature is asked for.
impl ChatModel for LoadedStudent {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
    ) -> BoxFuture<'a, Result<Completion, ChatError>> {
        Box::pin(async move { self.complete(request) })
    }
}

/// What a student that reads one text is given of a conversation.
fn last_user_text(messages: Vec<Message>) -> Result<String, AnswerError> {
    let user = messages
        .into_iter()
        .rev()
        .find(|message| message.role == Role::User);
    user.map(|message| message.content)
        .ok_or(AnswerError::NoUserMessage)
}

/// Tells answers that come in one piece.
fn tell_whole(answers: &[Result<StudentAnswer, AnswerError>], on_text: OnText<'_>) {
    if let Some(on_text) = on_text {
        for (index, answer) in answers.iter().enumerate() {
            if let Ok(answer) = answer {
                on_text(index, &answer.text);
            }
        }
    }
}

fn answer_linear(
    student: &LinearStudent,
    conversations: Vec<Result<Vec<Message>, AnswerError>>,
) -> Vec<Result<StudentAnswer, AnswerError>> {
    let texts: Vec<Result<String, AnswerError>> = conversations
        .into_iter()
        .map(|messages| last_user_text(messages?))
        .collect();
    let asked: Vec<&str> = texts
        .iter()
        .map(|text| text.as_deref().unwrap_or_default())
        .collect();
    let predictions = student.predict_batch(&asked);
    texts
        .into_iter()
        .zip(predictions)
        .map(|(text, prediction)| {
            text.map(|_| StudentAnswer {
                text: student.labels()[prediction.label].clone(),
                confidence: prediction.probability.ln(),
                input_tokens: None,
                output_tokens: None,
                finish: FinishReason::Stop,
                dropped_characters: 0,
            })
        })
        .collect()
}

fn answer_decoder(
    decoder: &Decoder,
    encoder: &ChatEncoder,
    settings: &GenerateSettings,
    conversations: Vec<Result<Vec<Message>, AnswerError>>,
    mut on_text: OnText<'_>,
) -> Vec<Result<StudentAnswer, AnswerError>> {
    let context = decoder.config().max_position_embeddings;
    let encoded: Vec<Result<EncodedPrompt, AnswerError>> = conversations
        .into_iter()
        .map(|messages| {
            let prompt = encoder.encode_prompt(&messages?)?;
            let tokens = prompt.tokens.len();
            // Limits may allow more than the model takes; such a row must not fail the others.
            if tokens < context {
                Ok(prompt)
            } else {
                let limit = context - 1;
                Err(TemplateError::PromptTooLong { tokens, limit }.into())
            }
        })
        .collect();
    let prompts: Vec<Vec<u32>> = encoded
        .iter()
        .flatten()
        .map(|prompt| prompt.tokens.clone())
        .collect();
    // Rows that were asked, by the place of their prompt.
    let asked: Vec<usize> = (0..encoded.len())
        .filter(|index| encoded[*index].is_ok())
        .collect();
    let mut replies = vec![Reply::default(); prompts.len()];
    let result = generate_each(decoder, &prompts, settings, &mut |row, token| {
        if let Some(on_text) = &mut on_text
            && let Some(piece) = replies[row].add(encoder.tokenizer(), token)
        {
            on_text(asked[row], &piece);
        }
    });
    let mut generated = match result {
        Ok(generations) => generations.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => {
            let error = Arc::new(error);
            prompts.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
    }
    .into_iter()
    .zip(replies);
    encoded
        .into_iter()
        .enumerate()
        .map(|(index, prompt)| {
            let prompt = prompt?;
            let (generation, reply) = generated.next().expect("generation answers every prompt");
            let generation = generation.map_err(AnswerError::Generate)?;
            let text = encoder
                .tokenizer()
                .decode(&generation.tokens)
                .map_err(TemplateError::from)?;
            if let Some(on_text) = &mut on_text
                && let Some(rest) = text
                    .strip_prefix(&reply.said)
                    .filter(|rest| !rest.is_empty())
            {
                on_text(index, rest);
            }
            Ok(StudentAnswer {
                text,
                confidence: confidence(&generation),
                input_tokens: Some(prompt.tokens.len() as u64),
                output_tokens: Some(generation.log_probabilities.len() as u64),
                finish: match generation.finish {
                    Finish::Stop(_) => FinishReason::Stop,
                    Finish::Length | Finish::ContextFull => FinishReason::Length,
                },
                dropped_characters: prompt.dropped_characters,
            })
        })
        .collect()
}

/// A reply under way, told piece by piece.
#[derive(Debug, Clone, Default)]
struct Reply {
    tokens: Vec<u32>,
    said: String,
}

impl Reply {
    /// The text that this token adds; `None` while a character is not whole.
    fn add(&mut self, tokenizer: &Tokenizer, token: u32) -> Option<String> {
        self.tokens.push(token);
        let text = tokenizer.decode(&self.tokens).ok()?;
        let piece = text.strip_prefix(&self.said)?;
        if piece.is_empty() || piece.ends_with(char::REPLACEMENT_CHARACTER) {
            return None;
        }
        let piece = piece.to_owned();
        self.said = text;
        Some(piece)
    }
}

fn confidence(generation: &Generation) -> f64 {
    let tokens = generation.log_probabilities.iter();
    tokens.map(|token| f64::from(*token)).sum()
}

/// Where the first of the stop texts begins.
fn first_stop(text: &str, stops: &[String]) -> Option<usize> {
    let stops = stops.iter().filter(|stop| !stop.is_empty());
    stops.filter_map(|stop| text.find(stop.as_str())).min()
}
