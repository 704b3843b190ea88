use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, AttemptStart, Caller, KeyLimits, LedgerOptions, Refusal, RequestEnd, RequestStart,
    Role, Store,
};
use serde_json::Value;
use tokio::sync::broadcast::Receiver;

use super::*;
use crate::{
    config::{Day, Sources},
    watch::Poster,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A ledger whose clock stands still, and what watches it.
struct Scene {
    ledger: Ledger,
    now: Arc<AtomicI64>,
    events: Receiver<LedgerEvent>,
    spend: Spend,
    config: Config,
    asked: u32,
    _folder: tempfile::TempDir,
}

fn config(text: &str) -> Config {
    let text = format!("models: {{a: simulated/frontier}}\n{text}");
    Config::load(
        "proxy.yaml",
        &text,
        &Sources {
            environment: &|name| (name == "HOOK").then(|| "http://127.0.0.1:9/own".to_owned()),
            folder: Path::new("."),
            state: Path::new("."),
            today: Day(20_000),
            prices: None,
        },
    )
    .unwrap_or_else(|findings| panic!("{}", findings.to_text()))
}

impl Scene {
    async fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // 2026-11-21 17:00:00
        let now = Arc::new(AtomicI64::new(1_795_280_400_000));
        let options = LedgerOptions {
            clock: Clock::ByHand(now.clone()),
            ..LedgerOptions::default()
        };
        let store = Store::Sqlite(folder.path().join("ledger.db"));
        let ledger = Ledger::open_with(store, options).await.unwrap();
        Self {
            events: ledger.subscribe(),
            spend: Spend::new(ledger.clone(), Clock::ByHand(now.clone())),
            ledger,
            now,
            config: config(text),
            asked: 0,
            _folder: folder,
        }
    }

    fn pass(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::Relaxed);
    }

    async fn begin(&mut self, user: &str) -> Result<distill_ledger::OpenRequest, Refusal> {
        self.asked += 1;
        let caller = Caller {
            key_id: format!("key-{user}"),
            user: user.to_owned(),
            team: None,
            discipline: None,
            level: None,
            role: Role::User,
            models: Vec::new(),
            limits: KeyLimits::default(),
        };
        let start = RequestStart {
            id: format!("request-{}", self.asked),
            caller: Arc::new(caller),
            task: None,
            route: "a".to_owned(),
            model_asked: "a".to_owned(),
            dialect: "openai.chat_completions",
            streamed: false,
            session: None,
            worst_tokens: 10,
        };
        self.ledger.begin(start).await
    }

    /// A whole request that costs this; `None`: nobody knows, and `usd` was its bound.
    async fn spends(&mut self, user: &str, usd: f64, tokens: u64, known: bool) {
        let open = self.begin(user).await.unwrap();
        let attempt = AttemptStart {
            number: 1,
            target: "vendor/model".to_owned(),
            simulated: false,
            reserved: Usd::from_dollars(usd),
        };
        let attempt = open.reserve(attempt).await.unwrap();
        attempt.settle(AttemptEnd {
            outcome: "answered",
            usd: known.then(|| Usd::from_dollars(usd)),
            usage: Usage {
                input_tokens: Some(tokens),
                output_tokens: Some(0),
                ..Usage::default()
            },
            ..AttemptEnd::default()
        });
        open.finish(RequestEnd {
            status: 200,
            outcome: "answered",
            ..RequestEnd::default()
        });
        // The ledger tells when the entry is on record.
        loop {
            let event = tokio::time::timeout(Duration::from_mins(1), self.events.recv());
            let event = event.await.unwrap().unwrap();
            self.spend.hears(&event);
            if matches!(event, LedgerEvent::RequestFinished(_)) {
                break;
            }
        }
    }

    async fn check(&mut self) -> Vec<Question> {
        self.spend.check(&self.config).await.unwrap()
    }
}

