use distill_gateway::Usd;
use proptest::prelude::*;

use super::{Balance, Booked, Books, Held, Scope, Window, matches};
use crate::{
    api::{KeyLimits, LimitTable, Refusal, TokenPool},
    entry::RequestFacts,
};

/// 2026-11-21 12:00:00 UTC.
const NOON: i64 = 1_795_262_400_000;

fn facts(user: &str, team: &str) -> RequestFacts {
    RequestFacts {
        id: "r".to_owned(),
        key: format!("k_{user}"),
        user: user.to_owned(),
        team: Some(team.to_owned()),
        discipline: None,
        level: None,
        task: None,
        task_version: None,
        route: "fast".to_owned(),
        model_asked: "fast".to_owned(),
        dialect: "openai.responses".to_owned(),
        streamed: false,
        session: None,
        started_ms: NOON,
    }
}

fn capped(cents: i64) -> KeyLimits {
    KeyLimits {
        usd_total: Some(cent(cents)),
        ..KeyLimits::default()
    }
}

fn cent(cents: i64) -> Usd {
    Usd::from_pico(cents * 10_000_000_000)
}

#[test]
fn each_scope_is_held_to_its_own_limits() {
    let mut books = Books::default();
    books.set_limits(LimitTable {
        each_user: capped(50),
        users: [("alice".to_owned(), capped(80))].into(),
        teams: [("search".to_owned(), capped(100))].into(),
        ..LimitTable::default()
    });
    let mut spend = |user: &str, team: &str, cents: i64| {
        let facts = facts(user, team);
        let accounts = books.accounts(&facts, &KeyLimits::default());
        books
            .reserve(&accounts, &facts, "a/one", (cent(cents), 0), NOON)
            .map(drop)
    };
    let what = |refused: Result<(), Refusal>| refused.unwrap_err().to_string();
    assert!(spend("alice", "search", 70).is_ok());
    assert!(what(spend("alice", "search", 11)).contains("user `alice`"));
    assert!(what(spend("bob", "search", 31)).contains("team `search`"));
    assert!(spend("bob", "search", 30).is_ok());
    assert!(what(spend("carol", "other", 51)).contains("user `carol`"));
    assert!(spend("carol", "other", 50).is_ok());
}

#[test]
fn limits_that_change_hold_at_once_and_forget_nothing() {
    let mut books = Books::default();
    let facts = facts("alice", "search");
    let accounts = books.accounts(&facts, &KeyLimits::default());
    books
        .reserve(&accounts, &facts, "a/one", (cent(70), 0), NOON)
        .unwrap();
    books.set_limits(LimitTable {
        global: capped(80),
        ..LimitTable::default()
    });
    let refused = books.reserve(&accounts, &facts, "a/one", (cent(11), 0), NOON);
    assert!(refused.unwrap_err().to_string().contains("everybody"));
    books.set_limits(LimitTable::default());
    books
        .reserve(&accounts, &facts, "a/one", (cent(11), 0), NOON)
        .unwrap();
    // So does the limit of a key.
    let accounts = books.accounts(&facts, &capped(81));
    assert!(
        books
            .reserve(&accounts, &facts, "a/one", (cent(1), 0), NOON)
            .is_err()
    );
}

#[test]
fn an_expired_pool_and_another_teams_pay_nothing() {
    let pool = |name: &str, teams: &[&str], expires_ms| TokenPool {
        name: name.to_owned(),
        models: vec!["a/*".to_owned()],
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
        tokens: 100,
        price: cent(1),
        expires_ms,
    };
    let mut books = Books::default();
    books.set_limits(LimitTable {
        pools: vec![
            pool("old", &[], Some(NOON)),
            pool("theirs", &["ads"], None),
            pool("ours", &["search"], Some(NOON + 1)),
        ],
        ..LimitTable::default()
    });
    let facts = facts("alice", "search");
    let accounts = books.accounts(&facts, &KeyLimits::default());
    let held = books
        .reserve(&accounts, &facts, "a/one", (cent(10), 80), NOON)
        .unwrap();
    assert_eq!(held.reserved, 0);
    assert_eq!(held.pool.as_ref().unwrap().name, "ours");
    // 20 of 80 tokens are left, so three quarters of the price are set aside.
    let second = books
        .reserve(&accounts, &facts, "a/one", (cent(8), 80), NOON)
        .unwrap();
    assert_eq!(second.reserved, cent(6).pico());
    // It used 40 tokens for 4 cents: the pool pays 20 of them.
    let booked = Booked::new(&second, Some(cent(4)), Some(40));
    assert_eq!(booked.usd, Some(cent(2).pico()));
    assert_eq!(booked.pool_usd, Some(cent(2).pico()));
    assert_eq!(booked.pool_tokens, 20);
    // What is not known stays set aside.
    let unknown = Booked::new(&held, None, None);
    assert_eq!((unknown.usd, unknown.pool_tokens), (None, 80));
    books.settle(&accounts, &held, &Booked::nothing());
    assert_eq!(books.drawn("ours"), 20);
}

