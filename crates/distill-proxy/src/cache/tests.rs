use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue},
};
use distill_gateway::Usd;
use distill_ledger::{Caller, KeyLimits, Role};
use distill_wire::{Dialect, envelope};
use serde_json::{Value, json};

use super::{Cache, Embed, Followed, Hit, Lead, Looked, Question, embed_locally};
use crate::{
    config::{CacheConfig, CacheScope, EmbeddingConfig, SemanticConfig},
    forward::{Done, Endpoint},
};

mod forms;
mod meaning;

const CHAT: Endpoint = Endpoint::Chat(Dialect::ChatCompletions);

fn caller(user: &str, team: Option<&str>) -> Caller {
    Caller {
        key_id: format!("key-{user}"),
        user: user.into(),
        team: team.map(str::to_owned),
        discipline: None,
        level: None,
        role: Role::User,
        models: Vec::new(),
        limits: KeyLimits::default(),
    }
}

/// One request with everything that the cache looks at.
struct Asked {
    config: CacheConfig,
    caller: Caller,
    route: &'static str,
    task: Option<&'static str>,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: Bytes,
    leads_to: &'static str,
    embed: Option<Embed>,
}

impl Asked {
    fn new(body: &Value) -> Self {
        Self {
            config: CacheConfig::default(),
            caller: caller("ann", Some("search")),
            route: "fast",
            task: None,
            endpoint: CHAT,
            headers: HeaderMap::new(),
            body: body.to_string().into(),
            leads_to: "box/m",
            embed: None,
        }
    }

    async fn look(&self, cache: &Cache) -> Looked {
        let envelope = envelope::scan(self.endpoint.dialect(), &self.body).unwrap();
        let leads_to = |target: &str| target == self.leads_to;
        let question = Question {
            config: &self.config,
            caller: &self.caller,
            route: self.route,
            task: self.task,
            endpoint: self.endpoint,
            headers: &self.headers,
            body: &self.body,
            envelope: &envelope,
            leads_to: &leads_to,
            embed: self.embed.as_ref(),
        };
        cache.look(&question).await
    }

    async fn lead(&self, cache: &Cache) -> Lead {
        match self.look(cache).await {
            Looked::Lead(lead) => lead,
            other => panic!("{other:?}"),
        }
    }

    async fn hit(&self, cache: &Cache) -> Hit {
        match self.look(cache).await {
            Looked::Hit(hit) => hit,
            other => panic!("{other:?}"),
        }
    }

    async fn is_off(&self, cache: &Cache) -> bool {
        matches!(self.look(cache).await, Looked::Off)
    }

    /// Asks for the first time and keeps the answer.
    async fn keep(&self, cache: &Cache, done: &Done) {
        assert!(self.lead(cache).await.finish(done));
    }
}

/// A question at temperature 0, with more fields.
fn question(more: Value) -> Value {
    let mut body = json!({
        "model": "fast", "temperature": 0, "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn asked() -> Asked {
    Asked::new(&question(json!({})))
}

fn answer() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "4", "refusal": null}, "logprobs": null,
         "finish_reason": "stop"},
    ], "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}})
}

fn done(body: impl Into<Bytes>) -> Done {
    Done {
        outcome: "answered",
        status: 200,
        target: Some("box/m".into()),
        model: Some("m-1".into()),
        usd: Some(Usd::from_dollars(0.25)),
        body: Some(body.into()),
        valid: true,
        ..Done::default()
    }
}

fn answered() -> Done {
    done(answer().to_string())
}

fn cache() -> Cache {
    Cache::new(1 << 20)
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_same_questions_is_answered_from_the_cache() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    tokio::time::advance(Duration::from_secs(90)).await;
    let hit = asked().hit(&cache).await;
    assert_eq!((hit.kind, hit.age.as_secs()), ("exact", 90));
    let envelope = envelope::scan(Dialect::ChatCompletions, &asked().body).unwrap();
    assert_eq!(hit.body(&envelope), answer().to_string());
    assert_eq!(hit.content_type(&envelope), "application/json");
    assert_eq!(
        hit.headers(),
        [
            (
                "x-distill-cache",
                "hit; kind=exact; age=90; saved-usd=0.25".to_owned()
            ),
            ("x-distill-target", "box/m".to_owned()),
            ("age", "90".to_owned()),
        ]
    );
    assert_eq!(hit.used().saved, Usd::from_dollars(0.25));
}

#[tokio::test]
async fn a_question_is_the_same_however_it_is_written() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    for body in [
        r#"{ "messages" : [{"content":"What is 2 \u002b 2?","role":"user"}], "temperature":0, "model":"fast" }"#
            .to_owned(),
        question(json!({"stream": true, "stream_options": {"include_usage": true}})).to_string(),
        question(json!({"user": "someone", "prompt_cache_key": "k", "metadata": {"trace": "1"}}))
            .to_string(),
    ] {
        let same = Asked {
            body: body.into(),
            ..asked()
        };
        same.hit(&cache).await;
    }
}

