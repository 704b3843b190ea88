//! One thread per loaded student: it takes all waiting conversations at once and answers them as a
//! batch, so that many callers cost less than one each.

use std::{path::Path, sync::mpsc, thread};

use distill_chat::Message;
use distill_student::{
    answer::{LoadedStudent, StudentAnswer},
    bundle::{Bundle, BundleError},
    embedded,
};
use tokio::sync::oneshot;

/// Conversations answered in one batch at most.
const BATCH: usize = 32;
/// Conversations that may wait; more are refused instead of piling up.
const WAITING: usize = 1024;

struct Question {
    conversation: Vec<Message>,
    reply: oneshot::Sender<Result<StudentAnswer, String>>,
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
    pub(crate) fn start(bundle: &Path) -> Result<Self, BundleError> {
        let student = Bundle::open(bundle, &embedded::bases())?.into_student();
        let (questions, waiting) = mpsc::sync_channel(WAITING);
        thread::spawn(move || answer(&student, &waiting));
        Ok(Self { questions })
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, conversation: Vec<Message>) -> Result<StudentAnswer, AskError> {
        let (reply, answered) = oneshot::channel();
        self.questions
            .try_send(Question {
                conversation,
                reply,
            })
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => AskError::Busy,
                mpsc::TrySendError::Disconnected(_) => AskError::Stopped,
            })?;
        answered
            .await
            .map_err(|_| AskError::Stopped)?
            .map_err(AskError::Student)
    }
}

fn answer(student: &LoadedStudent, waiting: &mpsc::Receiver<Question>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        while let (true, Ok(next)) = (batch.len() < BATCH, waiting.try_recv()) {
            batch.push(next);
        }
        // A caller that hung up needs no answer.
        batch.retain(|question| !question.reply.is_closed());
        let conversations: Vec<Vec<Message>> = batch
            .iter()
            .map(|question| question.conversation.clone())
            .collect();
        for (question, answer) in batch
            .into_iter()
            .zip(student.answer_conversations(&conversations))
        {
            // The caller may hang up while it is answered.
            let _ = question
                .reply
                .send(answer.map_err(|error| error.to_string()));
        }
    }
}
