use distill_pipeline::hash::ContentHash;
use insta::assert_snapshot;

use super::*;

const ROWS: &str = "text,label\na,b\n";

/// A card for one file with these bytes.
pub(super) fn card(bytes: &str, url: Option<&str>) -> String {
    let url = url.map_or_else(String::new, |url| format!("\n    url: {url}"));
    format!(
        "name: tiny\ntitle: T\nabout: A\nsource: s\nlicence: MIT\nattribution: x\nsplits:\n  train:\n    file: train.csv{url}\n    sha256: {}\n    bytes: {}\n    rows: 1\nformat: csv\ncolumns: {{text: t, label: l}}\ngold: label\nexample: {{text: t, label: l}}\n",
        ContentHash::of_bytes(bytes.as_bytes()),
        bytes.len(),
    )
}

fn source(split: &str) -> DataSource {
    DataSource::Dataset {
        dataset: "tiny".into(),
        split: split.into(),
    }
}

#[test]
fn the_first_place_with_the_right_file_wins() {
    let folder = Folder::new();
    folder.write("datasets/tiny/card.yaml", card(ROWS, None));
    fs::create_dir_all(folder.path("here/deeper")).unwrap();
    let mut places = Places {
        beside: folder.path("here/deeper"),
        ..folder.places()
    };
    places.data_dir = Some(folder.path("data"));
    let found = |places: &Places| resolve(&source("train"), places).unwrap().path;

    let beside = folder.write("datasets/tiny/train.csv", ROWS);
    assert_eq!(found(&places), std::path::absolute(&beside).unwrap());
    let cached = folder.write("home/data/tiny/train.csv", ROWS);
    assert_eq!(found(&places), cached);
    let given = folder.write("data/tiny/train.csv", ROWS);
    assert_eq!(found(&places), given);
    // A file that is not the card's is passed over while another one is right.
    folder.write("data/tiny/train.csv", "text,label\na,c\n");
    assert_eq!(found(&places), cached);
}

