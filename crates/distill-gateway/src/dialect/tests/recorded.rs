//! Answers that vendors really gave, where `DISTILL_PROVIDERS_DIR` holds them.

use std::path::PathBuf;

use distill_chat::FinishReason;

use super::super::{Dialect, Reply};

/// The folder of recorded answers, or a printed reason why the test does nothing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DISTILL_PROVIDERS_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test}: DISTILL_PROVIDERS_DIR is not set");
    }
    folder
}

/// File, model, finish, start of the text; tokens: input, cached, output, reasoning.
type Row = (
    &'static str,
    &'static str,
    FinishReason,
    &'static str,
    [Option<u64>; 4],
);

fn openai() -> [Row; 6] {
    [
        (
            "openai/openai-text.json",
            "gpt-4.1-nano-2025-04-14",
            FinishReason::Stop,
            "**Holiday Name:**",
            [Some(16), Some(0), Some(363), Some(0)],
        ),
        (
            "xai/xai-text.json",
            "grok-3-mini",
            FinishReason::Stop,
            "Hello",
            [Some(10), Some(2), Some(1), Some(228)],
        ),
        (
            "deepseek/deepseek-text.json",
            "deepseek-chat",
            FinishReason::Length,
            "## **Holiday Name",
            [Some(13), Some(0), Some(300), None],
        ),
        (
            "mistral/mistral-text.json",
            "mistral-small-latest",
            FinishReason::Stop,
            "**Holiday Name: \"World",
            [Some(13), None, Some(434), None],
        ),
        (
            "groq/groq-tool-call.json",
            "llama-3.3-70b-versatile",
            FinishReason::ToolCalls,
            "",
            [Some(218), None, Some(15), None],
        ),
        (
            "mistral/mistral-tool-call.json",
            "mistral-small-latest",
            FinishReason::ToolCalls,
            "",
            [Some(124), None, Some(22), None],
        ),
    ]
}

fn anthropic() -> [Row; 3] {
    [
        (
            "anthropic/anthropic-text.json",
            "claude-sonnet-4-5-20250929",
            FinishReason::Stop,
            "Hello! I'm doing well",
            [Some(12), Some(0), Some(29), None],
        ),
        (
            "anthropic/anthropic-json-output-format.1.json",
            "claude-sonnet-4-5-20250929",
            FinishReason::Stop,
            "{\"recipe\":",
            [Some(371), Some(0), Some(629), None],
        ),
        (
            "anthropic/anthropic-tool-no-args.json",
            "claude-3-opus-20240229",
            FinishReason::ToolCalls,
            "<thinking>",
            [Some(602), Some(0), Some(93), None],
        ),
    ]
}

#[test]
fn recorded_answers_are_read_whole() {
    let Some(folder) = folder("recorded_answers_are_read_whole") else {
        return;
    };
    let read = |dialect: Dialect, path: &str| -> Reply {
        let body = std::fs::read(folder.join("vercel-ai-fixtures").join(path)).unwrap();
        super::super::parse(dialect, &body).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let rows = openai()
        .into_iter()
        .map(|row| (Dialect::ChatCompletions, row))
        .chain(anthropic().into_iter().map(|row| (Dialect::Messages, row)));
    for (dialect, (path, model, finish, start, tokens)) in rows {
        let reply = read(dialect, path);
        let usage = reply.completion.usage;
        assert_eq!(reply.completion.model, model, "{path}");
        assert_eq!(reply.completion.finish, finish, "{path}");
        assert!(reply.completion.text.starts_with(start), "{path}");
        assert_eq!(
            [
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.output_tokens,
                usage.reasoning_tokens
            ],
            tokens,
            "{path}"
        );
        assert!(reply.response_id.is_some(), "{path}");
    }
}
