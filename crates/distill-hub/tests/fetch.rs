//! Fetching from a server that behaves like the hub, faults included.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod server;

use std::{path::Path, time::Duration};

use axum::http::{Method, StatusCode};
use distill_hub::{Cache, Hub, HubError, HubSettings, ModelName, Progress, Snapshot, Token};
use server::{COMMIT, Faults, Server, sha256};

/// Weights large enough to be cut: content does not matter here.
fn weights() -> Vec<u8> {
    (0..200_000_u32)
        .flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect()
}

async fn started() -> (Server, Vec<u8>) {
    let weights = weights();
    let files: [(&str, &[u8]); 6] = [
        (".gitattributes", b"*.safetensors filter=lfs"),
        ("README.md", b"# tiny"),
        ("config.json", br#"{"model_type": "llama"}"#),
        ("model.safetensors", &weights),
        ("pytorch_model.bin", b"pickle"),
        ("tokenizer.json", b"{}"),
    ];
    (Server::start(&files).await, weights)
}

fn hub(server: &Server, folder: &Path) -> Hub {
    hub_with(server, folder, |_| {})
}

fn hub_with(server: &Server, folder: &Path, change: impl FnOnce(&mut HubSettings)) -> Hub {
    let mut settings = HubSettings {
        endpoint: server.endpoint.clone(),
        cache: Cache::new(folder),
        token: None,
        offline: false,
        first_wait: Duration::from_millis(1),
    };
    change(&mut settings);
    Hub::new(settings).unwrap()
}

async fn fetch(hub: &Hub, name: &str) -> Result<Snapshot, HubError> {
    let name: ModelName = name.parse().unwrap();
    hub.fetch(&name, &mut |_: Progress<'_>| {}).await
}

fn files_of(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(&snapshot.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_needed_is_fetched_once_and_laid_out_as_python_has_it() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, folder.path());
    let mut last = None;
    let name: ModelName = "org/tiny".parse().unwrap();
    let snapshot = hub
        .fetch(&name, &mut |at: Progress<'_>| {
            last = Some((at.file.to_owned(), at.bytes, at.total, at.index, at.files));
        })
        .await
        .unwrap();
    let model = folder.path().join("models--org--tiny");
    assert_eq!(snapshot.folder, model.join("snapshots").join(COMMIT));
    assert_eq!(snapshot.name.to_string(), format!("org/tiny@{COMMIT}"));
    assert_eq!(
        files_of(&snapshot),
        ["config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(
        std::fs::read(model.join("blobs").join(sha256(&weights))).unwrap(),
        weights
    );
    assert_eq!(
        std::fs::read_to_string(model.join("refs/main")).unwrap(),
        COMMIT
    );
    let size = weights.len() as u64;
    assert_eq!(
        last,
        Some(("model.safetensors".to_owned(), size, Some(size), 3, 3))
    );
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(snapshot.folder.join("model.safetensors")).unwrap(),
        Path::new("../../blobs").join(sha256(&weights))
    );

    // A branch is looked up again, its files are not fetched again; a commit asks nobody.
    server.forget();
    assert_eq!(fetch(&hub, "org/tiny").await.unwrap(), snapshot);
    assert_eq!(server.seen().len(), 1);
    server.forget();
    fetch(&hub, &format!("org/tiny@{COMMIT}")).await.unwrap();
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn nobody_is_asked_offline() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let offline = hub_with(&server, folder.path(), |settings| settings.offline = true);
    let error = fetch(&offline, "org/tiny").await.unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(server.seen().is_empty());
    fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    server.forget();
    let snapshot = fetch(&offline, "org/tiny").await.unwrap();
    assert_eq!(snapshot.note, None);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_hub_that_does_not_answer_leaves_what_was_fetched_last() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, folder.path());
    fetch(&hub, "org/tiny").await.unwrap();
    server.set(Faults {
        refuse: vec![(StatusCode::BAD_GATEWAY, None); 9],
        ..Faults::default()
    });
    let snapshot = fetch(&hub, "org/tiny").await.unwrap();
    assert!(snapshot.note.unwrap().contains(COMMIT));
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_was_cut() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        cut: vec![300_000, 100_000],
        ..Faults::default()
    });
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
    let ranges: Vec<Option<String>> = transfers(&server);
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!(ranges[0], None);
    assert!(ranges[1..].iter().all(Option::is_some), "{ranges:?}");
}

