//! What a number of a document may be.

use super::{
    finding::{Code, Finding, SourceText},
    read::At,
};

/// A condition on one number, and its words.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub holds: fn(f64) -> bool,
    /// As a finding says it after "must be": "above 0 and below 1".
    pub words: &'static str,
}

pub const SHARE: Bounds = Bounds {
    holds: |value| (0.0..=1.0).contains(&value),
    words: "between 0 and 1",
};
pub const OPEN_SHARE: Bounds = Bounds {
    holds: |value| value > 0.0 && value < 1.0,
    words: "above 0 and below 1",
};
pub const POSITIVE: Bounds = Bounds {
    holds: |value| value > 0.0,
    words: "above 0",
};
pub const NOT_NEGATIVE: Bounds = Bounds {
    holds: |value| value >= 0.0,
    words: "0 or more",
};

impl Bounds {
    /// What is wrong with a number at `path`, if anything.
    pub fn finding(
        &self,
        source: &SourceText,
        at: &At<f64>,
        path: &str,
        hint: &str,
    ) -> Option<Finding> {
        if (self.holds)(at.value) {
            return None;
        }
        let message = format!("`{path}` is {}, and must be {}", at.value, self.words);
        let finding = source
            .finding(Code::OutOfRange, at.span.clone(), message)
            .label(format!("not {}", self.words))
            .hint(hint);
        Some(finding)
    }
}