#[tokio::test]
async fn a_line_that_is_crossed_asks_once_and_says_with_what() {
    let mut scene =
        Scene::new("spend: {usd: {amount: 20, window: 1h}}\nusers: {anna: {owner: bert}}").await;
    scene.spends("anna", 12.5, 100, true).await;
    assert!(scene.check().await.is_empty());
    scene.spends("anna", 7.5, 100, true).await;
    let asked = scene.check().await;
    let [question] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(question.user.as_deref(), Some("bert"), "the owner");
    assert_eq!(question.about, Scope::User("anna".to_owned()));
    assert!(
        question.wording.contains("spent $20.00 in the last hour"),
        "{}",
        question.wording
    );
    assert!(question.wording.contains("Did you mean to spend this?"));
    scene.spends("anna", 1.0, 100, true).await;
    assert!(scene.check().await.is_empty(), "asked already");
    scene.spends("carl", 19.0, 100, true).await;
    assert!(scene.check().await.is_empty(), "somebody else's window");
    scene.spends("carl", 1.5, 100, false).await;
    let asked = scene.check().await;
    assert_eq!(asked.len(), 1, "what is not known counts with its bound");
    let wording = &asked[0].wording;
    assert!(
        wording.contains("spent $19.00, and at most $1.50 more by attempts whose cost nobody told"),
        "a bound is not told as spent: {wording}"
    );
}

#[tokio::test]
async fn a_window_forgets_and_a_stretch_ends_with_a_break() {
    let mut scene = Scene::new(
        "spend: {tokens: {amount: 1000, window: 10m}, continuous: 2h, break_after: 15m}",
    )
    .await;
    scene.spends("anna", 0.0, 900, true).await;
    scene.pass(10 * MINUTE);
    scene.spends("anna", 0.0, 900, true).await;
    assert!(
        scene.check().await.is_empty(),
        "never a thousand in ten minutes"
    );
    for _ in 0..7 {
        scene.pass(14 * MINUTE);
        scene.spends("anna", 0.0, 1, true).await;
        assert!(scene.check().await.is_empty());
    }
    scene.pass(16 * MINUTE);
    scene.spends("anna", 0.0, 1, true).await;
    assert!(
        scene.check().await.is_empty(),
        "124 minutes, but with a break"
    );
    for _ in 0..9 {
        scene.pass(14 * MINUTE);
        scene.spends("anna", 0.0, 1, true).await;
    }
    let asked = scene.check().await;
    assert!(
        asked[0]
            .wording
            .contains("126 minutes without a break of 15 minutes"),
        "{asked:?}"
    );
    assert_eq!(asked[0].rule, "continuous");
}

#[tokio::test]
async fn everybody_is_held_to_their_own_habit() {
    let mut scene =
        Scene::new("spend: {rate: {times: 4, window: 1h, history: 14d, at_least_usd: 2}}").await;
    for _ in 0..3 {
        scene.spends("anna", 1.0, 1, true).await;
        scene.spends("bert", 30.0, 1, true).await;
        scene.pass(24 * HOUR);
    }
    // Until the tables have what the log has.
    let mut spend = Spend::new(scene.ledger.clone(), scene.spend.clock.clone());
    for _ in 0..500 {
        spend.habits_ms = None;
        spend
            .learn_habits(&scene.config.spend, scene.now.load(Ordering::Relaxed))
            .await
            .unwrap();
        if spend.habits.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.spend = spend;
    scene.spends("anna", 3.9, 1, true).await;
    scene.spends("bert", 100.0, 1, true).await;
    scene.spends("newcomer", 500.0, 1, true).await;
    assert!(
        scene.check().await.is_empty(),
        "under four times the usual, or no habit"
    );
    scene.spends("anna", 0.2, 1, true).await;
    let asked = scene.check().await;
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].wording.contains("4.1 times their usual $1.00"),
        "{}",
        asked[0].wording
    );
}

#[tokio::test]
async fn stop_refuses_new_requests_and_lets_those_in_flight_finish() {
    let mut scene = Scene::new("spend: {usd: {amount: 5}, quiet_after_go: 2h, stop_for: 3h}").await;
    scene.spends("anna", 6.0, 1, true).await;
    let question = scene.check().await.remove(0);
    let under_way = scene.begin("anna").await.unwrap();
    let until = stops_until(&scene.config.spend, scene.now.load(Ordering::Relaxed));
    scene
        .ledger
        .answer(&question.id, Answer::Stop, "bert", until)
        .await
        .unwrap();
    let refused = scene.begin("anna").await.unwrap_err();
    assert!(
        matches!(&refused, Refusal::Paused { question: named }
            if named.contains(&format!("{} was answered with stop by bert", question.id))),
        "{refused:?}"
    );
    assert!(scene.begin("bert").await.is_ok(), "nobody else is stopped");
    let attempt = AttemptStart {
        number: 1,
        target: "vendor/model".to_owned(),
        simulated: false,
        reserved: Usd::from_dollars(1.0),
    };
    assert!(
        under_way.reserve(attempt).await.is_ok(),
        "it was let in before"
    );
    // Lifted, and left alone for as long as the file says.
    scene
        .ledger
        .answer(&question.id, Answer::GoOn, "bert", None)
        .await
        .unwrap();
    scene.spends("anna", 6.0, 1, true).await;
    assert!(scene.check().await.is_empty());
    scene.pass(2 * HOUR + MINUTE);
    scene.spends("anna", 6.0, 1, true).await;
    assert_eq!(
        scene.check().await.len(),
        1,
        "asked again after the quiet time"
    );
}

