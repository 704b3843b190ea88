//! Turns samples into packed batches with the tokens to learn marked.

use distill_chat::{Message, Role};
use distill_student::tokenizer::Tokenizer;

use super::{
    PretrainError,
    vocabulary::{ASSISTANT, END, SYSTEM, USER},
};
use crate::corpus::{Corpus, Mix, Sample};

/// What a token is to the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lesson {
    /// Given, not learnt: instructions and the marks of turns.
    None,
    /// What people write.
    Text,
    /// What the assistant answers, and where it stops.
    Reply,
}

/// Rows laid end to end, with the places whose next token is learnt.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) rows: Vec<Vec<u32>>,
    /// Places in the packed batch that come before a token of a reply.
    pub(super) reply_places: Vec<u32>,
    pub(super) reply_targets: Vec<u32>,
    /// Places that come before a token of a text.
    pub(super) text_places: Vec<u32>,
    pub(super) text_targets: Vec<u32>,
    pub(super) tokens: usize,
}

impl Batch {
    fn push(&mut self, row: Vec<(u32, Lesson)>) {
        for (at, pair) in row.windows(2).enumerate() {
            let (target, lesson) = pair[1];
            let place = (self.tokens + at) as u32;
            match lesson {
                Lesson::None => {}
                Lesson::Text => {
                    self.text_places.push(place);
                    self.text_targets.push(target);
                }
                Lesson::Reply => {
                    self.reply_places.push(place);
                    self.reply_targets.push(target);
                }
            }
        }
        self.tokens += row.len();
        self.rows
            .push(row.into_iter().map(|(token, _)| token).collect());
    }
}

/// The corpus as batches; where it stands is one number.
pub(super) struct Stream<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
    marks: Marks,
    context: usize,
    /// The next sample to take.
    pub(super) next: u64,
}

struct Marks {
    system: u32,
    user: u32,
    assistant: u32,
    end: u32,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        corpus: &'a Corpus,
        tokenizer: &'a Tokenizer,
        context: usize,
    ) -> Result<Self, PretrainError> {
        let id = |token: &str| {
            tokenizer
                .id(token)
                .ok_or_else(|| PretrainError::Vocabulary {
                    reason: format!("it has no {token}"),
                })
        };
        Ok(Self {
            marks: Marks {
                system: id(SYSTEM)?,
                user: id(USER)?,
                assistant: id(ASSISTANT)?,
                end: id(END)?,
            },
            corpus,
            tokenizer,
            context,
            next: 0,
        })
    }

    /// The next batch: whole samples, as many as fit.
    pub(super) fn batch(&mut self, mix: Mix, tokens: usize) -> Result<Batch, PretrainError> {
        let tokens = tokens.max(self.context);
        let mut batch = Batch::default();
        loop {
            let row = self.row(&self.corpus.sample(mix, self.next))?;
            if row.len() <= self.context {
                if batch.tokens + row.len() > tokens {
                    return Ok(batch);
                }
                batch.push(row);
            }
            self.next += 1;
        }
    }

    fn row(&self, sample: &Sample) -> Result<Vec<(u32, Lesson)>, PretrainError> {
        let mut row = Vec::new();
        match sample {
            Sample::Prose(text) => {
                self.append(text, Lesson::Text, &mut row)?;
                row.push((self.marks.end, Lesson::Text));
            }
            Sample::Chat(messages) => {
                for message in messages {
                    self.append_turn(message, &mut row)?;
                }
            }
        }
        Ok(row)
    }

    fn append_turn(
        &self,
        message: &Message,
        row: &mut Vec<(u32, Lesson)>,
    ) -> Result<(), PretrainError> {
        let (mark, lesson) = match message.role {
            Role::System => (self.marks.system, Lesson::None),
            Role::User => (self.marks.user, Lesson::Text),
            Role::Assistant => (self.marks.assistant, Lesson::Reply),
        };
        row.push((mark, Lesson::None));
        self.append(&message.content, lesson, row)?;
        row.push((self.marks.end, lesson));
        Ok(())
    }

    fn append(
        &self,
        text: &str,
        lesson: Lesson,
        row: &mut Vec<(u32, Lesson)>,
    ) -> Result<(), PretrainError> {
        let tokens = self.tokenizer.encode_text(text)?;
        row.extend(tokens.into_iter().map(|token| (token, lesson)));
        Ok(())
    }
}

/// The tokens of one sample, and those of them that are learnt as replies.
#[cfg(test)]
pub(super) fn row_of(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    sample: &Sample,
) -> (Vec<u32>, Vec<u32>) {
    let stream = Stream::new(corpus, tokenizer, 1).expect("the vocabulary has the marks");
    let row = stream.row(sample).expect("a sample can be encoded");
    let replies = row.iter().filter(|(_, lesson)| *lesson == Lesson::Reply);
    let replies = replies.map(|(token, _)| *token).collect();
    (row.into_iter().map(|(token, _)| token).collect(), replies)
}