#[test]
fn balances_are_taken_over() {
    let mut books = Books::default();
    let balance = |window: Window, amount| Balance {
        account: "user:alice".to_owned(),
        window,
        index: window.index(NOON),
        amount,
    };
    books.load(&balance(Window::Day, 1));
    books.load(&balance(Window::Month, 2));
    books.load(&balance(Window::Total, 3));
    let alice = Scope::User("alice".to_owned());
    assert_eq!(books.committed(&alice, NOON), [1, 2, 3]);
    assert_eq!(books.committed(&alice, NOON + 86_400_000), [0, 2, 3]);
    books.clear();
    assert_eq!(books.committed(&alice, NOON), [0; 3]);
    for window in ["day", "month", "total", "requests", "tokens"] {
        assert_eq!(Window::from_name(window).unwrap().name(), window);
    }
    for scope in [
        Scope::Global,
        Scope::Key("a:b".to_owned()),
        Scope::Team("x".to_owned()),
        Scope::Task("t".to_owned()),
    ] {
        assert_eq!(Scope::from_account(&scope.account()), Some(scope));
    }
    assert_eq!(Scope::from_account("pool:x"), None);
}

#[test]
fn a_star_stands_for_the_rest() {
    assert!(matches("*", "openai/gpt") && matches("openai/*", "openai/gpt"));
    assert!(matches("openai/gpt", "openai/gpt") && !matches("openai/g", "openai/gpt"));
    assert!(!matches("mistral/*", "openai/gpt"));
}

#[derive(Debug, Clone)]
enum Step {
    Reserve {
        user: usize,
        cents: i64,
        tokens: u64,
    },
    Settle {
        which: usize,
        cents: i64,
        tokens: u64,
    },
    Lose {
        which: usize,
    },
    Wait {
        seconds: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..60_i64, 0..200_u64)
            .prop_map(|(user, cents, tokens)| Step::Reserve { user, cents, tokens }),
        3 => (any::<usize>(), 0..60_i64, 0..200_u64)
            .prop_map(|(which, cents, tokens)| Step::Settle { which, cents, tokens }),
        1 => any::<usize>().prop_map(|which| Step::Lose { which }),
        1 => (-100_000..200_000_i64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever happens in whatever order, no cap is passed by what is reserved, and the books hold
    /// exactly what is set aside and what was booked.
    #[test]
    fn no_order_of_events_passes_a_cap(steps in steps()) {
        let mut books = Books::default();
        books.set_limits(LimitTable {
            global: capped(300),
            each_user: capped(150),
            pools: vec![TokenPool {
                name: "bulk".to_owned(),
                models: vec!["*".to_owned()],
                teams: Vec::new(),
                tokens: 500,
                price: cent(1),
                expires_ms: None,
            }],
            ..LimitTable::default()
        });
        let people = ["alice", "bob", "carol"].map(|user| facts(user, "search"));
        let mut now = NOON;
        let mut held: Vec<(usize, Held)> = Vec::new();
        let mut committed = [0_i64; 3];
        let mut drawn = 0_u64;
        for step in steps {
            match step {
                Step::Reserve { user, cents, tokens } => {
                    let who = &people[user];
                    let accounts = books.accounts(who, &KeyLimits::default());
                    let before: i64 = committed.iter().sum();
                    match books.reserve(&accounts, who, "a/one", (cent(cents), tokens), now) {
                        Ok(one) => {
                            committed[user] += one.reserved;
                            drawn += one.pool.as_ref().map_or(0, |draw| draw.tokens);
                            // Nothing granted passes a cap.
                            prop_assert!(one.reserved == 0 || committed[user] <= cent(150).pico());
                            prop_assert!(one.reserved == 0 || before + one.reserved <= cent(300).pico());
                            prop_assert!(one.reserved <= cent(cents).pico());
                            held.push((user, one));
                        }
                        Err(Refusal::Budget { needed, .. }) => {
                            let needed = needed.pico();
                            prop_assert!(
                                committed[user] + needed > cent(150).pico()
                                    || before + needed > cent(300).pico()
                            );
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                }
                Step::Settle { which, cents, tokens } if !held.is_empty() => {
                    let (user, one) = held.swap_remove(which % held.len());
                    let booked = Booked::new(&one, Some(cent(cents)), Some(tokens));
                    let accounts = books.accounts(&people[user], &KeyLimits::default());
                    books.settle(&accounts, &one, &booked);
                    committed[user] += booked.usd.unwrap() - one.reserved;
                    let draw = one.pool.as_ref().map_or(0, |draw| draw.tokens);
                    prop_assert!(booked.pool_tokens <= draw);
                    // What the pool and the budget paid is the price.
                    let paid = booked.usd.unwrap() + booked.pool_usd.unwrap_or(0);
                    prop_assert!(paid == cent(cents).pico() || tokens == 0);
                    drawn = drawn - draw + booked.pool_tokens;
                }
                Step::Lose { which } if !held.is_empty() => {
                    let (user, one) = held.swap_remove(which % held.len());
                    let booked = Booked::new(&one, None, None);
                    let accounts = books.accounts(&people[user], &KeyLimits::default());
                    books.settle(&accounts, &one, &booked);
                    prop_assert_eq!(booked.usd, None);
                }
                Step::Settle { .. } | Step::Lose { .. } => {}
                Step::Wait { seconds } => now += seconds * 1_000,
            }
            for (user, who) in people.iter().enumerate() {
                let total = books.committed(&Scope::User(who.user.clone()), now)[2];
                prop_assert_eq!(total, committed[user]);
            }
            let everybody = books.committed(&Scope::Global, now)[2];
            prop_assert_eq!(everybody, committed.iter().sum::<i64>());
            prop_assert_eq!(books.drawn("bulk"), drawn);
            prop_assert!(drawn <= 500);
        }
    }
}
