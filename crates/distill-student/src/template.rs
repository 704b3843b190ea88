//! One renderer for training, evaluation and serving: the model's own chat template.
//!
//! A rendering is text plus the byte ranges that people or models wrote (*content*). Control tokens
//! count only outside content. To find the ranges, every content is rendered a second time between
//! marks and the two renderings are compared: a template that trims, repeats or moves content is
//! followed, one that rewrites it in a way that loses the marks is accepted only while no content
//! spells a control token.
//!
//! An example is the prompt's tokens followed by the tokens of what the template writes after it, up
//! to the stop token. The cut between the two is a cut in the tokenisation as well: no merge runs
//! across it, because generation starts there too. So `tokens[..loss_from]` are exactly the tokens
//! that serving sends, and no prefix is ever tokenised a second time.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use distill_chat::{Message, Role};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use crate::tokenizer::{Tokenizer, TokenizerError};

mod conversation;
mod guard;
mod marks;
mod methods;
mod python;
#[cfg(test)]
pub(crate) mod tests;

pub use conversation::Conversation;
use marks::Rendering;

/// Steps a template may take: some hundred per message are usual.
const FUEL: u64 = 2_000_000;
/// Macros within one another.
const MAX_CALLS: usize = 100;
/// Longest rendering.
const MAX_RENDERED_BYTES: usize = 16 << 20;
/// Longest template source.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
const NAME: &str = "chat";

/// Why a conversation cannot be rendered or encoded.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the model has no chat template")]
    Missing,
    #[error("the chat template has {0} bytes, more than {MAX_TEMPLATE_BYTES}")]
    TooLarge(usize),
    #[error("the chat template does not compile: {0}")]
    Compile(String),
    #[error("the chat template cannot render the conversation: {0}")]
    Render(String),
    #[error(
        "the chat template rewrites message content that spells a control token, so the two cannot be told apart"
    )]
    Ambiguous,
    #[error("the chat template does not repeat the prompt when the reply follows it")]
    NotAPrefix,
    #[error("the chat template drops or rewrites the reply")]
    ReplyLost,
    #[error("neither the chat template nor the tokenizer says how a reply ends")]
    NoStopToken,
    #[error("the chat template renders the conversation to nothing")]
    Empty,
    #[error("the prompt cannot be cut below {tokens} tokens, the limit is {limit}")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("the reply needs {tokens} tokens with its stop token, the limit is {limit}")]
    ReplyTooLong { tokens: usize, limit: usize },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A compiled chat template (Jinja, by the conventions of Hugging Face).
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

#[derive(Serialize)]
struct TemplateMessage<'a> {
    role: &'a str,
    content: &'a str,
}

impl ChatTemplate {
    pub fn new(
        source: &str,
        bos_token: Option<&str>,
        eos_token: Option<&str>,
    ) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge(source.len()));
        }
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_CALLS);
        methods::install(&mut environment);
        let guarded = guard::guarded(source).map_err(TemplateError::Compile)?;
        environment
            .add_template_owned(NAME, guarded)
            .map_err(|error| TemplateError::Compile(error.to_string()))?;
        Ok(Self {
            source: source.to_owned(),
            environment,
            bos_token: bos_token.unwrap_or_default().to_owned(),
            eos_token: eos_token.unwrap_or_default().to_owned(),
        })
    }

    /// The template inside `tokenizer_config.json`: a string, or a list whose entry `default` counts.
    pub fn from_config(
        tokenizer_config: &[u8],
        tokenizer: &Tokenizer,
    ) -> Result<Self, TemplateError> {
        let config: serde_json::Value =
            serde_json::from_slice(tokenizer_config).map_err(|_| TemplateError::Missing)?;
        let template = &config["chat_template"];
        let named_default = || {
            let named = template.as_array()?.iter();
            named
                .filter(|entry| entry["name"] == "default")
                .find_map(|entry| entry["template"].as_str())
        };
        let source = template
            .as_str()
            .or_else(named_default)
            .ok_or(TemplateError::Missing)?;
        Self::new(source, tokenizer.bos_token(), tokenizer.eos_token())
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text. `add_generation_prompt` ends it where the assistant is to go on.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let plain: Vec<(Role, &str)> = messages
            .iter()
            .map(|message| (message.role, message.content.as_str()))
            .collect();
        self.render_parts(&plain, add_generation_prompt)
    }

    fn render_parts(
        &self,
        messages: &[(Role, &str)],
        add_generation_prompt: bool,
    ) -> Result<String, TemplateError> {
        let messages: Vec<_> = messages
            .iter()
            .map(|(role, content)| TemplateMessage {
                role: role.as_str(),
                content,
            })
            .collect();
        // Students answer at once; templates of reasoning models then write an empty thought.
        self.render_context(context! {
            messages,
            tools => (),
            documents => (),
            add_generation_prompt,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
            enable_thinking => false,
        })
    }

    fn render_context(&self, context: minijinja::Value) -> Result<String, TemplateError> {
        let failed = |error: &minijinja::Error| TemplateError::Render(methods::with_causes(error));
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| failed(&error))?;
        let mut output = methods::BoundedOutput::new(MAX_RENDERED_BYTES);
        // The engine panics on some slices that run backwards, such as `''[::-1]` (minijinja 2.24): a
        // stranger's template must not end the process. What was written so far is dropped.
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            template
                .render_captured_to(context, &mut output)
                .map(drop)
                .map_err(|error| failed(&error))
        }));
        rendered.unwrap_or_else(|_| {
            let reason = "the template engine failed on it; a slice that runs backwards over nothing does that";
            Err(TemplateError::Render(reason.to_owned()))
        })?;
        output
            .into_text()
            .map_err(|error| TemplateError::Render(error.to_string()))
    }
}

