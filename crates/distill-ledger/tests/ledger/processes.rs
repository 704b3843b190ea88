//! Several processes, and the end of one in the middle.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use distill_gateway::Usd;
use distill_ledger::{
    Durability, KeyLimits, Ledger, LedgerError, LedgerOptions, LimitTable, Records, Refusal, Scope,
    Store, UnsettledState,
};

use crate::stores::{Place, answered, ask, attempt, caller, done, eventually, start, usd};

const ROLE: &str = "LEDGER_TEST_ROLE";
const STORE: &str = "LEDGER_TEST_STORE";

/// This program again, as a process of its own.
fn another(role: &str, store: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "processes::another_process",
            "--ignored",
            "--nocapture",
        ])
        .env(ROLE, role)
        .env(STORE, store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
}

fn say(line: &str) {
    // One `write` with its end: a line is there whole or not at all.
    let mut out = std::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "the other tests run it as a process of its own"]
fn another_process() {
    let role = std::env::var(ROLE).unwrap();
    let store = Store::from_text(&std::env::var(STORE).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "load" => load(store).await,
            "hold" => {
                let _ledger = Ledger::open(store).await.unwrap();
                say("open");
                std::io::stdin().lines().for_each(drop);
            }
            "fill" => fill(store).await,
            other => panic!("no role `{other}`"),
        }
    });
}

/// Asks until it is killed, and says what it was promised.
async fn load(store: Store) {
    let ledger = Ledger::open(store).await.unwrap();
    say("open");
    let mut asking = tokio::task::JoinSet::new();
    for task in 0..8 {
        let ledger = ledger.clone();
        asking.spawn(async move {
            let caller = caller("alice", KeyLimits::default());
            for number in 0_u64.. {
                let id = format!("r{task}-{number}");
                let open = ledger.begin(start(&id, &caller)).await.unwrap();
                let reserved = open.reserve(attempt(1, "a/one", 0.02)).await.unwrap();
                say(&format!("reserved {id}"));
                tokio::task::yield_now().await;
                let cost = 1 + number % 7;
                reserved.settle(answered(Some(cost as f64 / 1_000.0)));
                say(&format!("settled {id} {cost}"));
                open.finish(done("a/one"));
            }
        });
    }
    asking.join_all().await;
}

/// Runs a load, kills it in the middle, and returns what it was promised: what each request was
/// settled at in thousandths of a dollar, `None` where it was only reserved.
fn killed(store: &str) -> HashMap<String, Option<u64>> {
    let mut child = another("load", store).spawn().unwrap();
    let mut promised: HashMap<String, Option<u64>> = HashMap::new();
    let mut settled = 0;
    for line in lines(&mut child) {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("reserved"), Some(id), None) => {
                promised.entry(id.to_owned()).or_default();
            }
            (Some("settled"), Some(id), Some(cost)) => {
                promised.insert(id.to_owned(), Some(cost.parse().unwrap()));
                settled += 1;
                if settled == 1_500 {
                    // SIGKILL; what it still said is read to the end.
                    child.kill().unwrap();
                }
            }
            _ => {}
        }
    }
    child.wait().unwrap();
    assert!(promised.len() >= 1_500);
    promised
}

/// Every intent that was promised is on record, and the books agree with the records.
async fn compare(ledger: &Ledger, promised: &HashMap<String, Option<u64>>, exactly: bool) {
    let all = ledger
        .records()
        .attempts_between(0, i64::MAX)
        .await
        .unwrap();
    let by_id: HashMap<_, _> = all
        .iter()
        .map(|one| (one.request_id.as_str(), one))
        .collect();
    for (id, cost) in promised {
        let recorded = by_id
            .get(id.as_str())
            .unwrap_or_else(|| panic!("the intent of {id} is lost"));
        if let Some(cost) = cost {
            let cost = usd(*cost as f64 / 1_000.0);
            match recorded.usd {
                Some(recorded) => assert_eq!(recorded, cost, "{id}"),
                None => assert!(!exactly && recorded.reserved >= cost, "{id} was settled"),
            }
        }
    }
    assert!(
        all.iter().all(|one| one.outcome.is_some()),
        "nothing is open"
    );
    let spent: Usd = all.iter().map(|one| one.usd.unwrap_or(one.reserved)).sum();
    let user = Scope::User("alice".to_owned());
    assert_eq!(ledger.committed(&user).await.unwrap(), [spent; 3]);
    let unsettled = ledger.records().unsettled().await.unwrap();
    assert!(unsettled.iter().all(|one| one.state == UnsettledState::Cut));
}

