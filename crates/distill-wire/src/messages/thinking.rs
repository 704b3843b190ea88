//! How a model of this dialect is asked to think, and what that forbids.
//!
//! Rules of the vendor (its pages on extended and adaptive thinking, and on effort): models before
//! 4.6 take a budget, from 4.7 on they take only `adaptive` with an effort, 4.6 takes both; a budget
//! is at least 1,024 tokens and less than `max_tokens`; with thinking there is no temperature, no
//! `top_k`, no `top_p` below 0.95 and no forced tool; with a budget, a turn that is in the middle of
//! its tool calls must begin with its own thinking.

use serde_json::{Map, Value, json};

use crate::{Block, Dialect, Reasoning, Request, ToolChoice, TurnRole, proof::Proof};

/// The least budget that the vendor takes.
const LEAST_BUDGET: u64 = 1024;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<String>,
    /// Whether the model will think, so that sampling parameters are forbidden.
    pub(super) on: bool,
    /// Why thinking that was asked for is left out.
    pub(super) left_out: Option<&'static str>,
}

impl Plan {
    fn none(left_out: Option<&'static str>) -> Self {
        Self {
            thinking: None,
            effort: None,
            on: false,
            left_out,
        }
    }
}

/// Which forms a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Nothing,
    Budget,
    Both,
    Adaptive,
}

/// Reads the generation from a name such as `claude-opus-4-6`, `claude-3-7-sonnet-20250219` or
/// `anthropic.claude-sonnet-4-5-20250929-v1:0`.
fn generation(model: &str) -> Option<(u32, u32)> {
    let (_, rest) = model.split_once("claude-")?;
    let mut numbers = rest
        .split(['-', '@', ':', '.'])
        .skip_while(|part| part.parse::<u32>().is_err())
        .map_while(|part| part.parse::<u32>().ok())
        // A date is no part of the generation.
        .filter(|number| *number < 100);
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

fn form(model: &str) -> Form {
    match generation(model) {
        Some(generation) if generation < (3, 7) => Form::Nothing,
        Some(generation) if generation < (4, 6) => Form::Budget,
        Some((4, 6)) => Form::Both,
        Some(_) => Form::Adaptive,
        // Previews are the newest; other vendors that speak the dialect know the older form.
        None if model.contains("claude") => Form::Adaptive,
        None => Form::Budget,
    }
}

pub(super) fn plan(request: &Request, model: &str, max_tokens: u64) -> Plan {
    let own = request.source == Some(Dialect::Messages);
    let Some(asked) = &request.reasoning else {
        return Plan::none(None);
    };
    let effort = asked.effort.as_deref();
    let enabled = asked
        .enabled
        .unwrap_or(!own && effort.is_some_and(|effort| effort != "none"));
    if !enabled {
        let mut plan = Plan::none(None);
        if own {
            plan.thinking = asked.enabled.map(|_| json!({"type": "disabled"}));
            plan.effort.clone_from(&asked.effort);
        }
        return plan;
    }
    let form = form(model);
    if form == Form::Nothing {
        return Plan::none(Some("this model does not think"));
    }
    if !own
        && matches!(
            request.tool_choice,
            Some(ToolChoice::Required | ToolChoice::Tool(_))
        )
    {
        return Plan::none(Some("this vendor forbids it with a forced tool"));
    }
    let adaptive = match form {
        Form::Adaptive => true,
        Form::Both => asked.budget_tokens.is_none(),
        Form::Budget | Form::Nothing => false,
    };
    if adaptive {
        with_effort(asked, own, model)
    } else if open_turn_has_thinking(request) {
        with_budget(asked, max_tokens)
    } else {
        Plan::none(Some(
            "the turn in progress began without thinking, or with another vendor's",
        ))
    }
}

fn with_effort(asked: &Reasoning, own: bool, model: &str) -> Plan {
    let newest = generation(model).is_none_or(|generation| generation > (4, 6));
    let effort = match (asked.effort.as_deref(), asked.budget_tokens) {
        (Some("minimal"), _) => Some("low"),
        (Some("xhigh"), _) if !newest => Some("high"),
        (Some(effort), _) => Some(effort),
        (None, Some(budget)) => Some(effort_of_budget(budget)),
        (None, None) => None,
    };
    Plan {
        thinking: Some(shown(json!({"type": "adaptive"}), asked, own)),
        effort: effort.map(str::to_owned),
        on: true,
        left_out: None,
    }
}

fn with_budget(asked: &Reasoning, max_tokens: u64) -> Plan {
    // Shares of the reply's bound, as OpenRouter documents them.
    let share = match asked.effort.as_deref() {
        Some("minimal") => 10,
        Some("low") => 20,
        Some("high") => 80,
        Some("xhigh" | "max") => 95,
        _ => 50,
    };
    let budget = asked
        .budget_tokens
        .unwrap_or_else(|| (max_tokens / 100 * share).clamp(LEAST_BUDGET, 32_000))
        .min(max_tokens.saturating_sub(1));
    if budget < LEAST_BUDGET {
        return Plan::none(Some("the bound of the reply leaves no room for it"));
    }
    let thinking = json!({"type": "enabled", "budget_tokens": budget});
    Plan {
        thinking: Some(match asked.summary.as_deref() {
            Some(shown @ ("summarized" | "omitted")) => {
                let mut thinking = thinking;
                thinking["display"] = shown.into();
                thinking
            }
            _ => thinking,
        }),
        effort: None,
        on: true,
        left_out: None,
    }
}

fn shown(mut thinking: Value, asked: &Reasoning, own: bool) -> Value {
    match asked.summary.as_deref() {
        Some(display @ ("summarized" | "omitted")) => thinking["display"] = display.into(),
        // `auto`, `concise`, `detailed`: the caller wants to see something.
        Some(_) if !own => thinking["display"] = "summarized".into(),
        _ => {}
    }
    thinking
}

/// The effort that a budget of thinking tokens stands for.
pub(crate) fn effort_of_budget(tokens: u64) -> &'static str {
    match tokens {
        0..=4_096 => "low",
        4_097..=16_384 => "medium",
        _ => "high",
    }
}

