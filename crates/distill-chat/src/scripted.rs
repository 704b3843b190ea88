//! A model that says what a test told it to say.

use std::{collections::VecDeque, sync::Mutex};

use crate::{
    BoxFuture, ChatError, ChatModel, ChatRequest, Completion, ErrorKind, FinishReason, Usage,
};

/// Answers from a script, in order, and keeps what it was asked.
#[derive(Debug)]
pub struct ScriptedModel {
    identity: String,
    script: Mutex<VecDeque<Result<String, ErrorKind>>>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl ScriptedModel {
    pub fn new(
        identity: impl Into<String>,
        script: impl IntoIterator<Item = Result<String, ErrorKind>>,
    ) -> Self {
        Self {
            identity: identity.into(),
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::new(Vec::new()),
        }
    }

    /// The requests received so far.
    pub fn asked(&self) -> Vec<ChatRequest> {
        self.asked
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    fn next(&self, request: &ChatRequest) -> Result<Completion, ChatError> {
        self.asked
            .lock()
            .expect("no holder of this lock panics")
            .push(request.clone());
        let line = self
            .script
            .lock()
            .expect("no holder of this lock panics")
            .pop_front();
        match line {
            Some(Ok(text)) => Ok(Completion {
                text,
                finish: FinishReason::Stop,
                usage: Usage::default(),
                model: self.identity.clone(),
                logprob: None,
                token_logprobs: None,
            }),
            Some(Err(kind)) => Err(ChatError::new(
                kind,
                format!("`{}` fails as scripted", self.identity),
            )),
            None => Err(ChatError::new(
                ErrorKind::Request,
                format!("the script of `{}` has no further line", self.identity),
            )),
        }
    }
}

impl ChatModel for ScriptedModel {
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
    ) -> BoxFuture<'a, Result<Completion, ChatError>> {
        Box::pin(std::future::ready(self.next(request)))
    }
}