#[tokio::test]
async fn a_killed_process_loses_no_intent_and_no_settled_dollar() {
    let place = Place::sqlite();
    let Store::Sqlite(path) = &place.store else {
        unreachable!("it is a file");
    };
    let promised = killed(path.to_str().unwrap());
    let options = LedgerOptions {
        apply_every: Duration::from_millis(5),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::open_with(place.store.clone(), options.clone())
        .await
        .unwrap();
    compare(&ledger, &promised, true).await;
    drop(ledger);
    // Once more: replaying has not changed what it replays into.
    let ledger = Ledger::open_with(place.store.clone(), options)
        .await
        .unwrap();
    compare(&ledger, &promised, true).await;
}

#[tokio::test]
async fn a_killed_instance_loses_no_intent() {
    let Some(place) = Place::postgres("a_killed_instance_loses_no_intent").await else {
        return;
    };
    let Store::Postgres(address) = &place.store else {
        unreachable!("it is an address");
    };
    let address = address.expose().to_owned();
    let promised = tokio::task::spawn_blocking(move || killed(&address))
        .await
        .unwrap();
    let options = LedgerOptions {
        instance_ends_after: Duration::from_millis(400),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::open_with(place.store.clone(), options)
        .await
        .unwrap();
    eventually(async || {
        let unsettled = ledger.records().unsettled().await.unwrap();
        let open = unsettled
            .iter()
            .any(|one| one.state == UnsettledState::Open);
        (!open).then_some(())
    })
    .await;
    compare(&ledger, &promised, false).await;
}

#[tokio::test]
async fn a_file_belongs_to_one_process() {
    let place = Place::sqlite();
    let Store::Sqlite(path) = &place.store else {
        unreachable!("it is a file");
    };
    let mut child = another("hold", path.to_str().unwrap()).spawn().unwrap();
    let mut said = lines(&mut child);
    assert!(said.any(|line| line == "open"));
    let refused = Ledger::open(place.store.clone()).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Held { .. }), "{refused}");
    assert!(refused.hint().is_some());
    // Looking at it is nobody's privilege.
    let records = Records::open(&place.store).await.unwrap();
    assert!(records.unsettled().await.unwrap().is_empty());
    drop(child.stdin.take());
    child.wait().unwrap();
    drop(Ledger::open(place.store.clone()).await.unwrap());
}