#[tokio::test]
async fn whatever_changes_the_answer_makes_another_question() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    let mut beta = HeaderMap::new();
    beta.insert("openai-beta", HeaderValue::from_static("x"));
    let others = [
        Asked::new(&question(json!({"max_tokens": 5}))),
        Asked::new(&question(json!({"seed": 9_007_199_254_740_993_u64}))),
        Asked::new(&question(json!({"model": "fast-2"}))),
        Asked {
            route: "slow",
            ..asked()
        },
        Asked {
            task: Some("digest"),
            ..asked()
        },
        Asked {
            headers: beta,
            ..asked()
        },
        Asked {
            endpoint: Endpoint::Chat(Dialect::Messages),
            ..asked()
        },
        Asked {
            leads_to: "box/other",
            ..asked()
        },
    ];
    for other in others {
        other.lead(&cache).await;
    }
    let near = Asked::new(&question(json!({"seed": 9_007_199_254_740_992_u64})));
    let far = Asked::new(&question(json!({"seed": 9_007_199_254_740_993_u64})));
    near.keep(&cache, &answered()).await;
    far.lead(&cache).await;
}

#[tokio::test]
async fn a_key_that_stands_twice_is_no_way_into_another_callers_answer() {
    let cache = cache();
    let twice = |first: &str, second: &str| {
        Asked {
        body: format!(
            r#"{{"model":"fast","temperature":0,"messages":[{{"role":"user","content":"{first}","content":"{second}"}}]}}"#
        )
        .into(),
        ..asked()
    }
    };
    twice("evil", "good").keep(&cache, &answered()).await;
    twice("good", "evil").lead(&cache).await;
    Asked::new(&question(
        json!({"messages": [{"role": "user", "content": "good"}]}),
    ))
    .lead(&cache)
    .await;
}

#[tokio::test]
async fn entries_are_shared_as_far_as_the_route_says() {
    let ann = || caller("ann", Some("search"));
    let bob = || caller("bob", Some("search"));
    let eve = || caller("eve", Some("ads"));
    let loner = || caller("search", None);
    for (scope, asks, shared) in [
        (CacheScope::User, bob(), false),
        (CacheScope::User, ann(), true),
        (CacheScope::Team, bob(), true),
        (CacheScope::Team, eve(), false),
        // A person whose name is the team's is not the team.
        (CacheScope::Team, loner(), false),
        (CacheScope::Everyone, eve(), true),
    ] {
        let cache = cache();
        let with = |caller: Caller| Asked {
            config: CacheConfig {
                scope,
                ..CacheConfig::default()
            },
            caller,
            ..asked()
        };
        with(ann()).keep(&cache, &answered()).await;
        let found = matches!(with(asks.clone()).look(&cache).await, Looked::Hit(_));
        assert_eq!(found, shared, "{scope:?} {}", asks.user);
    }
}

#[tokio::test]
async fn only_what_the_route_lets_in_is_cached() {
    let cache = cache();
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    for body in [
        question(json!({"temperature": 0.7})),
        question(json!({"temperature": null})),
        question(json!({"n": 2})),
        question(json!({"previous_response_id": "resp_1"})),
        question(tools.clone()),
    ] {
        assert!(Asked::new(&body).is_off(&cache).await, "{body}");
    }
    let counting = Asked {
        endpoint: Endpoint::CountTokens,
        ..asked()
    };
    assert!(counting.is_off(&cache).await);
    let mut sampled = Asked::new(&question(json!({"temperature": 0.7})));
    sampled.config.sampled = true;
    sampled.lead(&cache).await;
    let mut with_tools = Asked::new(&question(tools));
    with_tools.config.tools = true;
    with_tools.lead(&cache).await;
    let embeddings = Asked {
        endpoint: Endpoint::Embeddings,
        ..Asked::new(&json!({"model": "e", "input": "a"}))
    };
    embeddings.keep(&cache, &done("{}")).await;
    embeddings.hit(&cache).await;
}

