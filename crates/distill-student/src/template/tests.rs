use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::{any_text, tiny};

pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
/// As Gemma and Llama do: contents are trimmed.
const TRIMMING: &str = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
/// As Qwen3 does: thoughts are looked for in what the assistant said.
const THINKING: &str = "{% for message in messages %}{% set content = message.content %}{% if message.role == 'assistant' and '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|' + message.role + '|>' + content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";
/// The end of the reply is left to the tokenizer, and roles are no control tokens.
const BARE: &str = "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

const ROOMY: ChatLimits = ChatLimits {
    max_prompt_tokens: 4096,
    max_reply_tokens: 1024,
};

pub(crate) fn encoder(template: &str, limits: ChatLimits) -> ChatEncoder {
    let tokenizer = tiny();
    let template =
        ChatTemplate::new(template, tokenizer.bos_token(), tokenizer.eos_token()).unwrap();
    ChatEncoder::new(Arc::new(tokenizer), Arc::new(template), limits).unwrap()
}

fn render_error(template: &str) -> String {
    ChatTemplate::new(template, None, None)
        .unwrap()
        .render(&[Message::user("hello")], true)
        .unwrap_err()
        .to_string()
}

#[test]
fn loss_covers_the_reply_and_its_stop_token_and_nothing_else() {
    let messages = [Message::system("be brief"), Message::user("hello")];
    for template in [TEMPLATE, TRIMMING, THINKING, BARE] {
        let encoder = encoder(template, ROOMY);
        let example = encoder.encode_example(&messages, "refund").unwrap();
        let (prompt, target) = example.tokens.split_at(example.loss_from);
        let (stop, reply) = target.split_last().unwrap();
        assert_eq!(encoder.tokenizer().decode(reply).unwrap(), "refund");
        assert_eq!(encoder.stop_ids(), [*stop]);
        assert_eq!(prompt, encoder.encode_prompt(&messages).unwrap().tokens);
    }
}

#[test]
fn the_begin_token_is_written_once() {
    let encoder = encoder(TEMPLATE, ROOMY);
    let tokens = encoder
        .encode_prompt(&[Message::user("<bos>")])
        .unwrap()
        .tokens;
    let bos = encoder.tokenizer().id("<bos>").unwrap();
    assert_eq!(tokens.iter().filter(|id| **id == bos).count(), 1);
    assert_eq!(tokens[0], bos);
}

#[test]
fn the_stop_token_is_learnt_from_the_template_when_no_file_names_it() {
    let tokenizer = tiny();
    let template = ChatTemplate::new(
        &TEMPLATE.replace("<|end|>", "<|system|>"),
        Some("<bos>"),
        None,
    )
    .unwrap();
    let system = tokenizer.id("<|system|>").unwrap();
    let end = tokenizer.id("<|end|>").unwrap();
    let encoder = ChatEncoder::new(Arc::new(tokenizer), Arc::new(template), ROOMY).unwrap();
    assert_eq!(encoder.stop_ids(), [system, end]);
}

#[test]
fn a_template_that_drops_the_prompt_or_the_reply_is_refused() {
    let refused = |source: &str| {
        let tokenizer = Arc::new(tiny());
        let template = ChatTemplate::new(source, None, None).unwrap();
        ChatEncoder::new(tokenizer, Arc::new(template), ROOMY).unwrap_err()
    };
    let forgets = "{% if add_generation_prompt %}<|user|>{{ messages[0].content }}<|assistant|>{% else %}{{ messages[1].content }}<|end|>{% endif %}";
    assert!(matches!(refused(forgets), TemplateError::NotAPrefix));
    let drops = "{{ messages[0].content }}<|assistant|>";
    assert!(matches!(refused(drops), TemplateError::ReplyLost));
}

