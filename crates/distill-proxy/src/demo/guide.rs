//! What a demo prints.

use std::{fmt::Write as _, net::SocketAddr};

use super::Demo;

pub(super) fn text(demo: &Demo, address: SocketAddr) -> String {
    let mut text = String::new();
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    let key = |name: &str| {
        demo.keys
            .iter()
            .find(|(person, _)| person.name == name)
            .map_or("", |(_, key)| key.expose())
    };
    let url = format!("http://{address}");
    line(
        "DEMO: every vendor here is SIMULATED. No real model answers, nothing is spent, nothing leaves",
    );
    line(
        "this machine. Made-up people ask about two requests a second; two weeks of history are made up too.",
    );
    line("");
    line(&format!("Pages      {url}/ui"));
    line(&format!("Admin key  {}", demo.admin_key.expose()));
    line("");
    line("Keys of people");
    for (person, key) in &demo.keys {
        let mut row = String::new();
        let _ = write!(
            row,
            "  {:<12} {:<9} {:<17} {:<10} {}",
            person.name,
            person.team,
            person.discipline,
            person.level,
            key.expose()
        );
        line(&row);
    }
    line("");
    line("Try");
    line(
        "  # One address and key for every model; the headers say who answered, after how many attempts.",
    );
    line(&format!(
        "  curl -si {url}/v1/chat/completions -H 'authorization: Bearer {}' -d '{{\"model\":\"chat\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'",
        key("ada")
    ));
    line("  # The same twice: the second answer comes from the cache.");
    line(&format!(
        "  curl -si {url}/v1/chat/completions -H 'authorization: Bearer {}' -d '{{\"model\":\"chat\",\"temperature\":0,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello again\"}}]}}'",
        key("ada")
    ));
    line(
        "  # Asked in Anthropic's dialect, answered by a model that speaks OpenAI's, as a stream.",
    );
    line(&format!(
        "  curl -sN {url}/v1/messages -H 'x-api-key: {}' -d '{{\"model\":\"think\",\"max_tokens\":300,\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Why is the sky blue?\"}}]}}'",
        key("alan")
    ));
    line("  # A task: the caller sends its variables, the proxy knows the prompt.");
    line(&format!(
        "  curl -s {url}/v1/tasks/triage -H 'authorization: Bearer {}' -d '{{\"variables\":{{\"text\":\"I was billed twice\"}}}}'",
        key("nightly-ci")
    ));
    line("  # A coding harness (it will talk to a simulated model).");
    line(&format!(
        "  ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN={} claude",
        key("grace")
    ));
    line("  # Who spends what.");
    line(&format!(
        "  distill usage --ledger '{}' --by team,model --since 14d",
        demo.ledger.display()
    ));
    line("  # What somebody is asked about their spend; `distill spend answer ID stop` answers.");
    line(&format!(
        "  distill spend --ledger '{}'",
        demo.ledger.display()
    ));
    line("");
    line(
        "Watch on the page: `flaky/medium` fails and others answer in its place; `night-agent` spends so much",
    );
    line(
        "that within a few minutes a question comes up, with buttons to let it go on or to stop it.",
    );
    text
}
