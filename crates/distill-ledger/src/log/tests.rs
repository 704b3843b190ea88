use std::sync::Arc;

use super::{Log, framed, numbers, path, read};
use crate::entry::{Entry, Intent, RequestFacts};

fn entry(number: u32) -> Entry {
    Entry::Intent(Arc::new(Intent {
        facts: Arc::new(RequestFacts {
            id: format!("r{number}"),
            key: "k".to_owned(),
            user: "alice".to_owned(),
            team: None,
            discipline: None,
            level: None,
            task: None,
            task_version: None,
            route: "fast".to_owned(),
            model_asked: "fast".to_owned(),
            dialect: "openai.responses".to_owned(),
            streamed: true,
            session: None,
            started_ms: 1,
        }),
        number,
        target: "a/one".to_owned(),
        simulated: false,
        reserved: i64::MAX,
        pool: None,
        started_ms: 1,
    }))
}

#[test]
fn a_torn_end_is_dropped_wherever_it_tears() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let entries: Vec<Entry> = (0..3).map(entry).collect();
    let frames: Vec<Vec<u8>> = entries.iter().map(framed).collect();
    let whole = frames.concat();
    for end in 0..=whole.len() {
        std::fs::write(path(&ledger, 1), &whole[..end]).unwrap();
        let mut complete = 0;
        let mut length = 0;
        for frame in &frames {
            length += frame.len();
            complete += usize::from(length <= end);
        }
        assert_eq!(read(&ledger, 1).unwrap(), entries[..complete], "at {end}");
    }
    // A byte that changed on the way is noticed too.
    for at in 0..frames[0].len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        std::fs::write(path(&ledger, 1), &changed).unwrap();
        assert!(read(&ledger, 1).unwrap().is_empty(), "at {at}");
    }
}

#[test]
fn what_waits_goes_with_the_next_write_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let mut log = Log::begin(&ledger, 7).unwrap();
    log.append(&framed(&entry(1))).unwrap();
    assert!(log.put(&framed(&entry(2))));
    assert_eq!(read(&ledger, 7).unwrap(), [entry(1)]);
    log.append(&framed(&entry(3))).unwrap();
    assert_eq!(read(&ledger, 7).unwrap(), [entry(1), entry(2), entry(3)]);
    log.put(&framed(&entry(4)));
    log.turn().unwrap();
    assert_eq!(read(&ledger, 7).unwrap().len(), 4, "the closed one has it");
    log.append(&framed(&entry(5))).unwrap();
    assert_eq!(read(&ledger, 8).unwrap(), [entry(5)]);
    assert_eq!(numbers(&ledger).unwrap(), [7, 8]);
    assert_eq!(log.number(), 8);
}

#[test]
fn what_waits_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::begin(&folder.path().join("ledger.sqlite"), 1).unwrap();
    let frame = framed(&entry(1));
    let put = (0..100_000).filter(|_| log.put(&frame)).count();
    assert_eq!(put, (1 << 20) / frame.len());
}

#[test]
fn an_entry_of_another_version_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.sqlite");
    let payload = br#"{"something":"else"}"#;
    let mut other = (payload.len() as u32).to_le_bytes().to_vec();
    other.extend(crc32fast::hash(payload).to_le_bytes());
    other.extend(payload);
    std::fs::write(path(&ledger, 1), [framed(&entry(1)), other].concat()).unwrap();
    let error = read(&ledger, 1).unwrap_err();
    assert!(error.to_string().contains("another version"), "{error}");
    // A power cut leaves zeros at the end.
    std::fs::write(path(&ledger, 1), [framed(&entry(1)), vec![0; 64]].concat()).unwrap();
    assert_eq!(read(&ledger, 1).unwrap(), [entry(1)]);
}
