//! The forms of a report: one file each, one line each in [`FORMATS`].

use crate::RunReport;

pub(crate) mod html;
mod json;
mod junit;
mod markdown;
mod terminal;

pub use html::html;
pub use json::{ReadError, json, read};
pub use junit::junit;
pub use markdown::{markdown, summary};
pub use terminal::terminal;

/// One form of a report.
pub struct Format {
    pub name: &'static str,
    /// The file it is written to.
    pub file: &'static str,
    pub description: &'static str,
    pub render: fn(&RunReport) -> String,
}

/// Every form there is.
pub static FORMATS: &[Format] = &[
    Format {
        name: "terminal",
        file: "report.txt",
        description: "the headline figures as plain text, at most 100 columns wide",
        render: terminal,
    },
    Format {
        name: "markdown",
        file: "report.md",
        description: "the whole report without figures",
        render: markdown,
    },
    Format {
        name: "json",
        file: "report.json",
        description: "the report's data, as crates/distill-report/schema/report.schema.json says",
        render: json,
    },
    Format {
        name: "html",
        file: "report.html",
        description: "the whole report in one file that loads nothing",
        render: html,
    },
    Format {
        name: "junit",
        file: "junit.xml",
        description: "the gate as test cases, for a CI system",
        render: junit,
    },
    Format {
        name: "summary",
        file: "summary.md",
        description: "verdict, models, differences and cost in at most 60 lines of Markdown, for a pull request",
        render: summary,
    },
];
