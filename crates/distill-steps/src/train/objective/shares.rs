//! Soft labels of an encoder: the odds that a local teacher, of any tokenizer, gives the labels of
//! each row.

use distill_chat::Task;
use distill_pipeline::{record::Level, spec::ObjectiveSpec};
use distill_runner::{StepContext, StepFailure};
use distill_student::{
    decoder::Decoder,
    encoder::{EncoderStudent, EncoderTokenizer},
    template::ChatEncoder,
};

use super::{ObjectiveRecipe, label_shares, messages, softened};
use crate::{
    base::{BaseReference, decoder_failure, encoder},
    rows::Example,
    train::user_text,
};

/// Each example's share of each label, in the order of the task's labels; they sum to 1.
pub(in crate::train) struct LabelShares {
    pub(in crate::train) rows: Vec<Vec<f32>>,
    pub(in crate::train) note: String,
}

impl ObjectiveRecipe {
    /// What an encoder is to learn of each example: the teacher's odds by their share, the label by
    /// the rest.
    ///
    /// # Errors
    /// A [`StepFailure`]: no soft labels are asked for, or the teacher cannot be loaded or has other
    /// labels.
    pub(in crate::train) fn label_shares(
        &self,
        task: &Task,
        examples: &[Example],
        context: &StepContext,
    ) -> Result<LabelShares, StepFailure> {
        let (
            ObjectiveSpec::SoftLabels {
                temperature, share, ..
            },
            Some(at),
        ) = (&self.spec, &self.teacher)
        else {
            return Err(StepFailure::bug("an encoder that is to learn tokens"));
        };
        context.note(
            Level::Info,
            "the local teacher scores every label of every row",
        );
        let labels = &task.definition().labels;
        let teacher = LabelTeacher::load(at, task)?;
        let mut rows = Vec::with_capacity(examples.len());
        for (done, example) in examples.iter().enumerate() {
            if context.is_cancelled() {
                return Err(StepFailure::interrupted());
            }
            let odds = teacher.odds(task, example, *temperature)?;
            let own = labels.iter().position(|label| *label == example.answer);
            let mixed = odds.iter().enumerate().map(|(label, odds)| {
                let certain = if Some(label) == own { 1.0 } else { 0.0 };
                (share * odds + (1.0 - share) * certain) as f32
            });
            rows.push(mixed.collect());
            context.progress(done as u64 + 1, Some(examples.len() as u64), "rows");
        }
        Ok(LabelShares {
            rows,
            note: format!("learnt from the local teacher `{}`", at.name()),
        })
    }
}

/// Who gives labels their odds.
#[expect(clippy::large_enum_variant, reason = "one for each training")]
enum LabelTeacher {
    Decoder {
        decoder: Decoder,
        encoder: ChatEncoder,
    },
    Encoder(EncoderStudent),
}

impl LabelTeacher {
    fn load(at: &BaseReference, task: &Task) -> Result<Self, StepFailure> {
        let definition = task.definition();
        if at.is_encoder() {
            let (weights, tokenizer): (_, EncoderTokenizer) =
                at.load_classifier(&definition.labels)?;
            let student = EncoderStudent::new(weights, tokenizer).map_err(decoder_failure)?;
            return Ok(Self::Encoder(student));
        }
        let model = at.load()?;
        Ok(Self::Decoder {
            decoder: Decoder::new(&model.weights).map_err(decoder_failure)?,
            encoder: encoder(&model, definition.kind)?,
        })
    }

    fn odds(
        &self,
        task: &Task,
        example: &Example,
        temperature: f64,
    ) -> Result<Vec<f64>, StepFailure> {
        let unread = || {
            let id = &example.id;
            StepFailure::bad_input(format!("the local teacher cannot read example `{id}`"))
        };
        match self {
            Self::Encoder(student) => {
                let text = student.encode(&user_text(task, example)?);
                let text = text.map_err(|error| unread().caused_by(error))?;
                let scores = student.scores(&[text]).map_err(decoder_failure)?;
                Ok(softened(&scores[0], temperature))
            }
            Self::Decoder { decoder, encoder } => {
                let messages = messages(task, example)?;
                let mut prompt = Vec::new();
                let mut sequences = Vec::new();
                for label in &task.definition().labels {
                    let row = encoder
                        .encode_example(&messages, label)
                        .map_err(|error| unread().caused_by(error))?;
                    let (before, reply) = row.tokens.split_at(row.loss_from);
                    prompt = before.to_vec();
                    sequences.push(reply.to_vec());
                }
                label_shares(decoder, &prompt, &sequences, temperature)
            }
        }
    }
}