/// Lengths that training and serving share, so that both cut a long prompt at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatLimits {
    /// A longer prompt loses the beginning of its last user message.
    pub max_prompt_tokens: usize,
    /// Reply and stop token. A longer reply is refused in training and cut in serving.
    pub max_reply_tokens: usize,
}

/// What is sent to the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPrompt {
    pub tokens: Vec<u32>,
    /// Characters cut from the beginning of the last user message; 0 for a prompt that fits.
    pub dropped_characters: usize,
}

/// What the model is trained on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedExample {
    pub tokens: Vec<u32>,
    /// Loss covers `tokens[loss_from..]`: the reply and its stop token, never empty. What comes
    /// before are the tokens of [`ChatEncoder::encode_prompt`].
    pub loss_from: usize,
    /// As in [`EncodedPrompt`].
    pub dropped_characters: usize,
}

/// Conversations to tokens, for one model and one pair of limits.
#[derive(Debug, Clone)]
pub struct ChatEncoder {
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
    limits: ChatLimits,
    stop_ids: Vec<u32>,
}

impl ChatEncoder {
    /// Checks by one short conversation that the template can be trained on, and learns from it
    /// which token ends a reply.
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        template: Arc<ChatTemplate>,
        limits: ChatLimits,
    ) -> Result<Self, TemplateError> {
        let mut encoder = Self {
            stop_ids: tokenizer.eos_ids().to_vec(),
            tokenizer,
            template,
            limits,
        };
        let probe = [Message::user("question")];
        let prompt = encoder.rendering(&probe, true)?;
        let (_, stop) = encoder.continuation(&probe, "answer", &prompt)?;
        if !encoder.stop_ids.contains(&stop) {
            encoder.stop_ids.push(stop);
            encoder.stop_ids.sort_unstable();
        }
        Ok(encoder)
    }

    /// Every token at which a reply is over, ascending.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    pub fn limits(&self) -> ChatLimits {
        self.limits
    }

    /// Tokens after which the model writes its reply.
    pub fn encode_prompt(&self, messages: &[Message]) -> Result<EncodedPrompt, TemplateError> {
        self.fitted_prompt(messages).map(|fitted| EncodedPrompt {
            tokens: fitted.tokens,
            dropped_characters: fitted.dropped_characters,
        })
    }

    /// Tokens of the prompt, the reply and its stop token.
    pub fn encode_example(
        &self,
        messages: &[Message],
        reply: &str,
    ) -> Result<EncodedExample, TemplateError> {
        let fitted = self.fitted_prompt(messages)?;
        let (continuation, _) = self.continuation(&fitted.messages, reply, &fitted.rendering)?;
        if continuation.len() > self.limits.max_reply_tokens {
            return Err(TemplateError::ReplyTooLong {
                tokens: continuation.len(),
                limit: self.limits.max_reply_tokens,
            });
        }
        let loss_from = fitted.tokens.len();
        let mut tokens = fitted.tokens;
        tokens.extend(continuation);
        Ok(EncodedExample {
            tokens,
            loss_from,
            dropped_characters: fitted.dropped_characters,
        })
    }

    /// Renders with the range of every content known.
    fn rendering(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Rendering, TemplateError> {
        let clean: Vec<_> = messages
            .iter()
            .map(|message| (message.role, marks::cleaned(&message.content)))
            .collect();
        let marked: Vec<_> = clean
            .iter()
            .map(|(role, content)| (*role, marks::marked(content)))
            .collect();
        let borrow = |parts: &[(Role, String)]| -> Result<String, TemplateError> {
            let parts: Vec<_> = parts
                .iter()
                .map(|(role, text)| (*role, text.as_str()))
                .collect();
            self.template.render_parts(&parts, add_generation_prompt)
        };
        let plain = borrow(&clean)?;
        let found = borrow(&marked).ok().and_then(|text| marks::read(&text));
        match found {
            Some(rendering) if rendering.text == plain => Ok(rendering),
            _ if clean
                .iter()
                .any(|(_, content)| self.tokenizer.next_control(content, 0).is_some()) =>
            {
                Err(TemplateError::Ambiguous)
            }
            _ => Ok(Rendering {
                text: plain,
                content: Vec::new(),
            }),
        }
    }

    /// Tokens of what follows the prompt, and the stop token they end with.
    fn continuation(
        &self,
        messages: &[Message],
        reply: &str,
        prompt: &Rendering,
    ) -> Result<(Vec<u32>, u32), TemplateError> {
        let mut with_reply = messages.to_vec();
        with_reply.push(Message::assistant(reply));
        let whole = self.rendering(&with_reply, false)?;
        let rest = whole
            .text
            .strip_prefix(prompt.text.as_str())
            .ok_or(TemplateError::NotAPrefix)?;
        let start = prompt.text.len();
        let reply_core = marks::cleaned(reply);
        let reply_core = reply_core.trim();
        let content: Vec<Range<usize>> = whole
            .content
            .iter()
            .filter(|range| range.start >= start)
            .map(|range| range.start - start..range.end - start)
            .collect();
        let reply_end = match (content.as_slice(), reply_core.is_empty()) {
            (_, true) => 0,
            ([range], false) if rest[range.clone()] == *reply_core => range.end,
            // A rewriting template leaves no marks; the reply must still be there word for word.
            ([], false) => match rest.find(reply_core) {
                Some(at) => at + reply_core.len(),
                None => return Err(TemplateError::ReplyLost),
            },
            _ => return Err(TemplateError::ReplyLost),
        };
        if let Some((range, stop)) = self.tokenizer.next_control(rest, reply_end) {
            let tokens = self.tokenizer.encode_spans(&rest[..range.end], &content)?;
            return Ok((tokens, stop));
        }
        let stop = self
            .tokenizer
            .eos_token()
            .and_then(|token| self.tokenizer.id(token))
            .or_else(|| self.tokenizer.eos_ids().first().copied())
            .ok_or(TemplateError::NoStopToken)?;
        let mut tokens = self.tokenizer.encode_spans(&rest[..reply_end], &content)?;
        tokens.push(stop);
        Ok((tokens, stop))
    }

    fn fitted_prompt(&self, messages: &[Message]) -> Result<FittedPrompt, TemplateError> {
        let limit = self.limits.max_prompt_tokens;
        let longest_that_fits = limit.saturating_mul(self.tokenizer.longest_token());
        let last_user = messages
            .iter()
            .rposition(|message| message.role == Role::User);
        let content = last_user.map_or("", |index| messages[index].content.as_str());
        let attempt = |kept: usize| -> Result<FittedPrompt, TemplateError> {
            let mut messages = messages.to_vec();
            if let Some(index) = last_user {
                content[content.len() - kept..].clone_into(&mut messages[index].content);
            }
            let rendering = self.rendering(&messages, true)?;
            let tokens = self
                .tokenizer
                .encode_spans(&rendering.text, &rendering.content)?;
            Ok(FittedPrompt {
                dropped_characters: content[..content.len() - kept].chars().count(),
                messages,
                rendering,
                tokens,
            })
        };
        if content.len() <= longest_that_fits {
            let whole = attempt(content.len())?;
            if whole.tokens.is_empty() {
                return Err(TemplateError::Empty);
            }
            if whole.tokens.len() <= limit {
                return Ok(whole);
            }
        }
        let mut best = attempt(0)?;
        if best.tokens.len() > limit {
            return Err(TemplateError::PromptTooLong {
                tokens: best.tokens.len(),
                limit,
            });
        }
        // Longest tail that fits, by bisection over character borders.
        let tails: Vec<usize> = content
            .char_indices()
            .rev()
            .map(|(at, _)| content.len() - at)
            .take_while(|kept| *kept <= longest_that_fits)
            .collect();
        let (mut fits, mut too_long) = (0, tails.len() + 1);
        while too_long - fits > 1 {
            let middle = usize::midpoint(fits, too_long);
            let tried = attempt(tails[middle - 1])?;
            if tried.tokens.len() <= limit {
                (fits, best) = (middle, tried);
            } else {
                too_long = middle;
            }
        }
        Ok(best)
    }
}

/// A prompt within the limit, with what it was rendered from.
struct FittedPrompt {
    messages: Vec<Message>,
    rendering: Rendering,
    tokens: Vec<u32>,
    dropped_characters: usize,
}
