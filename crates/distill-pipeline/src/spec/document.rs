//! What reads a YAML document of any kind with places and findings: a tree whose nodes know where
//! they stand, sections declared by [`document_section!`](crate::document_section), one list of findings.
//!
//! The pipeline and the eval suite are read by it; another crate declares its own sections and hands
//! them to [`read`].

pub use super::{
    bounds::{Bounds, NOT_NEGATIVE, OPEN_SHARE, POSITIVE, SHARE},
    finding::{Code, Document, Finding, Findings, SourceText},
    nearest::nearest,
    read::{At, Key, Place, Read, Reader, Section},
    reference::reference_of,
    tree::{Entry, Node, NodeValue},
};

/// A text as the document that it should be, and what is wrong with it. The value is absent where it
/// could not be read at all; a value with findings lacks what they name.
pub fn read<T: Read>(source: &SourceText) -> (Option<T>, Vec<Finding>) {
    super::read_document(source, T::read)
}