#[test]
fn a_template_that_rewrites_content_is_followed_unless_a_control_token_is_in_it() {
    let encoder = encoder(THINKING, ROOMY);
    let thought = Message::assistant("a thought</think>\nrefund");
    let conversation = |first: &str| {
        [
            Message::user(first),
            thought.clone(),
            Message::user("and then"),
        ]
    };
    let tokens = encoder
        .encode_prompt(&conversation("hello"))
        .unwrap()
        .tokens;
    let text = encoder.tokenizer().decode(&tokens).unwrap();
    assert_eq!(text, "hello\nrefund\nand then\n");
    assert!(matches!(
        encoder.encode_prompt(&conversation("<|end|>")),
        Err(TemplateError::Ambiguous)
    ));
}

#[test]
fn a_long_prompt_loses_the_beginning_of_its_last_user_message() {
    let limits = ChatLimits {
        max_prompt_tokens: 40,
        max_reply_tokens: 16,
    };
    let encoder = encoder(TEMPLATE, limits);
    let text = format!("{}the end is broken", "where is my parcel ".repeat(30));
    let messages = [Message::system("be brief"), Message::user(&text)];
    let example = encoder.encode_example(&messages, "refund").unwrap();
    let (prompt, target) = example.tokens.split_at(example.loss_from);
    assert!((38..=40).contains(&prompt.len()), "{}", prompt.len());
    let rendered = encoder.tokenizer().decode(prompt).unwrap();
    assert!(rendered.starts_with("be brief\n"), "{rendered}");
    assert!(rendered.ends_with("the end is broken\n"), "{rendered}");
    assert_eq!(encoder.tokenizer().decode(target).unwrap(), "refund");
    let kept = rendered.len() - "be brief\n\n".len();
    assert_eq!(example.dropped_characters, text.len() - kept);
    // A text of any length is cut without being tokenised whole.
    let huge = [Message::user("parcel ".repeat(2_000_000))];
    assert!(encoder.encode_prompt(&huge).unwrap().tokens.len() <= 40);
}

#[test]
fn a_reply_is_never_cut_for_training() {
    let limits = ChatLimits {
        max_prompt_tokens: 64,
        max_reply_tokens: 4,
    };
    let error = encoder(TEMPLATE, limits)
        .encode_example(&[Message::user("hello")], &"zq".repeat(5))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the reply needs 11 tokens with its stop token, the limit is 4"
    );
}

#[test]
fn a_prompt_that_no_cut_can_save_is_an_error() {
    let limits = ChatLimits {
        max_prompt_tokens: 20,
        max_reply_tokens: 4,
    };
    let messages = [
        Message::system("zq".repeat(50)),
        Message::user("where is my parcel"),
    ];
    assert!(matches!(
        encoder(TEMPLATE, limits).encode_prompt(&messages),
        Err(TemplateError::PromptTooLong { limit: 20, .. })
    ));
}

#[test]
fn a_hostile_template_runs_out_of_steps_or_room() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(
        render_error(endless).contains("fuel"),
        "{}",
        render_error(endless)
    );
    let endless =
        "{% for a in range(99999) %}{{ messages }}x{% endfor %}".replace('x', &"x".repeat(900));
    assert!(
        render_error(&endless).contains("16777216 bytes"),
        "{}",
        render_error(&endless)
    );
    let source = "x".repeat(MAX_TEMPLATE_BYTES + 1);
    assert!(matches!(
        ChatTemplate::new(&source, None, None),
        Err(TemplateError::TooLarge(_))
    ));
}

#[test]
fn a_template_that_the_engine_panics_on_is_an_error() {
    let problem = render_error("{{ ''[::-1] }}");
    assert!(problem.contains("the template engine failed"), "{problem}");
    // Backwards over something is what templates do.
    let template = ChatTemplate::new("{{ messages[::-1][0].content[::-1] }}", None, None).unwrap();
    assert_eq!(
        template.render(&[Message::user("abc")], false).unwrap(),
        "cba"
    );
}

