//! The workspace test binary.
