//! Content: a string, or parts.

use serde_json::{Map, Value, json};

use super::{request::note, thinking};
use crate::{Block, CacheHint, ImageSource, RequestError, fields::Fields};

/// Takes `content` of a message.
pub(super) fn read_content(
    message: &mut Fields,
    extra: &mut Map<String, Value>,
) -> Result<Vec<Block>, RequestError> {
    match message.take("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => {
            let path = message.name("content");
            parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| read_part(part, format!("{path}[{index}]"), extra))
                .collect()
        }
        Some(_) => Err(message.invalid("content", "must be a string or an array of parts")),
    }
}

fn read_part(
    part: Value,
    path: String,
    extra: &mut Map<String, Value>,
) -> Result<Block, RequestError> {
    if let Value::String(text) = part {
        return Ok(Block::text(text));
    }
    let mut fields = Fields::of(part, path)?;
    let kind = fields.peek("type").unwrap_or("text").to_owned();
    let block = match kind.as_str() {
        "text" => Block::Text {
            text: fields.required_text("text")?,
            cache: read_cache(&mut fields),
            annotations: None,
        },
        "image_url" => {
            let (url, detail) = match fields.take("image_url") {
                // Mistral takes the bare address too.
                Some(Value::String(url)) => (url, None),
                Some(image) => {
                    let mut image = Fields::of(image, fields.name("image_url"))?;
                    (image.required_text("url")?, image.text("detail")?)
                }
                None => return Err(fields.missing("image_url")),
            };
            Block::Image {
                source: image_source(url),
                detail,
                cache: read_cache(&mut fields),
            }
        }
        "refusal" => Block::Refusal {
            text: fields.required_text("refusal")?,
        },
        "thinking" => Block::Thinking {
            text: thinking::text_of(fields.take("thinking").as_ref()),
            signature: fields.text("signature")?,
            id: None,
        },
        _ => return Ok(Block::Other(Value::Object(fields.rest()))),
    };
    fields.take("type");
    note(extra, "messages[].content[]", &fields.rest());
    Ok(block)
}

/// Takes `cache_control`, an extension that `OpenRouter` and others pass on to Anthropic.
pub(super) fn read_cache(fields: &mut Fields) -> Option<CacheHint> {
    let hint = fields.take("cache_control")?;
    Some(CacheHint {
        ttl: hint.get("ttl").and_then(Value::as_str).map(str::to_owned),
    })
}

pub(super) fn write_cache(hint: &CacheHint) -> Value {
    let mut value = json!({"type": "ephemeral"});
    if let Some(ttl) = &hint.ttl {
        value["ttl"] = ttl.as_str().into();
    }
    value
}

/// An address, or the bytes themselves (RFC 2397).
fn image_source(url: String) -> ImageSource {
    let inline = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) => ImageSource::Base64 {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        },
        None => ImageSource::Url(url),
    }
}
