use std::{
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};

use super::*;

const ROWS: &str = "text,label\na,b\n";

/// A server on this machine that answers `/train.csv` so, and counts how often it is asked.
async fn server(status: StatusCode, body: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async move { (status, body) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/train.csv", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked)
}

/// A folder with a card for `ROWS` at a URL.
fn shelf(url: &str) -> (Folder, Card) {
    let folder = Folder::new();
    folder.write("datasets/tiny/card.yaml", resolving::card(ROWS, Some(url)));
    let card = find_card("tiny", &folder.places()).unwrap();
    (folder, card)
}

fn cached_files(folder: &Folder) -> usize {
    fs::read_dir(folder.path("home/data/tiny")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_file_is_downloaded_once_and_verified() {
    let (address, asked) = server(StatusCode::OK, ROWS).await;
    let (folder, card) = shelf(&format!("http://{address}/train.csv"));
    let mut seen = Vec::new();
    let mut progress = |at: PullProgress<'_>| seen.push((at.bytes, at.total));
    let pulled = pull(&card, &folder.places(), &mut progress).await.unwrap();
    assert_eq!(pulled[0].from, PulledFrom::Downloaded);
    assert_eq!(fs::read_to_string(&pulled[0].path).unwrap(), ROWS);
    assert_eq!(seen.last(), Some(&(ROWS.len() as u64, ROWS.len() as u64)));

    let again = pull(&card, &folder.places(), &mut |_| ()).await.unwrap();
    assert_eq!(
        (again[0].from, &again[0].path),
        (PulledFrom::Present, &pulled[0].path)
    );
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let source = DataSource::Dataset {
        dataset: "tiny".into(),
        split: "train".into(),
    };
    assert_eq!(
        resolve(&source, &folder.places()).unwrap().path,
        pulled[0].path
    );
    assert_eq!(cached_files(&folder), 1);
}

#[tokio::test]
async fn a_given_folder_is_taken_before_the_network() {
    let (address, asked) = server(StatusCode::OK, ROWS).await;
    let (folder, card) = shelf(&format!("http://{address}/train.csv"));
    let given = folder.write("data/tiny/train.csv", ROWS);
    let places = Places {
        data_dir: Some(folder.path("data")),
        ..folder.places()
    };
    let pulled = pull(&card, &places, &mut |_| ()).await.unwrap();
    assert_eq!(
        (pulled[0].from, &pulled[0].path),
        (PulledFrom::Present, &given)
    );
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_not_the_file_leaves_nothing_behind() {
    for (status, body, words) in [
        (StatusCode::NOT_FOUND, ROWS, "answered 404"),
        (StatusCode::OK, "text,label\na,c\n", "its sha256 is"),
        (StatusCode::OK, "text\n", "5 of 15 bytes arrived"),
        (
            StatusCode::OK,
            "text,label\na,b\nc,d\n",
            "more than the 15 bytes",
        ),
    ] {
        let (address, _) = server(status, body).await;
        let (folder, card) = shelf(&format!("http://{address}/train.csv"));
        let error = pull(&card, &folder.places(), &mut |_| ())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(cached_files(&folder), 0, "{words}");
    }
}

#[tokio::test]
async fn a_download_needs_https_and_a_server() {
    for (url, words) in [
        ("http://example.org/train.csv", "scheme"),
        ("http://127.0.0.1:9/train.csv", "cannot be downloaded"),
        ("no url", "no URL"),
    ] {
        let (folder, card) = shelf(url);
        let error = pull(&card, &folder.places(), &mut |_| ())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_card_without_a_url_says_where_it_looked() {
    let folder = Folder::new();
    folder.write("datasets/tiny/card.yaml", resolving::card(ROWS, None));
    let card = find_card("tiny", &folder.places()).unwrap();
    let error = pull(&card, &folder.places(), &mut |_| ())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            DatasetError::Absent {
                downloadable: false,
                ..
            }
        ),
        "{error}"
    );
}
