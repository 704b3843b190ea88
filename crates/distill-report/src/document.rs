//! A report as headings, sentences and tables, before anybody decided how it looks.

/// A whole report.
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) decision: Line,
    /// Set when a simulated provider touched anything.
    pub(crate) banner: Option<String>,
    pub(crate) sections: Vec<Section>,
}

pub(crate) struct Section {
    /// Unique; what links point at.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// Whether the terminal shows it.
    pub(crate) headline: bool,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) enum Block {
    Text(Line),
    Items(Vec<Line>),
    Table(Table),
    /// A finished SVG; renderings without pictures leave it out.
    Figure {
        svg: String,
        caption: String,
    },
    /// A command to type.
    Command(String),
}

/// Text that may carry a number from a simulated provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) simulated: bool,
}

impl Line {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            simulated: false,
        }
    }

    /// Marks it when a simulated provider touched it. A missing number needs no mark.
    pub(crate) fn marked(text: impl Into<String>, simulated: bool) -> Self {
        let text = text.into();
        Self {
            simulated: simulated && text != crate::number::MISSING,
            text,
        }
    }
}

/// The mark beside a number, and what a rendering says about it once.
pub(crate) const MARK: &str = "SIM";
pub(crate) const MARK_MEANS: &str = "SIM: a simulated provider made or shaped this number.";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) align: Align,
}

pub(crate) struct Table {
    /// What the table shows, in one line.
    pub(crate) caption: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Line>>,
    /// The row that the verdict is about.
    pub(crate) emphasised: Option<usize>,
}

impl Table {
    /// Column titles that start with `>` hold numbers.
    pub(crate) fn new(caption: impl Into<String>, titles: &[&str]) -> Self {
        let columns = titles
            .iter()
            .map(|title| match title.strip_prefix('>') {
                Some(title) => Column {
                    title: title.to_owned(),
                    align: Align::Right,
                },
                None => Column {
                    title: (*title).to_owned(),
                    align: Align::Left,
                },
            })
            .collect();
        Self {
            caption: caption.into(),
            columns,
            rows: Vec::new(),
            emphasised: None,
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<Line>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.caption);
        self.rows.push(cells);
    }
}