#[test]
fn templates_find_the_functions_and_methods_that_they_expect() {
    let render = |source: &str| {
        ChatTemplate::new(source, None, None)
            .unwrap()
            .render(&[Message::user("  a,b  ")], false)
            .unwrap()
    };
    assert_eq!(
        render("{{ messages[0].content.strip().split(',')[-1] }}"),
        "b"
    );
    assert_eq!(render("{{ messages[0].content.rstrip() | length }}"), "5");
    assert_eq!(
        render("{{ 'x'.startswith('x') }}{{ 'x'.upper() }}"),
        "TrueX"
    );
    assert_eq!(
        render("{% for key, value in messages[0].items() %}{{ key }};{% endfor %}"),
        "role;content;"
    );
    assert_eq!(render("{{ messages[0].get('name', 'none') }}"), "none");
    assert_eq!(render("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
    assert_eq!(
        render("a\n{%- generation -%}\nb\n{%- endgeneration %}"),
        "ab"
    );
    assert!(
        render_error("{{ raise_exception('system comes first') }}").contains("system comes first")
    );
}

fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let turns = prop::collection::vec(any_text(), 1..5);
    (prop::option::of(any_text()), turns).prop_map(|(system, turns)| {
        let mut messages: Vec<_> = system.map(Message::system).into_iter().collect();
        for (index, text) in turns.into_iter().enumerate() {
            messages.push(if index % 2 == 0 {
                Message::user(text)
            } else {
                Message::assistant(text)
            });
        }
        if messages.last().unwrap().role == Role::Assistant {
            messages.pop();
        }
        messages
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_prompt_of_an_example_is_the_prompt_of_serving(
        messages in conversation(), reply in any_text(), template in prop::sample::select(vec![TEMPLATE, TRIMMING, BARE]),
        max_prompt_tokens in prop::sample::select(vec![90, 4096]),
    ) {
        let encoder = encoder(template, ChatLimits { max_prompt_tokens, ..ROOMY });
        let Ok(prompt) = encoder.encode_prompt(&messages) else { return Ok(()) };
        let example = encoder.encode_example(&messages, &reply).unwrap();
        prop_assert!(prompt.tokens.len() <= max_prompt_tokens);
        prop_assert_eq!(&example.tokens[..example.loss_from], &prompt.tokens);
        prop_assert_eq!(example.dropped_characters, prompt.dropped_characters);
    }

    #[test]
    fn the_target_is_the_reply_as_written_and_one_stop_token(messages in conversation(), reply in any_text()) {
        let encoder = encoder(TEMPLATE, ROOMY);
        let example = encoder.encode_example(&messages, &reply).unwrap();
        let (stop, target) = example.tokens[example.loss_from..].split_last().unwrap();
        prop_assert!(encoder.stop_ids().contains(stop));
        prop_assert!(target.iter().all(|id| !encoder.tokenizer().is_control(*id)));
        let readable = marks::cleaned(&reply).replace('\u{10FFFE}', "\u{FFFD}");
        prop_assert_eq!(encoder.tokenizer().decode(target).unwrap(), readable);
    }

    #[test]
    fn no_content_adds_or_removes_a_control_token(messages in conversation()) {
        let encoder = encoder(TEMPLATE, ROOMY);
        let tokens = encoder.encode_prompt(&messages).unwrap().tokens;
        let control = tokens.iter().filter(|id| encoder.tokenizer().is_control(**id)).count();
        prop_assert_eq!(control, 2 + 2 * messages.len());
    }

    #[test]
    fn adding_a_turn_only_appends(messages in conversation(), reply in any_text(), next in any_text()) {
        let encoder = encoder(TEMPLATE, ROOMY);
        let shorter = encoder.encode_example(&messages, &reply).unwrap().tokens;
        let mut longer = messages;
        longer.extend([Message::assistant(reply), Message::user(next)]);
        let longer = encoder.encode_prompt(&longer).unwrap().tokens;
        prop_assert!(longer.starts_with(&shorter));
    }
}