/// The ranges that the storage was asked for.
fn transfers(server: &Server) -> Vec<Option<String>> {
    let seen = server.seen().into_iter();
    seen.filter(|seen| seen.host == "storage" && seen.method == Method::GET)
        .map(|seen| seen.range)
        .collect()
}

/// Where the weights lie while they arrive.
fn incomplete(folder: &Path, weights: &[u8]) -> std::path::PathBuf {
    folder.join(format!(
        "models--org--tiny/blobs/{}.incomplete",
        sha256(weights)
    ))
}

#[tokio::test]
async fn what_an_earlier_process_left_is_taken_up() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let part = incomplete(folder.path(), &weights);
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, &weights[..500_000]).unwrap();
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(transfers(&server), [Some("bytes=500000-".to_owned())]);
    assert!(!part.exists());
}

#[tokio::test]
async fn what_lies_there_damaged_is_fetched_anew() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let part = incomplete(folder.path(), &weights);
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, vec![7; 500_000]).unwrap();
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
    assert_eq!(transfers(&server), [Some("bytes=500000-".to_owned()), None]);
}

#[tokio::test]
async fn a_storage_without_ranges_is_read_from_the_beginning() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        cut: vec![300_000],
        no_ranges: true,
        ..Faults::default()
    });
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
}

#[tokio::test]
async fn content_of_another_hash_is_refused_and_not_kept() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        garble: usize::MAX,
        ..Faults::default()
    });
    let error = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HubError::Corrupt { file, .. } if file == "model.safetensors"),
        "{error}"
    );
    assert!(!incomplete(folder.path(), &weights).exists());
    let name: ModelName = "org/tiny".parse().unwrap();
    assert_eq!(Cache::new(folder.path()).find(&name), None);
}

#[tokio::test]
async fn a_line_that_is_cut_each_time_is_an_error_and_keeps_what_came() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        cut: [vec![1000], vec![0; 20]].concat(),
        ..Faults::default()
    });
    let error = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap_err();
    assert!(error.is_temporary() && error.hint().is_some(), "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
    assert_eq!(
        std::fs::metadata(incomplete(folder.path(), &weights))
            .unwrap()
            .len(),
        1000
    );
}

#[tokio::test]
async fn an_overloaded_hub_is_asked_again_and_then_given_up() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, folder.path());
    server.set(Faults {
        refuse: vec![
            (StatusCode::TOO_MANY_REQUESTS, Some("0")),
            (StatusCode::SERVICE_UNAVAILABLE, None),
            (StatusCode::INTERNAL_SERVER_ERROR, None),
        ],
        ..Faults::default()
    });
    fetch(&hub, "org/tiny").await.unwrap();

    let fresh = tempfile::tempdir().unwrap();
    server.forget();
    server.set(Faults {
        refuse: vec![(StatusCode::TOO_MANY_REQUESTS, None); 9],
        ..Faults::default()
    });
    let error = fetch(&hub_with(&server, fresh.path(), |_| {}), "org/tiny")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Status {
                status: 429,
                attempts: 5,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 5);
    // A wait of an hour is no wait but an answer.
    server.forget();
    server.set(Faults {
        refuse: vec![(StatusCode::TOO_MANY_REQUESTS, Some("3600"))],
        ..Faults::default()
    });
    let error = fetch(&hub_with(&server, fresh.path(), |_| {}), "org/tiny")
        .await
        .unwrap_err();
    assert!(
        matches!(error, HubError::Status { attempts: 1, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_gated_model_says_where_its_terms_are_accepted() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        gated: Some("hf_right"),
        ..Faults::default()
    });
    let with = |token: Option<&str>| {
        hub_with(&server, folder.path(), |settings| {
            settings.token = token.and_then(Token::new);
        })
    };
    for (token, said) in [(None, "HF_TOKEN"), (Some("hf_wrong"), "owner of the token")] {
        let error = fetch(&with(token), "org/tiny").await.unwrap_err();
        let HubError::Gated { page, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*page, format!("{}/org/tiny", server.endpoint));
        assert!(error.hint().unwrap().contains(said), "{error:?}");
    }
    fetch(&with(Some("hf_right")), "org/tiny").await.unwrap();
}

