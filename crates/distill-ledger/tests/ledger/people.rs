//! Keys, and questions about spend.

use distill_gateway::Secret;
use distill_ledger::{
    Answer, KeyLimits, LedgerEvent, NewKey, NewQuestion, QuestionFilter, Records, Refusal, Role,
    Scope,
};

use crate::{
    on_each_store,
    stores::{NOON, Place, ask, caller, eventually, start, usd},
};

on_each_store!(
    a_key_names_its_caller_until_it_is_revoked
    a_key_made_elsewhere_is_known_at_once
    a_key_expires
    the_admin_key_is_no_users
    a_question_that_holds_pauses_until_it_is_answered
    an_answer_from_elsewhere_is_seen
    a_default_never_overrules_a_person
);

fn new_key(user: &str) -> NewKey {
    NewKey {
        user: user.to_owned(),
        team: Some("search".to_owned()),
        discipline: None,
        level: Some("staff".to_owned()),
        role: Role::User,
        models: vec!["fast".to_owned(), "openai/*".to_owned()],
        limits: KeyLimits {
            usd_per_day: Some(usd(2.5)),
            ..KeyLimits::default()
        },
        note: Some("laptop".to_owned()),
        expires_ms: None,
    }
}

async fn a_key_names_its_caller_until_it_is_revoked(place: Place) {
    let ledger = place.open().await;
    let (key, info) = ledger.create_key(new_key("alice")).await.unwrap();
    let caller = ledger.identify(key.expose()).await.unwrap();
    assert_eq!((caller.user.as_str(), caller.role), ("alice", Role::User));
    assert_eq!(caller.level.as_deref(), Some("staff"));
    assert_eq!(caller.limits.usd_per_day, Some(usd(2.5)));
    assert_eq!(caller.models, ["fast", "openai/*"]);
    assert!(ledger.identify("dk-0000").await.is_none());
    assert!(ledger.identify("").await.is_none());
    let listed = ledger.list_keys().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&info));
    assert!(key.expose().starts_with(info.shown.trim_end_matches("...")));
    let text = format!("{listed:?} {ledger:?}");
    assert!(
        !text.contains(&key.expose()[12..]),
        "the key is shown nowhere"
    );
    let revoked = ledger.revoke_key(&info.shown).await.unwrap();
    assert!(revoked.revoked_ms.is_some());
    assert!(ledger.identify(key.expose()).await.is_none());
    assert!(ledger.revoke_key("k_nobody").await.is_err());
}

async fn a_key_made_elsewhere_is_known_at_once(place: Place) {
    let ledger = place.open().await;
    let elsewhere = Records::open(&place.store).await.unwrap();
    let (key, info) = elsewhere.create_key(new_key("bob")).await.unwrap();
    assert_eq!(ledger.identify(key.expose()).await.unwrap().user, "bob");
    elsewhere.revoke_key(&info.id).await.unwrap();
    eventually(async || ledger.identify(key.expose()).await.is_none().then_some(())).await;
}

async fn a_key_expires(place: Place) {
    let ledger = place.open().await;
    let mut key = new_key("carol");
    key.expires_ms = Some(NOON + 1_000);
    let (key, _) = ledger.create_key(key).await.unwrap();
    assert!(ledger.identify(key.expose()).await.is_some());
    place.pass(std::time::Duration::from_secs(1));
    assert!(ledger.identify(key.expose()).await.is_none());
}

async fn the_admin_key_is_no_users(place: Place) {
    let ledger = place.open().await;
    ledger.set_admin_key(Some(&Secret::new("correct horse")));
    let admin = ledger.identify("correct horse").await.unwrap();
    assert_eq!(admin.role, Role::Admin);
    assert!(ledger.identify("correct hors").await.is_none());
    ledger.set_admin_key(None);
    assert!(ledger.identify("correct horse").await.is_none());
}

fn question(holds: bool) -> NewQuestion {
    NewQuestion {
        about: Scope::User("alice".to_owned()),
        user: Some("alice".to_owned()),
        rule: "dollars an hour".to_owned(),
        wording: "Did you mean to spend $40 in an hour?".to_owned(),
        holds,
        default: Answer::Stop,
        deadline_ms: NOON + 600_000,
    }
}

async fn a_question_that_holds_pauses_until_it_is_answered(place: Place) {
    let ledger = place.open().await;
    let alice = caller("alice", KeyLimits::default());
    let bob = caller("bob", KeyLimits::default());
    let under_way = ledger.begin(start("r0", &alice)).await.unwrap();
    let raised = ledger.raise(question(true)).await.unwrap();
    let refused = ask(&ledger, "r1", &alice, 0.1, Some(0.1))
        .await
        .unwrap_err();
    assert!(matches!(&refused, Refusal::Paused { question } if question.contains("$40")));
    ask(&ledger, "r2", &bob, 0.1, Some(0.1)).await.unwrap();
    // What is under way finishes.
    let attempt = crate::stores::attempt(1, "a/one", 0.1);
    under_way.reserve(attempt).await.unwrap();
    ledger
        .answer(&raised.id, Answer::GoOn, "alice", None)
        .await
        .unwrap();
    ask(&ledger, "r3", &alice, 0.1, Some(0.1)).await.unwrap();
    let until = NOON + 60_000;
    let stopped = ledger
        .answer(&raised.id, Answer::Stop, "lead", Some(until))
        .await
        .unwrap();
    assert_eq!(stopped.answered_by.as_deref(), Some("lead"));
    assert!(ask(&ledger, "r4", &alice, 0.1, Some(0.1)).await.is_err());
    place.pass(std::time::Duration::from_mins(1));
    ask(&ledger, "r5", &alice, 0.1, Some(0.1)).await.unwrap();
    assert!(
        ledger
            .answer("q_none", Answer::Stop, "x", None)
            .await
            .is_err()
    );
}

async fn an_answer_from_elsewhere_is_seen(place: Place) {
    let ledger = place.open().await;
    let mut events = ledger.subscribe();
    let elsewhere = Records::open(&place.store).await.unwrap();
    let raised = ledger.raise(question(false)).await.unwrap();
    let alice = caller("alice", KeyLimits::default());
    ask(&ledger, "r1", &alice, 0.1, Some(0.1)).await.unwrap();
    let open = QuestionFilter {
        only_open: true,
        ..QuestionFilter::default()
    };
    assert_eq!(
        elsewhere.questions(&open).await.unwrap(),
        std::slice::from_ref(&raised)
    );
    elsewhere
        .answer(&raised.id, Answer::Stop, "terminal", None)
        .await
        .unwrap();
    assert!(elsewhere.questions(&open).await.unwrap().is_empty());
    let answered = loop {
        if let LedgerEvent::QuestionAnswered(question) = events.recv().await.unwrap() {
            break question;
        }
    };
    assert_eq!(answered.answer, Some(Answer::Stop));
    assert!(ask(&ledger, "r2", &alice, 0.1, Some(0.1)).await.is_err());
}

async fn a_default_never_overrules_a_person(place: Place) {
    let ledger = place.open().await;
    let one = ledger.raise(question(true)).await.unwrap();
    let other = ledger.raise(question(true)).await.unwrap();
    ledger
        .answer(&one.id, Answer::GoOn, "alice", None)
        .await
        .unwrap();
    let stands = ledger.answer_by_default(&one, None).await.unwrap();
    assert_eq!(stands.answer, Some(Answer::GoOn));
    let stands = ledger.answer_by_default(&other, None).await.unwrap();
    assert_eq!(stands.answer, Some(Answer::Stop));
    assert_eq!(stands.answered_by.as_deref(), Some("deadline"));
}
