//! One thread per loaded student: it takes all waiting conversations at once and answers them as a
//! batch, so that many callers cost less than one each. A caller hears of its answer piece by piece.

use std::{path::Path, sync::mpsc, thread};

use distill_chat::Message;
use distill_student::{
    answer::{LoadedStudent, StudentAnswer},
    bundle::{Bundle, BundleError},
    device::DeviceChoice,
    embedded,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Conversations answered in one batch at most.
const BATCH: usize = 32;
/// Conversations that may wait; more are refused instead of piling up.
const WAITING: usize = 1024;

struct Question {
    conversation: Vec<Message>,
    /// Whether each piece is told, or the whole answer alone.
    piecewise: bool,
    parts: UnboundedSender<Part>,
}

/// What a caller hears: pieces of text, then the whole answer or why there is none.
pub(crate) enum Part {
    Text(String),
    Done(Result<StudentAnswer, String>),
}

/// A student that answers on a thread of its own. Dropping it ends the thread.
pub(crate) struct Worker {
    questions: mpsc::SyncSender<Question>,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("too many requests are waiting for this student")]
    Busy,
    #[error("the student stopped")]
    Stopped,
    #[error("{0}")]
    Student(String),
}

impl Worker {
    /// Loads and checks a bundle, then starts its thread.
    pub(crate) fn start(bundle: &Path, device: DeviceChoice) -> Result<Self, BundleError> {
        let student = Bundle::open_on(bundle, &embedded::bases(), device)?.into_student();
        let (questions, waiting) = mpsc::sync_channel(WAITING);
        thread::spawn(move || answer(&student, &waiting));
        Ok(Self { questions })
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, conversation: Vec<Message>) -> Result<StudentAnswer, AskError> {
        let mut parts = self.send(conversation, false)?;
        while let Some(part) = parts.recv().await {
            if let Part::Done(answer) = part {
                return answer.map_err(AskError::Student);
            }
        }
        Err(AskError::Stopped)
    }

    /// Asks; the pieces of the answer come as they are generated.
    pub(crate) fn stream(
        &self,
        conversation: Vec<Message>,
    ) -> Result<UnboundedReceiver<Part>, AskError> {
        self.send(conversation, true)
    }

    fn send(
        &self,
        conversation: Vec<Message>,
        piecewise: bool,
    ) -> Result<UnboundedReceiver<Part>, AskError> {
        let (parts, heard) = unbounded_channel();
        self.questions
            .try_send(Question {
                conversation,
                piecewise,
                parts,
            })
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => AskError::Busy,
                mpsc::TrySendError::Disconnected(_) => AskError::Stopped,
            })?;
        Ok(heard)
    }
}

fn answer(student: &LoadedStudent, waiting: &mpsc::Receiver<Question>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        while let (true, Ok(next)) = (batch.len() < BATCH, waiting.try_recv()) {
            batch.push(next);
        }
        // A caller that hung up needs no answer.
        batch.retain(|question| !question.parts.is_closed());
        let conversations: Vec<Vec<Message>> = batch
            .iter()
            .map(|question| question.conversation.clone())
            .collect();
        let answers = if batch.iter().any(|question| question.piecewise) {
            student.stream_conversations(&conversations, &mut |index, text| {
                if batch[index].piecewise {
                    // The caller may hang up while it is answered.
                    let _ = batch[index].parts.send(Part::Text(text.to_owned()));
                }
            })
        } else {
            student.answer_conversations(&conversations)
        };
        for (question, answer) in batch.iter().zip(answers) {
            let answer = answer.map_err(|error| error.to_string());
            let _ = question.parts.send(Part::Done(answer));
        }
    }
}
