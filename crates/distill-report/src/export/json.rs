use crate::{RunReport, SCHEMA};

/// The report's data.
pub fn json(report: &RunReport) -> String {
    let mut text = serde_json::to_string_pretty(report)
        .expect("a report has string keys and finite numbers only");
    text.push('\n');
    text
}

/// A text that is not a report of this version.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the report is not valid JSON of this shape")]
    Shape(#[from] serde_json::Error),
    #[error("the report has schema {found}, and this version reads {SCHEMA}")]
    Version { found: u32 },
}

/// Reads what [`json`] wrote.
///
/// # Errors
/// When the text is of another version or shape.
pub fn read(text: &str) -> Result<RunReport, ReadError> {
    /// The version is looked at first: another one explains a shape that does not fit.
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    let Version { schema } = serde_json::from_str(text)?;
    if schema != SCHEMA {
        return Err(ReadError::Version { found: schema });
    }
    Ok(serde_json::from_str(text)?)
}
