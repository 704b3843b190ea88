//! The name of a request: a hash of everything that shapes its answer.

use std::fmt;

use distill_chat::ChatRequest;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::Target;

/// Changes when the meaning of the canonical form does.
const VERSION: u32 = 1;

/// SHA-256 of a canonical request, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestHash(String);

impl RequestHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The canonical form. Field order is fixed by the declaration, map order inside a schema is kept:
/// it shapes the order in which a model writes fields.
#[derive(Serialize)]
struct Canonical<'a> {
    version: u32,
    endpoint: &'static str,
    chain: Vec<Link<'a>>,
    request: &'a ChatRequest,
    /// As sent: a request without a bound gets a default one.
    max_tokens: u32,
    /// Tells repetitions of one question apart. The first is left out, so that its name is what it
    /// was before there were others.
    #[serde(skip_serializing_if = "is_first")]
    sample: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first(sample: &u32) -> bool {
    *sample == 0
}

#[derive(Serialize)]
struct Link<'a> {
    model: &'a str,
    dialect: &'static str,
}

/// The canonical text of a request to a chain, and its hash. Keys are not part of it. `sample` is 0
/// for the first answer to a question and counts the times it is asked again on purpose.
pub(crate) fn canonical(
    chain: &[Target],
    request: &ChatRequest,
    max_tokens: u32,
    sample: u32,
) -> (String, RequestHash) {
    let text = serde_json::to_string(&Canonical {
        version: VERSION,
        endpoint: "chat",
        chain: chain
            .iter()
            .map(|target| Link {
                model: target.identity(),
                dialect: target.dialect().as_str(),
            })
            .collect(),
        request,
        max_tokens,
        sample,
    })
    .expect("a request is strings, numbers and JSON values");
    let hash = RequestHash(hex(&Sha256::digest(text.as_bytes())));
    (text, hash)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use distill_chat::{ChatRequest, Message};
    use serde_json::json;

    use super::canonical;
    use crate::{Target, TargetOptions};

    fn target(name: &str) -> Target {
        Target::parse(name, &TargetOptions::default(), &|_| {
            Some("sk-planted".into())
        })
        .unwrap()
    }

    #[test]
    fn everything_that_shapes_the_answer_changes_the_hash_and_nothing_else_does() {
        let chain = [target("simulated/frontier"), target("simulated/backup")];
        let request = ChatRequest::new("teacher", vec![Message::user("hi")]);
        let hash = |chain: &[Target], request: &ChatRequest| canonical(chain, request, 64, 0).1;
        let same = hash(&chain, &request);
        assert_eq!(hash(&chain, &request.clone()), same);
        let moved = [
            chain[0].clone().with_base_url("http://127.0.0.1:1/v1"),
            chain[1].clone(),
        ];
        assert_eq!(hash(&moved, &request), same, "an address is not a model");

        let mut others = vec![
            hash(&chain[..1], &request),
            hash(&[chain[1].clone(), chain[0].clone()], &request),
            hash(
                &[target("simulated-anthropic/frontier"), chain[1].clone()],
                &request,
            ),
            hash(
                &[chain[0].clone().with_identity_suffix("x"), chain[1].clone()],
                &request,
            ),
            canonical(&chain, &request, 65, 0).1,
            canonical(&chain, &request, 64, 1).1,
            canonical(&chain, &request, 64, 2).1,
        ];
        let mut change = |edit: &dyn Fn(&mut ChatRequest)| {
            let mut changed = request.clone();
            edit(&mut changed);
            others.push(hash(&chain, &changed));
        };
        change(&|request| request.messages.insert(0, Message::system("be brief")));
        change(&|request| request.messages[0] = Message::assistant("hi"));
        change(&|request| request.temperature = Some(0.0));
        change(&|request| request.max_tokens = Some(1));
        change(&|request| request.stop = vec!["\n".into()]);
        change(&|request| request.seed = Some(0));
        change(&|request| request.response_schema = Some(json!({"a": 1, "b": 2})));
        change(&|request| request.response_schema = Some(json!({"b": 2, "a": 1})));
        change(&|request| "other".clone_into(&mut request.model));
        others.push(same);
        let count = others.len();
        others.sort();
        others.dedup();
        assert_eq!(others.len(), count);
    }

    #[test]
    fn the_first_sample_is_named_as_before_there_were_others() {
        let request = ChatRequest::new("teacher", vec![Message::user("hi")]);
        let (text, hash) = canonical(&[target("simulated/frontier")], &request, 64, 0);
        assert_eq!(
            text,
            r#"{"version":1,"endpoint":"chat","chain":[{"model":"simulated/frontier","dialect":"openai.chat_completions"}],"request":{"model":"teacher","messages":[{"role":"user","content":"hi"}]},"max_tokens":64}"#
        );
        assert!(hash.as_str().starts_with("8c11dc208cb1b7ea"), "{hash}");
    }

    #[test]
    fn no_key_is_in_the_canonical_form() {
        let (text, _) = canonical(
            &[target("openai/gpt-5-mini")],
            &ChatRequest::new("teacher", vec![Message::user("hi")]),
            64,
            0,
        );
        assert!(!text.contains("planted"));
    }
}
