use distill_chat::{TaskDefinition, TaskKind};
use serde_json::json;

use super::*;
use crate::{
    base::tests::tiny_base,
    linear::{FeatureSettings, Vectorizer},
    template::ChatLimits,
};

pub(crate) const LIMITS: ChatLimits = ChatLimits {
    max_prompt_tokens: 100,
    max_reply_tokens: 12,
};

pub(crate) fn definition() -> TaskDefinition {
    TaskDefinition {
        kind: TaskKind::Classify,
        system: Some("One of: {{ labels | join(', ') }}".into()),
        prompt: "{{ text }}".into(),
        labels: vec!["billing".into(), "delivery".into()],
        schema: None,
    }
}

pub(crate) fn row(text: &str) -> Fields {
    json!({ "text": text }).as_object().unwrap().clone()
}

/// Knows `card` and `parcel`.
pub(crate) fn linear_student() -> LinearStudent {
    let settings = FeatureSettings {
        max_words: 1,
        characters: [1, 0],
        min_rows: 1,
        ..FeatureSettings::default()
    };
    let texts = ["card", "parcel"];
    let vectorizer = Vectorizer::fit(settings, &texts);
    let mut weights = vec![0.0; 4];
    for (label, text) in texts.iter().enumerate() {
        let feature = vectorizer.transform(text).entries()[0].0 as usize;
        weights[feature * 2 + label] = 1.0;
    }
    LinearStudent::new(vectorizer, definition().labels, &weights, vec![0.0; 2])
        .unwrap()
        .with_sharpness(3.0)
}

pub(crate) fn both_classes() -> [LoadedStudent; 2] {
    let task = || Task::new(definition()).unwrap();
    let base = tiny_base(1);
    let decoder = Decoder::new(&base.weights).unwrap();
    let encoder = ChatEncoder::new(base.tokenizer, base.template, LIMITS).unwrap();
    [
        LoadedStudent::linear("small", task(), linear_student()),
        LoadedStudent::decoder("tiny", task(), decoder, encoder),
    ]
}

fn texts(answers: Vec<Result<StudentAnswer, AnswerError>>) -> Vec<String> {
    let answers = answers.into_iter();
    answers.map(|answer| answer.unwrap().text).collect()
}

fn chat(student: &LoadedStudent, request: &ChatRequest) -> Result<Completion, ChatError> {
    let mut future = student.chat(request);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => panic!("the student answers when it is polled"),
    }
}

#[test]
fn rows_get_one_answer_each_in_their_order_however_many_are_asked_at_once() {
    let rows: Vec<Fields> = ["my card", "the parcel", "zz"].map(row).to_vec();
    for student in both_classes() {
        let together = texts(student.answer_batch(&rows));
        let alone: Vec<String> = rows
            .iter()
            .flat_map(|row| texts(student.answer_batch(std::slice::from_ref(row))))
            .collect();
        assert_eq!(together, alone);
        let one_by_one = student.with_rows_at_once(1);
        assert_eq!(texts(one_by_one.answer_batch(&rows)), together);
    }
}

#[test]
fn a_row_and_its_rendered_conversation_get_the_same_answer() {
    for student in both_classes() {
        let messages = student.task().messages(&row("my parcel")).unwrap();
        assert_eq!(
            student.answer_batch(&[row("my parcel")])[0]
                .as_ref()
                .unwrap(),
            student.answer_conversations(&[messages])[0]
                .as_ref()
                .unwrap()
        );
    }
}

#[test]
fn a_row_that_cannot_be_asked_fails_alone() {
    for student in both_classes() {
        let rows = [row("my card"), Fields::new(), row("the parcel")];
        let answers = student.answer_batch(&rows);
        assert!(answers[0].is_ok() && answers[2].is_ok());
        assert!(matches!(&answers[1], Err(AnswerError::Task(_))));
    }
}

