//! How long a request is, where nobody has counted its tokens.

use distill_wire::{Block, ImageSource, Request, envelope::Envelope};

/// Bytes of a token of usual text.
const BYTES_PER_TOKEN: u64 = 4;
/// What a turn and a tool cost beside their text.
const PER_TURN: u64 = 4;
/// An image of about a megapixel, as Anthropic's documentation counts one.
const PER_IMAGE: u64 = 1_600;

/// A larger bound of a reply than any model has: callers may write anything.
const MOST_REPLY: u64 = 1_000_000;

/// Bytes of a prompt, and how much of a context it takes with its reply, in bytes of text.
pub(super) fn sizes(body: &[u8], envelope: &Envelope, made: Option<&Request>) -> (usize, usize) {
    let (prompt, text, bound) = match made {
        // Its body is that of another request: a task's variables, or what was redacted.
        Some(request) => {
            let bytes = usize::try_from(tokens(request) * BYTES_PER_TOKEN).unwrap_or(usize::MAX);
            (bytes, bytes, request.max_tokens)
        }
        None => (body.len(), text_bytes(body, envelope), envelope.max_tokens),
    };
    let reply = bound.unwrap_or_default().min(MOST_REPLY) * BYTES_PER_TOKEN;
    let reply = usize::try_from(reply).unwrap_or(usize::MAX);
    (prompt, text.saturating_add(reply))
}

fn text_bytes(body: &[u8], envelope: &Envelope) -> usize {
    let images = envelope.images.saturating_mul(PER_IMAGE * BYTES_PER_TOKEN);
    let images = usize::try_from(images).unwrap_or(usize::MAX);
    body.len()
        .saturating_sub(envelope.attached_bytes)
        .saturating_add(images)
}

/// The tokens of a request, estimated.
pub(crate) fn tokens(request: &Request) -> u64 {
    let turns = request
        .turns
        .iter()
        .map(|turn| PER_TURN + turn.blocks.iter().map(of_block).sum::<u64>());
    let tools = request.tools.iter().map(|tool| {
        let schema = tool
            .parameters
            .as_ref()
            .or(tool.vendor.as_ref())
            .map_or(0, |schema| of_bytes(schema.to_string().len()));
        let description = tool.description.as_deref().unwrap_or_default();
        PER_TURN + of_bytes(tool.name.len() + description.len()) + schema
    });
    request.system.iter().map(of_block).sum::<u64>() + turns.sum::<u64>() + tools.sum::<u64>()
}

fn of_block(block: &Block) -> u64 {
    match block {
        Block::Text { text, .. } | Block::Thinking { text, .. } | Block::Refusal { text, .. } => {
            of_bytes(text.len())
        }
        Block::Image { source, .. } => match source {
            ImageSource::Url(_) | ImageSource::Base64 { .. } | ImageSource::File(_) => PER_IMAGE,
        },
        Block::ToolCall {
            name, arguments, ..
        } => PER_TURN + of_bytes(name.len() + arguments.len()),
        Block::ToolResult { blocks, .. } => PER_TURN + blocks.iter().map(of_block).sum::<u64>(),
        Block::RedactedThinking { data, .. } => of_bytes(data.len()),
        Block::Other(value) => of_bytes(value.to_string().len()),
    }
}

fn of_bytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}
