//! Files that lie about themselves.

use std::io::Cursor;

use super::*;

/// A safetensors file with this header and this many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn refusal(bytes: &[u8]) -> String {
    let error = read_tensors(bytes, "the file").unwrap_err();
    let message = error.to_string();
    assert!(message.contains("the file"), "{message}");
    message
}

#[test]
fn a_header_longer_than_the_file_is_refused_unread() {
    for claimed in [1 << 60, u64::MAX, 17 << 20, 100] {
        let mut bytes = u64::to_le_bytes(claimed).to_vec();
        bytes.extend(b"{}");
        assert!(refusal(&bytes).contains(&claimed.to_string()));
    }
    assert!(refusal(b"").contains("0 bytes"));
    assert!(refusal(b"1234567").contains("7 bytes"));
}

#[test]
fn headers_that_contradict_themselves_are_refused_by_tensor() {
    let entry = |shape: &str, offsets: &str| {
        format!(r#"{{"w": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    for (header, data, reason) in [
        (entry("[2]", "[0, 4]"), 4, "takes 8 bytes, its place has 4"),
        (entry("[2]", "[0, 8]"), 4, "was cut off"),
        (entry("[2]", "[0, 8]"), 12, "belongs to another header"),
        (entry("[2]", "[4, 12]"), 12, "leaves a gap"),
        (entry("[2]", "[8, 0]"), 8, "no file can have"),
        (
            entry("[4294967296, 4294967296, 4294967296]", "[0, 8]"),
            8,
            "no file can have",
        ),
        (
            entry("[2]", "[18446744073709551608, 18446744073709551615]"),
            8,
            "no file can have",
        ),
        (entry("[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4, "9 dimensions"),
        (entry("[-2]", "[0, 8]"), 8, "not readable"),
        (entry("[2]", "[0, 1e30]"), 8, "not readable"),
        ("[]".to_owned(), 0, "not readable"),
        (r#"{"w": {"dtype": "F32"}}"#.to_owned(), 0, "not readable"),
        ("{".repeat(10_000), 0, "not readable"),
        (
            r#"{"w": {"dtype": "Q9", "shape": [], "data_offsets": [0, 0]}}"#.to_owned(),
            0,
            "`Q9`",
        ),
    ] {
        let message = refusal(&file(&header, data));
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn tensors_that_overlap_or_come_twice_are_refused() {
    let two = |name: &str, offsets: &str| {
        format!(
            r#"{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
                "{name}": {{"dtype": "F32", "shape": [2], "data_offsets": {offsets}}}}}"#
        )
    };
    assert!(refusal(&file(&two("b", "[4, 12]"), 12)).contains("`b` overlaps"));
    assert!(refusal(&file(&two("b", "[0, 8]"), 8)).contains("overlaps"));
    assert!(refusal(&file(&two("a", "[8, 16]"), 16)).contains("comes twice"));
    let good = read_tensors(&file(&two("b", "[8, 16]"), 16), "the file").unwrap();
    assert_eq!(good.len(), 2);
}

#[test]
fn other_types_and_values_that_are_not_finite_are_named() {
    let typed = |dtype: &str, value: &[u8]| {
        let header = format!(
            r#"{{"w": {{"dtype": "{dtype}", "shape": [1], "data_offsets": [0, {}]}}}}"#,
            value.len()
        );
        let mut bytes = file(&header, 0);
        bytes.extend(value);
        bytes
    };
    let error = read_tensors(&typed("I64", &[0; 8]), "the file").unwrap_err();
    assert!(
        error.to_string().contains("`w` is stored as I64"),
        "{error}"
    );
    for (dtype, value) in [
        ("F32", f32::NAN.to_le_bytes().to_vec()),
        ("F32", f32::NEG_INFINITY.to_le_bytes().to_vec()),
        ("BF16", vec![0x80, 0x7f]),
        ("F16", vec![0x00, 0xfc]),
    ] {
        let error = read_tensors(&typed(dtype, &value), "the file").unwrap_err();
        assert!(matches!(&error, DecoderError::NotFinite { name, at: 0 } if name == "w"));
    }
}

#[test]
fn every_cut_of_a_file_is_refused() {
    let bytes = weights(1).to_safetensors(Precision::Bf16).unwrap();
    let header = Header::read(&mut Cursor::new(&bytes), "the file").unwrap();
    assert_eq!(header.entries.len(), weights(1).tensors().len());
    for length in (0..bytes.len()).step_by(97) {
        refusal(&bytes[..length]);
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = read_tensors(&bytes, "the file");
    }

    #[test]
    fn any_header_gives_an_answer(text in r#"[\{\}\[\]",:a-zF0-9-]{0,200}"#) {
        let _ = read_tensors(&file(&text, 16), "the file");
    }
}