#[test]
fn a_linear_student_reads_the_last_user_message_and_counts_no_tokens() {
    let [linear, _] = both_classes();
    let conversation = vec![
        Message::user("card"),
        Message::assistant("billing"),
        Message::user("parcel"),
    ];
    let answers = linear.answer_conversations(&[conversation, vec![Message::system("card")]]);
    let answer = answers[0].as_ref().unwrap();
    assert_eq!(answer.text, "delivery");
    assert_eq!((answer.input_tokens, answer.output_tokens), (None, None));
    assert!(matches!(answers[1], Err(AnswerError::NoUserMessage)));
}

#[test]
fn a_decoder_counts_the_tokens_it_was_sent_and_says_when_it_was_cut() {
    let [_, decoder] = both_classes();
    let answer = decoder
        .answer_batch(&[row("my card")])
        .pop()
        .unwrap()
        .unwrap();
    let sent = decoder.prompt_tokens(&row("my card")).unwrap().unwrap();
    assert_eq!(answer.input_tokens, Some(sent.len() as u64));
    assert!(answer.output_tokens.unwrap() <= LIMITS.max_reply_tokens as u64);
    assert!(answer.confidence < 0.0);
    let long = row(&"my card ".repeat(100));
    let cut = decoder.answer_batch(&[long]).pop().unwrap().unwrap();
    assert!(cut.dropped_characters > 0);
    assert!(cut.input_tokens.unwrap() <= LIMITS.max_prompt_tokens as u64);
}

#[test]
fn a_prompt_beyond_the_model_s_window_fails_alone() {
    let base = tiny_base(1);
    let decoder = Decoder::new(&base.weights).unwrap();
    let limits = ChatLimits {
        max_prompt_tokens: 4096,
        ..LIMITS
    };
    let encoder = ChatEncoder::new(base.tokenizer, base.template, limits).unwrap();
    let task = Task::new(definition()).unwrap();
    let student = LoadedStudent::decoder("tiny", task, decoder, encoder);
    let answers = student.answer_batch(&[row("my card"), row(&"zq".repeat(100))]);
    assert!(answers[0].is_ok());
    assert!(matches!(
        answers[1],
        Err(AnswerError::Template(TemplateError::PromptTooLong {
            limit: 127,
            ..
        }))
    ));
}

#[test]
fn a_student_serves_as_a_chat_model_within_the_callers_limits() {
    let [linear, decoder] = both_classes();
    let mut request = ChatRequest::new("any", vec![Message::user("my parcel")]);
    let completion = chat(&linear, &request).unwrap();
    assert_eq!(completion.text, "delivery");
    assert_eq!(completion.model, "small");
    assert!(completion.logprob.unwrap() < 0.0);

    request.max_tokens = Some(2);
    let cut = chat(&decoder, &request).unwrap();
    assert_eq!(cut.usage.output_tokens, Some(2));
    assert_eq!(cut.finish, FinishReason::Length);

    request.max_tokens = None;
    request.stop = vec!["liv".into()];
    assert_eq!(chat(&linear, &request).unwrap().text, "de");

    request.messages.clear();
    let error = chat(&linear, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Request);
    assert!(!error.retryable());
}

#[test]
fn the_pieces_of_a_streamed_answer_are_its_text() {
    for student in both_classes() {
        let conversations = [
            vec![Message::user("card")],
            vec![],
            vec![Message::user("a parcel of mine is gäne")],
        ];
        let mut heard = vec![Vec::new(); conversations.len()];
        let answers = student.stream_conversations(&conversations, &mut |index, piece| {
            heard[index].push(piece.to_owned());
        });
        let whole = student.answer_conversations(&conversations);
        for ((answer, pieces), whole) in answers.iter().zip(&heard).zip(&whole) {
            let Ok(answer) = answer else {
                assert!(whole.is_err());
                continue;
            };
            assert_eq!(pieces.concat(), answer.text);
            assert_eq!(answer, whole.as_ref().unwrap());
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
        // The untrained decoder says several tokens, the linear student one label.
        let several = heard.iter().any(|pieces| pieces.len() > 1);
        assert_eq!(several, student.class() == StudentClass::Decoder);
    }
}