#[test]
fn what_is_missing_or_wrong_is_told_with_the_next_step() {
    let folder = Folder::new();
    let places = folder.places();
    let told = |source: &DataSource| folder.told(&resolve(source, &places).unwrap_err());
    folder.write(
        "datasets/tiny/card.yaml",
        card(ROWS, Some("https://example.org/train.csv")),
    );
    assert_snapshot!(told(&source("train")), @"
    the file `train.csv` of data set `tiny` is not here
    help: `distill data pull tiny` fetches it, or set DISTILL_DATA_DIR to a folder that has tiny/ (looked at: DIR/home/data/tiny/train.csv, DIR/datasets/tiny/train.csv)
    ");
    assert_snapshot!(told(&source("dev")), @"
    data set `tiny` has no split `dev`
    help: its splits are: train
    ");
    assert_snapshot!(told(&DataSource::Dataset { dataset: "huge".into(), split: "train".into() }), @"
    there is no data set `huge`
    help: known data sets: banking77, gsm8k, restaurant8k, support-intents, tiny
    ");
    assert_snapshot!(told(&DataSource::Path("no.csv".into())), @"
    the data file `DIR/here/no.csv` cannot be read: No such file or directory (os error 2)
    help: look at the path: written in a pipeline or a suite, it counts from the folder of that file
    ");
    folder.write("home/data/tiny/train.csv", "text,label\n");
    assert_snapshot!(told(&source("train")), @"
    `DIR/home/data/tiny/train.csv` is not the file that the card of `tiny` describes: it has 11 bytes, and should have 15
    help: remove DIR/home/data/tiny/train.csv and run `distill data pull tiny`, or correct the card if the file is the right one
    ");
    folder.write("home/data/tiny/train.csv", "text,label\na,c\n");
    assert!(told(&source("train")).contains("its sha256 is"));
}

#[test]
fn a_card_cannot_lead_out_of_its_folder() {
    let folder = Folder::new();
    for (from, to) in [
        ("file: train.csv", "file: ../../../etc/passwd"),
        ("file: train.csv", "file: /etc/passwd"),
        ("bytes:", "size: 1\n    bytes:"),
        ("gold: label", "gold: answer"),
        ("name: tiny", "name: other"),
        ("    sha256: ", "    sha256: z"),
    ] {
        let text = card(ROWS, None);
        assert!(text.contains(from));
        folder.write("datasets/tiny/card.yaml", text.replace(from, to));
        let found = resolve(&source("train"), &folder.places());
        assert!(
            matches!(found, Err(DatasetError::Card { .. })),
            "{to}: {found:?}"
        );
    }
    let outside = DataSource::Dataset {
        dataset: "../tiny".into(),
        split: "train".into(),
    };
    assert!(matches!(
        resolve(&outside, &folder.places()),
        Err(DatasetError::UnknownDataset { .. })
    ));
}

#[test]
fn the_program_carries_the_quickstart() {
    let carried = embedded::support_intents();
    for (split, bytes) in [("train", carried.train), ("test", carried.test)] {
        let described = carried.card.split(split).unwrap();
        assert_eq!(
            ContentHash::of_bytes(bytes).to_string(),
            described.sha256,
            "{split}"
        );
        assert_eq!(bytes.len() as u64, described.bytes);
        let folder = Folder::new();
        let source = DataSource::Dataset {
            dataset: "support-intents".into(),
            split: split.into(),
        };
        let resolved = resolve(&source, &folder.places()).unwrap();
        let rows = read_rows(&resolved, Some(&carried.card.gold)).unwrap();
        assert_eq!(rows.len(), described.rows);
        let labels: Vec<String> = carried
            .card
            .labels
            .as_ref()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        check_labels(&rows, &labels, &resolved.path).unwrap();
        assert_eq!(distinct_labels(&rows).len(), labels.len());
    }
}

#[test]
fn every_card_of_the_repository_is_carried_and_its_example_has_its_columns() {
    let shelf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = Places {
        data_dir: None,
        home: shelf.join("none"),
        beside: shelf.clone(),
    };
    let here = cards(&places).unwrap();
    let carried = cards(&Folder::new().places()).unwrap();
    let names = |cards: &[Card]| {
        cards
            .iter()
            .map(|card| card.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&here), names(&carried));
    for card in here {
        let columns: Vec<&String> = card.columns.keys().collect();
        assert_eq!(
            card.example.keys().collect::<Vec<_>>(),
            columns,
            "{}",
            card.name
        );
    }
}

#[test]
fn public_data_is_what_the_cards_say() {
    let Some(data_dir) = public_data("public_data_is_what_the_cards_say") else {
        return;
    };
    let folder = Folder::new();
    let places = Places {
        data_dir: Some(data_dir.clone()),
        ..folder.places()
    };
    for card in cards(&places).unwrap() {
        for (name, split) in &card.splits {
            let source = DataSource::Dataset {
                dataset: card.name.clone(),
                split: name.clone(),
            };
            let resolved = resolve(&source, &places).unwrap();
            if split.url.is_some() {
                assert!(
                    resolved.path.starts_with(&data_dir),
                    "{}",
                    resolved.path.display()
                );
            }
            let gold = split.gold.as_ref().unwrap_or(&card.gold);
            let rows = read_rows(&resolved, Some(gold)).unwrap();
            assert_eq!(rows.len(), split.rows, "{} {name}", card.name);
            assert!(
                rows.iter().all(|row| row.gold.is_some()),
                "{} {name}",
                card.name
            );
        }
    }
}

#[test]
fn restaurant8k_reads_as_its_card_counts() {
    let Some(data_dir) = public_data("restaurant8k_reads_as_its_card_counts") else {
        return;
    };
    let places = Places {
        data_dir: Some(data_dir),
        ..Folder::new().places()
    };
    let rows = |split: &str| {
        let source = DataSource::Dataset {
            dataset: "restaurant8k".into(),
            split: split.into(),
        };
        read_rows(&resolve(&source, &places).unwrap(), Some("slots")).unwrap()
    };
    let test = rows("test");
    assert_eq!(
        test.iter()
            .filter(|row| row.gold.as_deref() != Some("{}"))
            .count(),
        2_379
    );
    let requested = |rows: &[Row]| {
        rows.iter()
            .filter(|row| row.fields["requested"] != "")
            .count()
    };
    assert_eq!((requested(&rows("train")), requested(&test)), (1_877, 897));
}
