//! A report as headings, sentences and tables, before anybody decided how it looks.

/// A whole report.
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) decision: Line,
    /// What the decision means, in one plain sentence.
    pub(crate) meaning: Line,
    /// Why, in one sentence.
    pub(crate) reason: Line,
    /// Of whom, on how many rows, at which margin.
    pub(crate) scope: Line,
    /// What to type next: what for, which may be empty, and the command.
    pub(crate) next: Option<(String, String)>,
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
    /// Counts with shades.
    Matrix(Matrix),
    /// Rows of the user with the answers to them, side by side.
    Cases(Vec<Case>),
    /// A finished SVG; renderings without pictures leave it out.
    Figure {
        svg: String,
        caption: String,
    },
    /// A command to type.
    Command(String),
    /// What few will open; the terminal leaves it out.
    Fold {
        summary: String,
        blocks: Vec<Block>,
    },
    /// Words and their meanings.
    Terms(Vec<(&'static str, &'static str)>),
}

/// One row of the user.
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) text: Line,
    /// Who and what; the first is the reference.
    pub(crate) answers: Vec<(String, Line)>,
    pub(crate) note: Option<String>,
}

/// A square of counts whose columns are numbered like its rows.
pub(crate) struct Matrix {
    pub(crate) caption: String,
    pub(crate) rows: Vec<String>,
    /// The titles of the columns beyond the rows' own.
    pub(crate) more: Vec<String>,
    pub(crate) counts: Vec<Vec<usize>>,
    pub(crate) simulated: bool,
}

impl Matrix {
    /// The short title of each column.
    pub(crate) fn columns(&self) -> Vec<String> {
        (1..=self.rows.len())
            .map(|place| place.to_string())
            .chain(self.more.iter().cloned())
            .collect()
    }
}

/// Text that may carry a number from a simulated provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) simulated: bool,
    /// Whether it is a text of the user's rows or of a model, and so may be long and of any script.
    pub(crate) quoted: bool,
}

impl Line {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A text of a row or of a model, cut where it is too long to be read here.
    pub(crate) fn quoted(text: &str) -> Self {
        let mut shown: String = text.chars().take(QUOTED).collect();
        let rest = text.chars().count().saturating_sub(QUOTED);
        if rest > 0 {
            use std::fmt::Write;
            let _ = write!(shown, "… [{} more characters]", crate::number::count(rest));
        }
        Self {
            text: shown,
            quoted: true,
            ..Self::default()
        }
    }

    pub(crate) fn simulated(self, simulated: bool) -> Self {
        Self { simulated, ..self }
    }

    /// Marks it when a simulated provider touched it. A missing number needs no mark.
    pub(crate) fn marked(text: impl Into<String>, simulated: bool) -> Self {
        let text = text.into();
        Self {
            simulated: simulated && text != crate::number::MISSING,
            text,
            quoted: false,
        }
    }
}

/// The mark beside a number, and what a rendering says about it once.
pub(crate) const MARK: &str = "SIM";
pub(crate) const MARK_MEANS: &str = "SIM: a simulated provider made or shaped this number.";

/// Rows of a table that a rendering shows; `report.json` has them all.
pub(crate) const MOST_ROWS: usize = 400;
/// Characters of a quoted text that are shown.
const QUOTED: usize = 1500;

/// A text without what would steer the reader's terminal or page: control characters become
/// spaces, and those that turn the direction of the text around them are named instead.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                use std::fmt::Write;
                let _ = write!(shown, "[U+{:04X}]", u32::from(character));
            }
            '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => shown.push(' '),
            control if control.is_control() => shown.push(' '),
            _ => shown.push(character),
        }
    }
    shown
}

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