#[tokio::test]
async fn without_an_answer_the_configured_one_counts_and_is_recorded() {
    for (default, stops) in [("stop", true), ("go", false)] {
        let text = format!("spend: {{usd: {{amount: 5}}, default: {default}, answer_within: 10m}}");
        let mut scene = Scene::new(&text).await;
        scene.spends("anna", 6.0, 1, true).await;
        let question = scene.check().await.remove(0);
        scene.pass(10 * MINUTE - 1);
        assert!(scene.spend.overdue(&scene.config).await.unwrap().is_empty());
        assert!(
            scene.begin("anna").await.is_ok(),
            "an open question stops nobody by itself"
        );
        scene.pass(1);
        let answered = scene.spend.overdue(&scene.config).await.unwrap();
        assert_eq!(answered[0].id, question.id);
        assert_eq!(answered[0].answered_by.as_deref(), Some("deadline"));
        assert!(default_wording(&answered[0]).contains(&question.id));
        assert_eq!(scene.begin("anna").await.is_err(), stops, "{default}");
        assert!(scene.spend.overdue(&scene.config).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_process_that_starts_again_knows_what_went_before() {
    let mut scene =
        Scene::new("spend: {usd: {amount: 5}}\nusers: {robot: {spend_exempt: true}}").await;
    scene.spends("anna", 4.0, 1, true).await;
    scene.spends("robot", 400.0, 1, true).await;
    // Until the tables have what the log has.
    for _ in 0..500 {
        let mut spend = Spend::new(scene.ledger.clone(), scene.spend.clock.clone());
        spend
            .begin(&scene.config, scene.now.load(Ordering::Relaxed))
            .await
            .unwrap();
        scene.spend = spend;
        if scene.spend.people.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(scene.check().await.is_empty());
    scene.spends("anna", 1.0, 1, true).await;
    let asked = scene.check().await;
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[tokio::test]
async fn a_question_reaches_the_webhook_with_its_page_and_its_commands() {
    let received = Arc::new(Mutex::new(Vec::<Value>::new()));
    let take = |State(received): State<Arc<Mutex<Vec<Value>>>>, Json(body): Json<Value>| async move {
        received.lock().unwrap().push(body);
    };
    let app = Router::new()
        .route("/hook", post(take))
        .with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let text = format!(
        "spend: {{usd: {{amount: 5}}, webhook: '{hook}'}}\nalerts: {{public_url: 'https://llm.example.com'}}\nusers: {{bert: {{webhook_env: HOOK}}}}"
    );
    let mut scene = Scene::new(&text).await;
    scene.spends("<anna>", 6.0, 1, true).await;
    let question = scene.check().await.remove(0);
    let (to, message) = question_message(&question, &scene.config);
    let poster = Poster::new(Arc::new(|_, line| panic!("{line}")));
    poster.post("a question", to.unwrap(), message);
    poster.settled().await;
    let received = received.lock().unwrap().clone();
    let text = received[0]["text"].as_str().unwrap();
    assert!(text.starts_with("&lt;anna&gt; spent $6.00"), "{text}");
    assert!(
        text.contains(&format!("https://llm.example.com/ui#go-{}", question.id)),
        "{text}"
    );
    assert!(
        text.contains(&format!("distill spend answer {} stop", question.id)),
        "{text}"
    );
    assert_eq!(received[0]["blocks"][1]["elements"][0]["type"], "button");

    scene.spends("bert", 6.0, 1, true).await;
    let question = scene.check().await.remove(0);
    let (to, _) = question_message(&question, &scene.config);
    assert!(
        to.unwrap().url.expose().ends_with("/own"),
        "a person's own address goes first"
    );
}