/// Whether the turn whose tools were called last began with thinking that this vendor made. True where
/// no tool's result waits to be read.
fn open_turn_has_thinking(request: &Request) -> bool {
    let turns = &request.turns;
    let is_tool = |index: usize| turns[index].role == TurnRole::Tool;
    let Some(last) = (0..turns.len()).rfind(|index| turns[*index].role != TurnRole::User) else {
        return true;
    };
    if !is_tool(last) {
        return true;
    }
    // Words beside results of tools belong to the turn; other words of the user begin a new one.
    let begin = (0..last)
        .rfind(|index| {
            matches!(turns[*index].role, TurnRole::User | TurnRole::System)
                && (*index == 0 || !is_tool(index - 1))
        })
        .map_or(0, |index| index + 1);
    turns[begin..last]
        .iter()
        .find(|turn| turn.role == TurnRole::Assistant)
        .and_then(|turn| turn.blocks.iter().find(|block| is_sent(block, request)))
        .is_none_or(|block| {
            matches!(
                block,
                Block::Thinking { .. } | Block::RedactedThinking { .. }
            )
        })
}

fn is_sent(block: &Block, request: &Request) -> bool {
    match block {
        Block::Thinking { .. } | Block::RedactedThinking { .. } => {
            sent_back(block, request.source).is_some()
        }
        Block::Text { text, .. } => !text.is_empty(),
        _ => true,
    }
}

/// An earlier thought as its vendor wants it back; `None` where another vendor thought it.
pub(super) fn sent_back(block: &Block, source: Option<Dialect>) -> Option<Value> {
    let own = |text: Option<&str>| Proof::of_own(text, None, source, Dialect::Messages);
    let mut written = Map::new();
    match block {
        Block::Thinking {
            text, signature, ..
        } => {
            let proof = own(signature.as_deref())?;
            let signature = proof.text?;
            written.insert("type".to_owned(), "thinking".into());
            written.insert("thinking".to_owned(), text.as_str().into());
            written.insert("signature".to_owned(), signature.into());
        }
        Block::RedactedThinking { data, .. } => {
            let proof = own(Some(data))?;
            let data = proof.text?;
            if Proof::open(block_data(block)).is_some() && !proof.redacted {
                // Thinking whose text the vendor does not show travels as if it were redacted.
                written.insert("type".to_owned(), "thinking".into());
                written.insert("thinking".to_owned(), "".into());
                written.insert("signature".to_owned(), data.into());
            } else {
                written.insert("type".to_owned(), "redacted_thinking".into());
                written.insert("data".to_owned(), data.into());
            }
        }
        _ => return None,
    }
    Some(Value::Object(written))
}

fn block_data(block: &Block) -> &str {
    match block {
        Block::RedactedThinking { data, .. } => data,
        _ => "",
    }
}

#[cfg(test)]
mod tests;
