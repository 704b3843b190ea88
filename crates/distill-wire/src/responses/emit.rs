//! Writes the caller's streams.

use std::fmt::Write as _;

use distill_chat::Usage;
use serde_json::{Value, json};

use super::{
    echo::{self, Echo, State},
    reply::{
        call_prefix, failure_code, message_item, reasoning_item, said_arguments, text_part,
        write_logprob,
    },
    tools::{self, Call, Kind, Named},
};
use crate::{
    Delta, Dialect, ErrorReply, Event, Finish, Opening, ReplyContext, TokenLogprob, WriteStream,
    event::merge_usage, proof::Proof, sse,
};

pub(super) struct Writer {
    context: ReplyContext,
    echo: Option<Echo>,
    /// What the vendor said of itself, until the first content tells the caller.
    start: (Option<String>, Option<String>, Option<i64>),
    sequence: u64,
    usage: Option<Usage>,
    finish: Finish,
    done: bool,
    /// By the index of the events; `None`: nothing that a caller of this dialect can be told.
    blocks: Vec<Option<Block>>,
    items: Vec<Item>,
}

/// A block of the reply, and where the caller finds it.
struct Block {
    item: usize,
    /// The part of the message.
    part: usize,
    refusal: bool,
    open: bool,
    said: String,
    proof: String,
    annotations: Vec<Value>,
    logprobs: Vec<TokenLogprob>,
}

/// An output item. One message holds all the texts that follow each other.
struct Item {
    id: String,
    kind: ItemKind,
    /// The parts of a message that are whole.
    parts: Vec<Value>,
    /// How many parts were opened.
    opened: usize,
    /// The item as JSON text, once it is whole.
    whole: Option<String>,
}

enum ItemKind {
    Message,
    Reasoning {
        vendor_id: Option<String>,
        redacted: Option<String>,
    },
    Call {
        tool: Named,
        call_id: String,
    },
}