#[tokio::test]
async fn the_token_stays_with_the_hub() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_with(&server, folder.path(), |settings| {
        settings.token = Token::new("hf_secret");
    });
    fetch(&hub, "org/tiny").await.unwrap();
    let (hubs, storages): (Vec<_>, Vec<_>) = server
        .seen()
        .into_iter()
        .partition(|seen| seen.host == "hub");
    assert!(hubs.iter().all(|seen| seen.token));
    assert!(!storages.is_empty() && storages.iter().all(|seen| !seen.token));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, folder.path());
    let error = fetch(&hub, "org/other").await.unwrap_err();
    assert!(matches!(error, HubError::NotFound { .. }), "{error}");
    let error = fetch(&hub, "org/tiny@v9").await.unwrap_err();
    assert!(
        matches!(&error, HubError::Revision { revision, .. } if revision == "v9"),
        "{error}"
    );
    fetch(&hub, "org/tiny@v1").await.unwrap();
    server.set(Faults {
        bad_token: true,
        ..Faults::default()
    });
    let hub = hub_with(&server, folder.path(), |settings| {
        settings.token = Token::new("hf_revoked");
    });
    let error = fetch(&hub, "org/tiny").await.unwrap_err();
    assert!(matches!(error, HubError::Token { .. }), "{error}");
    assert!(!error.to_string().contains("hf_revoked"));
}

#[tokio::test]
async fn a_model_that_moved_is_followed() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        moved_to: Some("new/name"),
        ..Faults::default()
    });
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(snapshot.folder.join("model.safetensors")).unwrap(),
        weights
    );
}

#[tokio::test]
async fn a_name_that_leads_out_of_the_cache_is_refused() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    server.set(Faults {
        etag: Some("../../../escaped"),
        ..Faults::default()
    });
    let error = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");

    let index = br#"{"weight_map": {"a": "../../../escaped.safetensors"}}"#;
    let files: [(&str, &[u8]); 3] = [
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("model.safetensors.index.json", index),
    ];
    let server = Server::start(&files).await;
    let error = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap_err();
    assert!(matches!(error, HubError::Unfit { .. }), "{error}");
}

#[tokio::test]
async fn shards_are_fetched_as_the_index_names_them() {
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let files: [(&str, &[u8]); 6] = [
        ("config.json", b"{}"),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"two"),
        ("model.safetensors.index.json", index),
        ("consolidated.safetensors", b"all of it again"),
        ("tokenizer.json", b"{}"),
    ];
    let server = Server::start(&files).await;
    let folder = tempfile::tempdir().unwrap();
    let snapshot = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert_eq!(files_of(&snapshot).len(), 5);

    // Without one of them the model is not there.
    let shard = snapshot.folder.join("model-00002-of-00002.safetensors");
    std::fs::remove_file(&shard).unwrap();
    let name: ModelName = "org/tiny".parse().unwrap();
    assert_eq!(Cache::new(folder.path()).find(&name), None);
    fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap();
    assert!(shard.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_nowhere_gives_way() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, folder.path());
    let snapshot = fetch(&hub, "org/tiny").await.unwrap();
    let config = snapshot.folder.join("config.json");
    let content = std::fs::read(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("../../blobs/deleted", &config).unwrap();
    let again = fetch(&hub, "org/tiny").await.unwrap();
    assert_eq!(std::fs::read(&config).unwrap(), content);
    assert_eq!(files_of(&again), files_of(&snapshot));

    // A folder in its place is somebody's own: it is named, not deleted.
    std::fs::remove_file(&config).unwrap();
    std::fs::create_dir(&config).unwrap();
    let error = fetch(&hub, "org/tiny").await.unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
}

#[tokio::test]
async fn two_at_once_fetch_each_file_once() {
    let (server, _) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (hub(&server, folder.path()), hub(&server, folder.path()));
    let (first, second) = tokio::join!(fetch(&first, "org/tiny"), fetch(&second, "org/tiny"));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(transfers(&server).len(), 1);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_said_and_what_came_is_kept() {
    let (server, weights) = started().await;
    let folder = tempfile::tempdir().unwrap();
    let part = incomplete(folder.path(), &weights);
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    // Every write to this device fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let error = fetch(&hub(&server, folder.path()), "org/tiny")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HubError::DiskFull { bytes, .. } if *bytes > 0),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("HF_HOME"));
}

#[tokio::test]
async fn a_hub_that_is_not_there_is_told_from_one_that_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, _) = started().await;
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let hub = hub_with(&server, folder.path(), |settings| {
        settings.endpoint = endpoint;
    });
    let error = fetch(&hub, "org/tiny").await.unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
    let settings = HubSettings {
        endpoint: "file:///etc".to_owned(),
        ..hub.settings().clone()
    };
    assert!(matches!(Hub::new(settings), Err(HubError::Settings { .. })));
}