#[tokio::test]
async fn only_whole_valid_answers_enter() {
    let cache = cache();
    let cut =
        json!({"choices": [{"message": {"content": "4"}, "finish_reason": "content_filter"}]});
    for unfit in [
        Done {
            valid: false,
            ..answered()
        },
        Done {
            status: 500,
            ..answered()
        },
        Done {
            outcome: "broken",
            ..answered()
        },
        Done {
            body: None,
            ..answered()
        },
        Done {
            target: None,
            ..answered()
        },
        done("{}"),
        done("<html>"),
        done(cut.to_string()),
    ] {
        assert!(!asked().lead(&cache).await.finish(&unfit), "{unfit:?}");
        assert_eq!(cache.entries(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn entries_end_with_their_time() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    tokio::time::advance(Duration::from_hours(1) - Duration::from_millis(1)).await;
    asked().hit(&cache).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    asked().lead(&cache).await;
    assert_eq!((cache.entries(), cache.bytes()), (0, 0));
}

#[tokio::test]
async fn the_least_recently_used_makes_room() {
    let cache = cache();
    let number = |number: u32| Asked::new(&question(json!({"seed": number})));
    for seed in 0..4 {
        number(seed).keep(&cache, &answered()).await;
    }
    let each = cache.bytes() / 4;
    number(0).hit(&cache).await;
    cache.bound(2 * each);
    assert_eq!((cache.entries(), cache.bytes()), (2, 2 * each));
    number(0).hit(&cache).await;
    number(3).hit(&cache).await;
    number(1).keep(&cache, &answered()).await;
    assert_eq!(cache.entries(), 2);
    number(0).lead(&cache).await;
    cache.bound(each - 1);
    assert_eq!((cache.entries(), cache.bytes()), (0, 0));
    assert!(
        !number(9).lead(&cache).await.finish(&answered()),
        "there is no room for it at all"
    );
}

#[tokio::test]
async fn what_a_target_answered_can_be_forgotten() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    assert_eq!(cache.forget("box/other"), 0);
    assert_eq!(cache.forget("box/m"), 1);
    asked().keep(&cache, &answered()).await;
    cache.clear();
    assert_eq!((cache.entries(), cache.bytes()), (0, 0));
    asked().lead(&cache).await;
}

#[tokio::test]
async fn a_sender_may_want_a_fresh_answer_or_no_cache() {
    let cache = cache();
    asked().keep(&cache, &answered()).await;
    let wishing = |words: &'static str| {
        let mut asked = asked();
        asked
            .headers
            .insert("cache-control", HeaderValue::from_static(words));
        asked
    };
    assert!(wishing("no-cache, No-Store").is_off(&cache).await);
    let newer = done(answer().to_string().replace("\"4\"", "\"four\""));
    wishing("max-age=0, no-cache").keep(&cache, &newer).await;
    let envelope = envelope::scan(Dialect::ChatCompletions, &asked().body).unwrap();
    let body = asked().hit(&cache).await.body(&envelope);
    assert!(String::from_utf8_lossy(&body).contains("four"));
}

#[tokio::test]
async fn of_identical_requests_one_asks() {
    let cache = cache();
    let lead = asked().lead(&cache).await;
    let asks = Arc::new(AtomicUsize::new(0));
    let followers: Vec<_> = (0..50)
        .map(|_| {
            let (cache, asks) = (cache.clone(), asks.clone());
            tokio::spawn(async move {
                match asked().look(&cache).await {
                    Looked::Follow(follow) => match follow.wait().await {
                        Followed::Hit(hit) => Some(hit.stored.target.clone()),
                        Followed::Alone(_) => None,
                    },
                    Looked::Hit(hit) => Some(hit.stored.target.clone()),
                    _ => {
                        asks.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(lead.finish(&answered()));
    for follower in followers {
        assert_eq!(follower.await.unwrap().as_deref(), Some("box/m"));
    }
    assert_eq!(asks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn followers_ask_by_themselves_where_the_first_fails() {
    let cache = cache();
    let follow = |looked: Looked| match looked {
        Looked::Follow(follow) => follow,
        other => panic!("{other:?}"),
    };
    // Cancelled, and answered with something that is none to share.
    for end in [None, Some(Done::default())] {
        let lead = asked().lead(&cache).await;
        let waiting = [
            follow(asked().look(&cache).await),
            follow(asked().look(&cache).await),
        ];
        match end {
            None => drop(lead),
            Some(done) => assert!(!lead.finish(&done)),
        }
        let mut alone = Vec::new();
        for follow in waiting {
            match follow.wait().await {
                Followed::Alone(lead) => alone.push(lead),
                Followed::Hit(hit) => panic!("{hit:?}"),
            }
        }
        // Whoever comes now leads again, and nobody waits for those who go alone.
        drop(asked().lead(&cache).await);
        assert!(alone.pop().unwrap().finish(&answered()));
        asked().hit(&cache).await;
        cache.clear();
    }
}

#[tokio::test]
async fn followers_get_an_answer_that_is_too_large_to_keep() {
    let cache = Cache::new(1);
    let lead = asked().lead(&cache).await;
    let Looked::Follow(follow) = asked().look(&cache).await else {
        panic!("somebody is asking");
    };
    assert!(!lead.finish(&answered()));
    assert!(matches!(follow.wait().await, Followed::Hit(_)));
    asked().lead(&cache).await;
}
