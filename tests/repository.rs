//! Every pipeline and every card of the repository can be used as it stands.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::fixture::{Job, PIPELINE};

pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap().to_owned()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn every_pipeline_is_in_order() {
    let pipelines = files("pipelines", "yaml");
    assert!(pipelines.len() >= 4, "{pipelines:?}");
    let job = Job::new(PIPELINE);
    let data = std::env::var_os("DISTILL_DATA_DIR");
    for pipeline in pipelines {
        let name = pipeline.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&pipeline).unwrap();
        if text.contains("{dataset: ") && data.is_none() {
            eprintln!("skipped: every_pipeline_is_in_order ({name}): DISTILL_DATA_DIR is not set");
            continue;
        }
        let mut check = job.distill(["check"]);
        check.arg(&pipeline).current_dir(root());
        if let Some(data) = &data {
            check.env("DISTILL_DATA_DIR", data);
        }
        let checked = check.output().unwrap();
        let told = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{name}: {told}");
        assert!(
            text.starts_with('#') && text.contains("# Needs:") && text.contains("# Takes:"),
            "{name} does not say what it shows, needs and takes"
        );
    }
}

#[test]
fn every_card_can_be_shown() {
    let cards: Vec<PathBuf> = fs::read_dir(root().join("datasets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("card.yaml").is_file())
        .collect();
    assert!(cards.len() >= 3, "{cards:?}");
    let job = Job::new(PIPELINE);
    for card in cards {
        let name = card.file_name().unwrap().to_string_lossy().into_owned();
        let mut show = job.distill(["data", "show", &name]);
        let shown = show.current_dir(root()).output().unwrap();
        let told = String::from_utf8_lossy(&shown.stdout);
        assert!(
            shown.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&shown.stderr)
        );
        assert!(
            told.contains("licence") || told.contains("Licence"),
            "{name}: {told}"
        );
    }
}
