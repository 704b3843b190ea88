//! What is wrong with a spec, in words that point at the user's own text.

use std::{fmt, ops::Range, sync::Arc};

use serde_json::json;

/// What kind of mistake a finding is. Stable: people search for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The text is not YAML.
    Syntax,
    /// The text goes beyond what a pipeline may be: too large, too deep, too many aliases.
    Limit,
    /// A key stands twice in one map.
    DuplicateKey,
    /// A key that its section does not have.
    UnknownKey,
    /// A key that must be there and is not.
    Missing,
    /// A value of another type than the key takes.
    WrongType,
    /// A name that nothing answers to: a vendor, a student, a control.
    UnknownName,
    /// A number outside what it can mean.
    OutOfRange,
    /// A template that does not compile.
    Template,
    /// A JSON schema that cannot be held.
    Schema,
    /// A value that cannot be used as it stands: an empty name, a repeated label.
    Invalid,
    /// Two parts that do not go together.
    Conflict,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 12] = [
        Self::Syntax,
        Self::Limit,
        Self::DuplicateKey,
        Self::UnknownKey,
        Self::Missing,
        Self::WrongType,
        Self::UnknownName,
        Self::OutOfRange,
        Self::Template,
        Self::Schema,
        Self::Invalid,
        Self::Conflict,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "spec::syntax",
            Self::Limit => "spec::limit",
            Self::DuplicateKey => "spec::duplicate_key",
            Self::UnknownKey => "spec::unknown_key",
            Self::Missing => "spec::missing",
            Self::WrongType => "spec::wrong_type",
            Self::UnknownName => "spec::unknown_name",
            Self::OutOfRange => "spec::out_of_range",
            Self::Template => "spec::template",
            Self::Schema => "spec::schema",
            Self::Invalid => "spec::invalid",
            Self::Conflict => "spec::conflict",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text that findings point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    pub(super) document: Document,
    pub(super) name: Arc<str>,
    pub(super) text: Arc<str>,
}

/// What a text is meant to be, in the words of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    Pipeline,
    Suite,
    /// A document that another crate defines.
    Other {
        /// "a pipeline".
        words: &'static str,
        /// How to begin one.
        beginning: &'static str,
    },
}

impl Document {
    /// "a pipeline".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Pipeline => "a pipeline",
            Self::Suite => "an eval suite",
            Self::Other { words, .. } => words,
        }
    }

    /// How to begin one.
    pub(super) fn beginning(self) -> &'static str {
        match self {
            Self::Pipeline => {
                "begin with `name:` and `task:`; `distill init your.csv` writes a pipeline for data"
            }
            Self::Suite => {
                "begin with `name:`, `task:` and `rows:`; evals/quickstart.yaml is an example"
            }
            Self::Other { beginning, .. } => beginning,
        }
    }
}

impl SourceText {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self::of(Document::Pipeline, name, text)
    }

    /// A text, under the name that findings show.
    pub fn of(document: Document, name: &str, text: &str) -> Self {
        Self {
            document,
            name: name.into(),
            text: text.into(),
        }
    }

    /// How findings name the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a finding at a place of this text.
    pub fn finding(&self, code: Code, span: Range<usize>, message: impl Into<String>) -> Finding {
        let span = self.on_characters(span);
        let before = &self.text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Finding {
            code,
            message: message.into(),
            label: String::new(),
            hint: None,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span,
        }
    }

    /// Moves a span onto character borders inside the text.
    fn on_characters(&self, span: Range<usize>) -> Range<usize> {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        start..floor(span.end).max(start)
    }

    /// The place of a line and a column, both from 1.
    pub(super) fn at(&self, line: usize, column: usize) -> Range<usize> {
        let lines = line.saturating_sub(1);
        let before: usize = self
            .text
            .split_inclusive('\n')
            .take(lines)
            .map(str::len)
            .sum();
        let inside: usize = self.text[before..]
            .chars()
            .take(column.saturating_sub(1))
            .map(char::len_utf8)
            .sum();
        let at = before + inside;
        at..at
    }

    fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default()
    }
}

impl miette::SourceCode for SourceText {
    fn read_span<'a>(
        &'a self,
        span: &miette::SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let inner = self.text.read_span(span, lines_before, lines_after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.name.to_string(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub message: String,
    /// What stands under the arrow.
    pub label: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Finding {
    /// Says what stands under the arrow.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Finding {}

impl miette::Diagnostic for Finding {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint
            .as_ref()
            .map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let length = self.span.len();
        Some(Box::new(std::iter::once(miette::LabeledSpan::new(
            label,
            self.span.start,
            length,
        ))))
    }
}

/// Everything that is wrong with one spec, in the order of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    source: SourceText,
    list: Vec<Finding>,
}

impl Findings {
    /// Everything that was found in a text, in whatever order it was found.
    pub fn new(source: SourceText, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (finding.span.start, finding.code));
        findings.dedup();
        Self {
            source,
            list: findings,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The name of the file the findings point into, as it was given.
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// For a terminal without colour, a log, a CI page.
    pub fn to_text(&self) -> String {
        self.list
            .iter()
            .map(|finding| self.finding_text(finding))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn finding_text(&self, finding: &Finding) -> String {
        let line = self.source.line(finding.line);
        let number = finding.line.to_string();
        let margin = " ".repeat(number.len());
        let before: String = line
            .chars()
            .take(finding.column - 1)
            .map(|character| if character == '\t' { '\t' } else { ' ' })
            .collect();
        let rest = line.chars().count().saturating_sub(finding.column - 1);
        let marked = self.source.text[finding.span.clone()]
            .lines()
            .next()
            .map_or(0, |text| text.chars().count());
        let arrow = "^".repeat(marked.min(rest).max(1));
        let mut text = format!(
            "error[{}]: {}\n{margin}--> {}:{}:{}\n{margin} |\n{number} | {line}\n{margin} | {}\n",
            finding.code,
            finding.message,
            self.source.name,
            finding.line,
            finding.column,
            format!("{before}{arrow} {}", finding.label).trim_end(),
        );
        if let Some(hint) = &finding.hint {
            text.extend([margin.as_str(), " = help: ", hint, "\n"]);
        }
        text
    }

    /// The same facts as the text, for a program.
    pub fn to_json(&self) -> serde_json::Value {
        self.list
            .iter()
            .map(|finding| {
                json!({
                    "code": finding.code.as_str(),
                    "message": finding.message,
                    "label": finding.label,
                    "hint": finding.hint,
                    "file": &*self.source.name,
                    "line": finding.line,
                    "column": finding.column,
                    "offset": finding.span.start,
                    "length": finding.span.len(),
                })
            })
            .collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(formatter, "{} has {count} {noun}", self.source.name)
    }
}

impl std::error::Error for Findings {}

impl miette::Diagnostic for Findings {
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(
            self.list
                .iter()
                .map(|finding| finding as &dyn miette::Diagnostic),
        ))
    }
}