impl Writer {
    pub(super) fn new(context: &ReplyContext) -> Self {
        Self {
            context: context.clone(),
            echo: None,
            start: (None, None, None),
            sequence: 0,
            usage: None,
            finish: Finish::Stop,
            done: false,
            blocks: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Writes an event: `members` is JSON text without braces.
    fn emit(&mut self, kind: &str, members: &str, bytes: &mut Vec<u8>) {
        let mut data = String::with_capacity(members.len() + 80);
        let _ = write!(
            data,
            r#"{{"type":"{kind}","sequence_number":{},{members}}}"#,
            self.sequence
        );
        self.sequence += 1;
        sse::write(Some(kind), &data, bytes);
    }

    fn echo(&mut self) -> &Echo {
        let (id, model, created) = &self.start;
        self.echo.get_or_insert_with(|| {
            Echo::new(&self.context, id.as_deref(), model.as_deref(), *created)
        })
    }

    fn own(&self) -> bool {
        self.context
            .source
            .is_none_or(|source| source == Dialect::Responses)
    }

    fn response(
        &mut self,
        status: &'static str,
        error: Value,
        incomplete: Option<&'static str>,
    ) -> String {
        let output: Vec<String> = self
            .items
            .iter()
            .filter_map(|item| item.whole.clone())
            .collect();
        let usage = self.usage;
        self.echo().response(&State {
            status,
            error,
            incomplete,
            output: &output,
            usage: usage.as_ref(),
            service_tier: None,
        })
    }

    fn begin(&mut self, bytes: &mut Vec<u8>) {
        if self.echo.is_some() {
            return;
        }
        let usage = self.usage.take();
        let response = self.response("in_progress", Value::Null, None);
        self.usage = usage;
        let members = format!("\"response\":{response}");
        self.emit("response.created", &members, bytes);
        self.emit("response.in_progress", &members, bytes);
    }

    fn place(&self, block: &Block, name: &str) -> String {
        format!(
            r#""item_id":{},"output_index":{},"{name}":{}"#,
            Value::from(self.items[block.item].id.as_str()),
            block.item,
            block.part,
        )
    }

    fn open(&mut self, index: usize, opening: &Opening, bytes: &mut Vec<u8>) {
        while self.blocks.len() < index {
            self.blocks.push(None);
        }
        // What only another dialect knows ends no message either.
        if matches!(opening, Opening::Other(_)) {
            self.blocks.push(None);
            return;
        }
        let text = matches!(opening, Opening::Text | Opening::Refusal);
        let last = self.items.len().wrapping_sub(1);
        let joins = text
            && self
                .items
                .last()
                .is_some_and(|item| matches!(item.kind, ItemKind::Message) && item.whole.is_none());
        if !joins {
            // A message ends where something else begins, unless one of its texts goes on.
            self.end_message(last, bytes);
        }
        let item = if joins {
            Some(last)
        } else {
            self.open_item(opening, bytes)
        };
        let Some(item) = item else {
            self.blocks.push(None);
            return;
        };
        let part = self.items[item].opened;
        self.items[item].opened += 1;
        let block = Block {
            item,
            part,
            refusal: matches!(opening, Opening::Refusal),
            open: true,
            said: String::new(),
            proof: String::new(),
            annotations: Vec::new(),
            logprobs: Vec::new(),
        };
        match opening {
            Opening::Text => {
                let members = format!(
                    "{},\"part\":{}",
                    self.place(&block, "content_index"),
                    text_part("", None, &[])
                );
                self.emit("response.content_part.added", &members, bytes);
            }
            Opening::Refusal => {
                let members = format!(
                    "{},\"part\":{}",
                    self.place(&block, "content_index"),
                    json!({"type": "refusal", "refusal": ""})
                );
                self.emit("response.content_part.added", &members, bytes);
            }
            _ => {}
        }
        self.blocks.push(Some(block));
    }

    fn open_item(&mut self, opening: &Opening, bytes: &mut Vec<u8>) -> Option<usize> {
        let number = self.items.len();
        let request = self.context.request.clone();
        let (prefix, kind) = match opening {
            Opening::Text | Opening::Refusal => ("msg", ItemKind::Message),
            Opening::Thinking { id } => (
                "rs",
                ItemKind::Reasoning {
                    vendor_id: id.clone(),
                    redacted: None,
                },
            ),
            Opening::RedactedThinking { data, id } => (
                "rs",
                ItemKind::Reasoning {
                    vendor_id: id.clone(),
                    redacted: Some(data.clone()),
                },
            ),
            Opening::ToolCall { id, name } => {
                let tool = tools::named(request.as_deref(), name);
                (
                    call_prefix(&tool),
                    ItemKind::Call {
                        tool,
                        call_id: id.clone(),
                    },
                )
            }
            Opening::Other(_) => return None,
        };
        let id = match &kind {
            ItemKind::Reasoning {
                vendor_id: Some(id),
                ..
            } if self.own() => id.clone(),
            _ => self.echo().item_id(prefix, number),
        };
        let item = match &kind {
            ItemKind::Message => message_item(&id, Vec::new(), "in_progress"),
            ItemKind::Reasoning { .. } => json!({"type": "reasoning", "id": id, "summary": []}),
            ItemKind::Call { tool, call_id } => Call {
                tool,
                id: call_id,
                arguments: "",
                item: Some(&id),
                status: Some("in_progress"),
            }
            .item(),
        };
        self.emit(
            "response.output_item.added",
            &format!("\"output_index\":{number},\"item\":{item}"),
            bytes,
        );
        self.items.push(Item {
            id,
            kind,
            parts: Vec::new(),
            opened: 0,
            whole: None,
        });
        Some(number)
    }

    fn delta(&mut self, index: usize, delta: &Delta, bytes: &mut Vec<u8>) {
        let own = self.own();
        let Some(mut block) = self.blocks.get_mut(index).and_then(Option::take) else {
            return;
        };
        match delta {
            Delta::Text(text) => {
                block.said.push_str(text);
                let members = format!(
                    "{},\"delta\":{},\"logprobs\":[]",
                    self.place(&block, "content_index"),
                    Value::from(text.as_str())
                );
                self.emit("response.output_text.delta", &members, bytes);
            }
            Delta::Refusal(text) => {
                block.said.push_str(text);
                let members = format!(
                    "{},\"delta\":{}",
                    self.place(&block, "content_index"),
                    Value::from(text.as_str())
                );
                self.emit("response.refusal.delta", &members, bytes);
            }
            Delta::Thinking(text) => {
                if block.said.is_empty() {
                    let members = format!(
                        "{},\"part\":{}",
                        self.place(&block, "summary_index"),
                        summary_part("")
                    );
                    self.emit("response.reasoning_summary_part.added", &members, bytes);
                }
                block.said.push_str(text);
                let members = format!(
                    "{},\"delta\":{}",
                    self.place(&block, "summary_index"),
                    Value::from(text.as_str())
                );
                self.emit("response.reasoning_summary_text.delta", &members, bytes);
            }
            Delta::Arguments(text) => {
                block.said.push_str(text);
                let item = &self.items[block.item];
                // The arguments of the others are no text here until they are whole.
                if let ItemKind::Call { tool, .. } = &item.kind
                    && tool.kind == Kind::Function
                {
                    let members = format!(
                        "\"item_id\":{},\"output_index\":{},\"delta\":{}",
                        Value::from(item.id.as_str()),
                        block.item,
                        Value::from(text.as_str())
                    );
                    self.emit("response.function_call_arguments.delta", &members, bytes);
                }
            }
            Delta::Signature(text) => block.proof.push_str(text),
            Delta::Logprobs(more) => block.logprobs.extend(more.iter().cloned()),
            Delta::Annotation(annotation) if own => {
                let members = format!(
                    "{},\"annotation_index\":{},\"annotation\":{annotation}",
                    self.place(&block, "content_index"),
                    block.annotations.len(),
                );
                self.emit("response.output_text.annotation.added", &members, bytes);
                block.annotations.push(annotation.clone());
            }
            Delta::Annotation(_) => {}
        }
        self.blocks[index] = Some(block);
    }

    fn close(&mut self, index: usize, status: &'static str, bytes: &mut Vec<u8>) {
        let Some(mut block) = self.blocks.get_mut(index).and_then(Option::take) else {
            return;
        };
        if std::mem::replace(&mut block.open, false) {
            match &self.items[block.item].kind {
                ItemKind::Message => self.close_part(&block, bytes),
                ItemKind::Reasoning { .. } => self.close_reasoning(&block, bytes),
                ItemKind::Call { .. } => self.close_call(&block, status, bytes),
            }
        }
        let item = block.item;
        self.blocks[index] = Some(block);
        // A message that is not the last item goes on no more.
        if item + 1 < self.items.len() {
            self.end_message(item, bytes);
        }
    }

    fn close_part(&mut self, block: &Block, bytes: &mut Vec<u8>) {
        let place = self.place(block, "content_index");
        let refusal = block.refusal;
        let text = Value::from(block.said.as_str());
        let part = if refusal {
            let members = format!("{place},\"refusal\":{text}");
            self.emit("response.refusal.done", &members, bytes);
            json!({"type": "refusal", "refusal": block.said})
        } else {
            let logprobs: Vec<Value> = block.logprobs.iter().map(write_logprob).collect();
            let members = format!(
                "{place},\"text\":{text},\"logprobs\":{}",
                Value::Array(logprobs)
            );
            self.emit("response.output_text.done", &members, bytes);
            let annotations = Value::Array(block.annotations.clone());
            text_part(&block.said, Some(&annotations), &block.logprobs)
        };
        let members = format!("{place},\"part\":{part}");
        self.emit("response.content_part.done", &members, bytes);
        self.items[block.item].parts.push(part);
    }

    fn close_reasoning(&mut self, block: &Block, bytes: &mut Vec<u8>) {
        if !block.said.is_empty() {
            let place = self.place(block, "summary_index");
            let members = format!("{place},\"text\":{}", Value::from(block.said.as_str()));
            self.emit("response.reasoning_summary_text.done", &members, bytes);
            let members = format!("{place},\"part\":{}", summary_part(&block.said));
            self.emit("response.reasoning_summary_part.done", &members, bytes);
        }
        let item = &self.items[block.item];
        let ItemKind::Reasoning {
            vendor_id,
            redacted,
        } = &item.kind
        else {
            return;
        };
        let proof = Proof {
            dialect: self.context.source.unwrap_or(Dialect::Responses),
            redacted: redacted.is_some(),
            id: vendor_id.clone(),
            text: redacted
                .clone()
                .or_else(|| Some(block.proof.clone()).filter(|proof| !proof.is_empty())),
        };
        let whole = reasoning_item(&item.id, &block.said, proof, &self.context);
        self.item_done(block.item, &whole, bytes);
    }

    fn close_call(&mut self, block: &Block, status: &'static str, bytes: &mut Vec<u8>) {
        let item = &self.items[block.item];
        let ItemKind::Call { tool, call_id } = &item.kind else {
            return;
        };
        let arguments = said_arguments(&block.said);
        let whole = Call {
            tool,
            id: call_id,
            arguments,
            item: Some(&item.id),
            status: Some(status),
        }
        .item();
        let place = format!(
            "\"item_id\":{},\"output_index\":{}",
            Value::from(item.id.as_str()),
            block.item
        );
        match tool.kind {
            Kind::Function => {
                let members = format!(
                    "{place},\"name\":{},\"arguments\":{}",
                    Value::from(tool.name.as_str()),
                    Value::from(arguments)
                );
                self.emit("response.function_call_arguments.done", &members, bytes);
            }
            Kind::Custom => {
                let input = whole["input"].to_string();
                let members = format!("{place},\"delta\":{input}");
                self.emit("response.custom_tool_call_input.delta", &members, bytes);
                let members = format!("{place},\"input\":{input}");
                self.emit("response.custom_tool_call_input.done", &members, bytes);
            }
            Kind::LocalShell => {}
        }
        self.item_done(block.item, &whole, bytes);
    }

    fn item_done(&mut self, item: usize, whole: &Value, bytes: &mut Vec<u8>) {
        let text = whole.to_string();
        let members = format!("\"output_index\":{item},\"item\":{text}");
        self.items[item].whole = Some(text);
        self.emit("response.output_item.done", &members, bytes);
    }

    /// Ends the message at this place, if there is one and all its texts are whole.
    fn end_message(&mut self, item: usize, bytes: &mut Vec<u8>) {
        let Some(message) = self.items.get_mut(item) else {
            return;
        };
        if !matches!(message.kind, ItemKind::Message)
            || message.whole.is_some()
            || message.parts.len() < message.opened
        {
            return;
        }
        let parts = std::mem::take(&mut message.parts);
        let status = echo::status(&self.finish).0;
        let whole = message_item(&message.id, parts, status);
        self.item_done(item, &whole, bytes);
    }

    fn end_all(&mut self, bytes: &mut Vec<u8>) {
        let status = echo::status(&self.finish).0;
        for index in 0..self.blocks.len() {
            self.close(index, status, bytes);
        }
        for item in 0..self.items.len() {
            self.end_message(item, bytes);
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        self.begin(bytes);
        self.end_all(bytes);
        let (status, incomplete) = echo::status(&self.finish);
        let response = self.response(status, Value::Null, incomplete);
        let kind = match incomplete {
            Some(_) => "response.incomplete",
            None => "response.completed",
        };
        self.emit(kind, &format!("\"response\":{response}"), bytes);
        self.done = true;
    }

    /// Some clients know only the one, some only the other.
    fn fail(&mut self, error: &ErrorReply, bytes: &mut Vec<u8>) {
        let code = failure_code(error).to_owned();
        let members = format!(
            "\"code\":{},\"message\":{},\"param\":{}",
            Value::from(code.as_str()),
            Value::from(error.message.as_str()),
            Value::from(error.param.as_deref()),
        );
        self.emit("error", &members, bytes);
        let failure = json!({"code": code, "message": error.message});
        let response = self.response("failed", failure, None);
        self.emit(
            "response.failed",
            &format!("\"response\":{response}"),
            bytes,
        );
        self.done = true;
    }
}

fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

impl WriteStream for Writer {
    fn write(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        if self.done {
            return;
        }
        match event {
            Event::Start {
                id, model, created, ..
            } => self.start = (id.clone(), model.clone(), *created),
            Event::Open { index, block } => {
                self.begin(bytes);
                self.open(*index, block, bytes);
            }
            Event::Delta { index, delta } => self.delta(*index, delta, bytes),
            Event::Close { index } => self.close(*index, "completed", bytes),
            Event::Finish { reason, .. } => self.finish = reason.clone(),
            Event::Usage(more) => {
                merge_usage(self.usage.get_or_insert_with(Usage::default), more);
            }
            Event::Ping => {
                if self.echo.is_some() {
                    // A comment: this dialect has no event that says nothing.
                    bytes.extend_from_slice(b": ping\n\n");
                }
            }
            Event::Error(error) => self.fail(error, bytes),
            Event::End => self.end(bytes),
        }
    }
}
