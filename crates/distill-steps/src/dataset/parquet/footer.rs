//! How large a schema claims to be, before a decoder that recurses over it sees it.
//!
//! A file ends with its metadata, their length in four bytes (little-endian) and `PAR1`
//! (<https://parquet.apache.org/docs/file-format/>). The metadata are in Thrift's compact protocol
//! and begin with the version (field 1, an integer) and the schema (field 2, a list of structures,
//! which are the tree in depth-first order): the tree is no deeper than the list is long.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

/// Bytes of the length and `PAR1`.
const TAIL: u64 = 8;
/// Bytes that hold all up to the length of the schema's list.
const HEAD: u64 = 32;
/// Bytes of one integer of 64 bits at most.
const MOST_VARINT_BYTES: usize = 10;

const INTEGER_FIELD: u8 = 0x15;
const LIST_FIELD: u8 = 0x19;
const STRUCTURE: u8 = 12;
/// In place of a length that does not fit into four bits.
const LONG_LIST: u8 = 15;

/// The columns, groups and the root that the schema lists; none of a file that is no Parquet.
///
/// # Errors
/// What is wrong with metadata that do not begin with a version and a schema.
pub(super) fn schema_elements(file: &mut File) -> Result<Option<u64>, String> {
    let unreadable = |error: io::Error| format!("its end cannot be read: {error}");
    let length = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let Some(tail_start) = length.checked_sub(TAIL) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(tail_start)).map_err(unreadable)?;
    let mut tail = [0; TAIL as usize];
    file.read_exact(&mut tail).map_err(unreadable)?;
    let [a, b, c, d, magic @ ..] = tail;
    let metadata = u64::from(u32::from_le_bytes([a, b, c, d]));
    let Some(start) = tail_start.checked_sub(metadata) else {
        return Ok(None);
    };
    if magic != *b"PAR1" {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    let mut head = Vec::new();
    file.take(HEAD.min(metadata))
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    elements(&mut head.iter().copied())
        .map(Some)
        .ok_or_else(|| "its metadata do not begin with a version and a schema".to_owned())
}

fn elements(head: &mut impl Iterator<Item = u8>) -> Option<u64> {
    if head.next()? != INTEGER_FIELD {
        return None;
    }
    varint(head)?;
    if head.next()? != LIST_FIELD {
        return None;
    }
    let list = head.next()?;
    match (list & 0x0F, list >> 4) {
        (STRUCTURE, LONG_LIST) => varint(head),
        (STRUCTURE, length) => Some(length.into()),
        _ => None,
    }
}

/// An unsigned number in groups of seven bits, the lowest first.
fn varint(head: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0;
    for place in 0..MOST_VARINT_BYTES {
        let byte = head.next()?;
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
