//! Usage: the vendors' overlapping counts to disjoint classes, and back.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

/// Reads `usage`. Cached tokens are counted in the prompt. Reasoning is counted in the completion by
/// most and beside it by xAI: the total tells.
pub(super) fn read(usage: &Value) -> Usage {
    let count = |at: &str| usage.pointer(at).and_then(Value::as_u64);
    let prompt = count("/prompt_tokens");
    let completion = count("/completion_tokens");
    let cached = count("/prompt_tokens_details/cached_tokens")
        // DeepSeek, and servers of Moonshot and Together.
        .or_else(|| count("/prompt_cache_hit_tokens"))
        .or_else(|| count("/cached_tokens"));
    // OpenRouter.
    let written = count("/prompt_tokens_details/cache_write_tokens");
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    let beside = matches!(
        (prompt, completion, reasoning, count("/total_tokens")),
        (Some(prompt), Some(completion), Some(reasoning), Some(total))
            if reasoning > 0 && u128::from(total)
                == u128::from(prompt) + u128::from(completion) + u128::from(reasoning)
    );
    Usage {
        input_tokens: prompt.map(|tokens| {
            tokens
                .saturating_sub(cached.unwrap_or_default())
                .saturating_sub(written.unwrap_or_default())
        }),
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens: completion.map(|tokens| {
            if beside {
                tokens
            } else {
                tokens.saturating_sub(reasoning.unwrap_or_default())
            }
        }),
        reasoning_tokens: reasoning,
    }
}

/// Writes `usage` as `OpenAI` counts it; `None` where nothing was reported.
pub(super) fn write(usage: &Usage) -> Option<Value> {
    if *usage == Usage::default() {
        return None;
    }
    let sum = |counts: [Option<u64>; 3]| {
        // The first class must be known: the others alone are no total.
        counts[0].map(|first| {
            counts[1..]
                .iter()
                .flatten()
                .fold(first, |sum, count| sum.saturating_add(*count))
        })
    };
    let prompt = sum([
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ]);
    let completion = sum([usage.output_tokens, usage.reasoning_tokens, None]);
    let mut value = Map::new();
    let mut put = |name: &str, count: Option<u64>| {
        if let Some(count) = count {
            value.insert(name.to_owned(), count.into());
        }
    };
    put("prompt_tokens", prompt);
    put("completion_tokens", completion);
    put(
        "total_tokens",
        prompt
            .zip(completion)
            .map(|(prompt, completion)| prompt.saturating_add(completion)),
    );
    let mut details = Map::new();
    if let Some(cached) = usage.cached_input_tokens {
        details.insert("cached_tokens".to_owned(), cached.into());
    }
    if let Some(written) = usage.cache_write_tokens {
        details.insert("cache_write_tokens".to_owned(), written.into());
    }
    if !details.is_empty() {
        value.insert("prompt_tokens_details".to_owned(), details.into());
    }
    if let Some(reasoning) = usage.reasoning_tokens {
        value.insert(
            "completion_tokens_details".to_owned(),
            json!({"reasoning_tokens": reasoning}),
        );
    }
    Some(value.into())
}
