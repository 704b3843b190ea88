//! The fixtures are made by `scripts/fixtures/parquet.py`.

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn table(name: &str) -> Result<Table, String> {
    let path = fixture(name);
    read_table(&path, Format::Parquet).map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        format!("{error}\nhelp: {hint}").replace(path.to_str().unwrap(), "FILE")
    })
}

#[test]
fn nested_columns_nulls_and_large_integers_are_read_as_json_would_be() {
    let snappy = table("rows-snappy.parquet").unwrap();
    assert_eq!(
        snappy.columns,
        [
            "question", "solution", "tags", "number", "unsigned", "score", "single", "day",
            "price", "raw"
        ]
    );
    let rows: Vec<Value> = snappy
        .records
        .iter()
        .map(|record| Value::Object(record.fields.clone()))
        .collect();
    assert_eq!(
        rows,
        [
            json!({
                "question": "Wie viel kostet ein Päckchen? €",
                "solution": {"text": "4 * 2 = 8\nA: 8", "is_correct": true, "steps": [{"line": "4 * 2 = 8"}]},
                "tags": ["mail", "price"],
                "number": i64::MAX,
                "unsigned": u64::MAX,
                "score": 0.1,
                "single": 0.1,
                "day": "2024-02-29",
                "price": "12.30",
                "raw": "bytes that are text",
            }),
            json!({
                "question": "",
                "solution": {"text": null, "is_correct": null, "steps": []},
                "tags": [],
                "number": i64::MIN,
                "unsigned": 0,
                "score": null,
                "single": -1.5,
                "day": null,
                "price": null,
                "raw": null,
            }),
            json!({
                "question": null,
                "solution": null,
                "tags": null,
                "number": null,
                "unsigned": null,
                "score": null,
                "single": null,
                "day": "1970-01-01",
                "price": "-0.05",
                "raw": "",
            }),
        ]
    );
    assert_eq!(table("rows-plain.parquet").unwrap(), snappy);
}

#[test]
fn a_pipeline_reads_rows_and_answers_from_parquet() {
    let path = fixture("labels.parquet");
    let rows = read_rows(
        &Resolved::from_parts(&path, Format::of(&path).unwrap()),
        Some("label"),
    )
    .unwrap();
    assert_eq!(rows.len(), 120);
    assert_eq!(
        rows[119],
        row(
            "000119",
            json!({"text": "message 59 about delivery"}),
            Some("delivery")
        )
    );
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_a_way_on() {
    let latin = table("latin1.parquet").unwrap_err();
    assert!(
        latin.contains("FILE: row 2: a text is not UTF-8"),
        "{latin}"
    );
    let zstd = table("rows-zstd.parquet").unwrap_err();
    assert!(
        zstd.contains("column `question` is compressed with ZSTD") && zstd.contains("snappy"),
        "{zstd}"
    );
    let folder = Folder::new();
    let text = folder.write("rows.parquet", "question,answer\n1,2\n");
    let error = folder.told(&read_table(&text, Format::Parquet).unwrap_err());
    assert!(
        error.contains("is not Parquet, or it is cut off"),
        "{error}"
    );
    let missing =
        folder.told(&read_table(&folder.path("no.parquet"), Format::Parquet).unwrap_err());
    assert!(missing.contains("cannot be read"), "{missing}");
}

/// A file that was cut anywhere is refused, and one with any byte changed is refused or read: it
/// never ends the program.
#[test]
fn torn_and_altered_files_are_no_panic() {
    let folder = Folder::new();
    // The decoder's own assertions are caught; their words would only fill the test's output.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut read = 0;
    let mut refused = 0;
    for name in ["rows-snappy.parquet", "rows-plain.parquet"] {
        let whole = fs::read(fixture(name)).unwrap();
        for length in 0..whole.len() {
            let path = folder.write("cut.parquet", &whole[..length]);
            assert!(
                read_table(&path, Format::Parquet).is_err(),
                "{name} cut to {length} bytes"
            );
        }
        for at in 0..whole.len() {
            for flip in [0xFF, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let path = folder.write("altered.parquet", &bytes);
                match read_table(&path, Format::Parquet) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

/// A file without rows, whose one column lies in as many groups in one another, or that has as many
/// columns beside one another.
fn file_of_groups(groups: u32, columns: u32) -> Vec<u8> {
    let varint = |mut value: u32, out: &mut Vec<u8>| {
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    let mut metadata = vec![0x15, 2, 0x19, 0xFC]; // version 1, then a list of structures
    varint(1 + groups + columns, &mut metadata);
    for group in 0..=groups {
        if group == 0 {
            metadata.extend([0x48, 1, b'r', 0x15]); // the root: a name, then its children
        } else {
            metadata.extend([0x35, 0, 0x18, 1, b'g', 0x15]); // required, the same
        }
        varint(2 * if group == groups { columns } else { 1 }, &mut metadata);
        metadata.push(0);
    }
    for column in 0..columns {
        let name = format!("c{column}");
        metadata.extend([0x15, 2, 0x25, 0, 0x18]); // a required i32 with a name
        varint(u32::try_from(name.len()).unwrap(), &mut metadata);
        metadata.extend(name.bytes());
        metadata.push(0);
    }
    metadata.extend([0x16, 0, 0x19, 0x0C, 0]); // no rows, no row groups
    let length = u32::try_from(metadata.len()).unwrap();
    [b"PAR1", &metadata[..], &length.to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn a_schema_without_bounds_is_refused_before_the_decoder_recurses_over_it() {
    let folder = Folder::new();
    let told = |groups, columns| {
        let path = folder.write("deep.parquet", file_of_groups(groups, columns));
        read_table(&path, Format::Parquet).map_err(|error| folder.told(&error))
    };
    let deep = told(200_000, 1).unwrap_err();
    assert!(
        deep.contains("its schema has 200002 columns and groups, and at most 10000 are read"),
        "{deep}"
    );
    assert!(told(0, 10_000).unwrap_err().contains("10001 columns"));
    let nested = told(9_998, 1).unwrap_err();
    assert!(
        nested.contains("nested 9999 levels deep, and at most 100 are read"),
        "{nested}"
    );
    assert!(told(100, 1).unwrap_err().contains("101 levels"));
    for (groups, columns) in [(99, 1), (0, 9_999)] {
        let read = told(groups, columns).unwrap_err();
        assert!(read.contains("has no rows"), "{read}");
    }
}

#[test]
fn metadata_that_begin_with_something_else_are_refused() {
    let folder = Folder::new();
    for at in [4, 6, 7] {
        let mut bytes = file_of_groups(1, 1);
        bytes[at] ^= 1;
        let path = folder.write("odd.parquet", bytes);
        let error = folder.told(&read_table(&path, Format::Parquet).unwrap_err());
        assert!(
            error.contains("do not begin with a version and a schema"),
            "{at}: {error}"
        );
    }
}