/// An instance that starts must not meet one at work in a deadlock.
#[tokio::test]
async fn an_instance_joins_others_without_locking_their_tables() {
    let Some(place) =
        Place::postgres("an_instance_joins_others_without_locking_their_tables").await
    else {
        return;
    };
    let Store::Postgres(address) = &place.store else {
        unreachable!("it is a shared database");
    };
    drop(place.open().await);
    let (client, connection) = tokio_postgres::connect(address.expose(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    // What every writer holds, and no maker of an index can have beside it.
    client
        .batch_execute("BEGIN; LOCK TABLE requests, attempts IN ROW EXCLUSIVE MODE")
        .await
        .unwrap();
    let joined = tokio::time::timeout(Duration::from_mins(1), place.open()).await;
    assert!(joined.is_ok(), "it waits for the writers' locks");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn instances_never_pass_a_cap_together() {
    let Some(place) = Place::postgres("instances_never_pass_a_cap_together").await else {
        return;
    };
    let table = LimitTable {
        global: KeyLimits {
            usd_per_month: Some(usd(1.0)),
            ..KeyLimits::default()
        },
        ..LimitTable::default()
    };
    let mut asking = tokio::task::JoinSet::new();
    for instance in 0..3 {
        let ledger = place.open().await;
        ledger.set_limits(table.clone());
        for index in 0..70 {
            let ledger = ledger.clone();
            asking.spawn(async move {
                let caller = caller(&format!("user{instance}"), KeyLimits::default());
                let id = format!("r{instance}-{index}");
                ask(&ledger, &id, &caller, 0.01, Some(0.01)).await.is_ok()
            });
        }
    }
    let granted = asking
        .join_all()
        .await
        .into_iter()
        .filter(|granted| *granted)
        .count();
    assert_eq!(
        granted, 100,
        "a hundred cents fit a dollar, whoever spends them"
    );
    let ledger = place.open().await;
    assert_eq!(
        ledger.committed(&Scope::Global).await.unwrap(),
        [usd(1.0); 3]
    );
}

/// Asks until there is no room, then until there is again.
async fn fill(store: Store) {
    let options = LedgerOptions {
        // Nothing but the log grows.
        apply_every: Duration::from_hours(1),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::open_with(store, options).await.unwrap();
    let caller = caller("alice", KeyLimits::default());
    let under_way = ledger.begin(start("early", &caller)).await.unwrap();
    let held = under_way.reserve(attempt(1, "a/one", 0.02)).await.unwrap();
    let mut answered_so_far = 0;
    let problem = loop {
        match ask(
            &ledger,
            &format!("r{answered_so_far}"),
            &caller,
            0.02,
            Some(0.01),
        )
        .await
        {
            Ok(_) => answered_so_far += 1,
            Err(Refusal::Unavailable { problem }) => break problem,
            Err(other) => panic!("{other}"),
        }
        assert!(answered_so_far < 100_000, "the disk never filled");
    };
    // What was under way arrives while there is no room: it is kept.
    held.settle(answered(Some(0.015)));
    under_way.finish(done("a/one"));
    say(&format!("full after {answered_so_far}: {problem}"));
    std::io::stdin().lines().next();
    ask(&ledger, "late", &caller, 0.02, Some(0.01))
        .await
        .unwrap();
    say("room");
    // The end comes without a word.
    std::io::stdin().lines().next();
}

#[tokio::test]
async fn nothing_is_spent_while_the_disk_is_full() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("skipped: nothing_is_spent_while_the_disk_is_full: `prlimit` is not found");
        return;
    }
    let place = Place::sqlite();
    let Store::Sqlite(path) = &place.store else {
        unreachable!("it is a file");
    };
    let this = another("fill", path.to_str().unwrap());
    let mut limited = Command::new("sh");
    let mut child = limited
        // In blocks of 512 bytes: no file may grow beyond half a megabyte, and trying is an error
        // and not the end.
        .args(["-c", "trap '' XFSZ; ulimit -S -f 1024; exec \"$@\"", "sh"])
        .arg(this.get_program())
        .args(this.get_args())
        .envs(
            this.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = lines(&mut child);
    let full = said.find(|line| line.starts_with("full after")).unwrap();
    let answered: u64 = full["full after ".len()..full.find(':').unwrap()]
        .parse()
        .unwrap();
    assert!(answered > 10, "{full}");
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(raised.success());
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"\n").unwrap();
    assert!(said.any(|line| line == "room"));
    child.kill().unwrap();
    child.wait().unwrap();
    let ledger = Ledger::open(place.store.clone()).await.unwrap();
    let spent = usd(0.015) + usd(0.01) * (answered + 1);
    let user = Scope::User("alice".to_owned());
    assert_eq!(ledger.committed(&user).await.unwrap()[2], spent);
    assert!(ledger.records().unsettled().await.unwrap().is_empty());
    let early = ledger.records().attempts_of("early").await.unwrap();
    assert_eq!(early[0].usd, Some(usd(0.015)));
}

#[tokio::test]
async fn a_log_is_not_applied_twice() {
    let place = Place::sqlite();
    let Store::Sqlite(path) = &place.store else {
        unreachable!("it is a file");
    };
    let options = LedgerOptions {
        apply_every: Duration::from_hours(1),
        ..place.options()
    };
    let ledger = Ledger::open_with(place.store.clone(), options)
        .await
        .unwrap();
    let alice = caller("alice", KeyLimits::default());
    ask(&ledger, "r1", &alice, 0.5, Some(0.25)).await.unwrap();
    let folder = path.parent().unwrap();
    let logs = || -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("-log."))
            .collect()
    };
    let log = logs().remove(0);
    let kept = std::fs::read(&log).unwrap();
    drop(ledger);
    assert!(logs().is_empty(), "a ledger that closes leaves no log");
    // As if the process had ended between applying it and removing it.
    std::fs::write(&log, kept).unwrap();
    let ledger = place.open().await;
    assert_eq!(logs().len(), 1, "only the new one");
    assert_eq!(
        ledger.committed(&Scope::Global).await.unwrap(),
        [usd(0.25); 3]
    );
}

#[tokio::test]
async fn a_log_that_could_not_be_applied_is_kept_at_the_end() {
    let place = Place::sqlite();
    let Store::Sqlite(path) = &place.store else {
        unreachable!("it is a file");
    };
    let options = LedgerOptions {
        apply_every: Duration::from_hours(1),
        ..place.options()
    };
    let ledger = Ledger::open_with(place.store.clone(), options)
        .await
        .unwrap();
    // The next log cannot be begun.
    let mut next = path.clone().into_os_string();
    next.push("-log.2");
    std::fs::create_dir(&next).unwrap();
    let alice = caller("alice", KeyLimits::default());
    ask(&ledger, "r1", &alice, 0.5, Some(0.25)).await.unwrap();
    drop(ledger);
    std::fs::remove_dir(&next).unwrap();
    let ledger = place.open().await;
    assert_eq!(
        ledger.committed(&Scope::Global).await.unwrap(),
        [usd(0.25); 3]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_may_wait_for_the_disk() {
    let place = Place::sqlite();
    let options = LedgerOptions {
        durability: Durability::Power,
        ..place.options()
    };
    let ledger = Ledger::open_with(place.store.clone(), options)
        .await
        .unwrap();
    let alice = caller("alice", KeyLimits::default());
    let mut asking = tokio::task::JoinSet::new();
    for index in 0..64 {
        let (ledger, alice) = (ledger.clone(), Arc::clone(&alice));
        asking.spawn(async move {
            let id = format!("r{index}");
            ask(&ledger, &id, &alice, 0.02, Some(0.01)).await.unwrap();
        });
    }
    asking.join_all().await;
    drop(ledger);
    let ledger = place.open().await;
    assert_eq!(
        ledger.committed(&Scope::Global).await.unwrap()[2],
        usd(0.64)
    );
}
