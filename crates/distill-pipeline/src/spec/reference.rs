//! The reference of the spec, made from the comments of its types.

use super::{read::Section, written::Spec};

/// Every section and key as Markdown.
pub fn reference() -> String {
    reference_of("The pipeline file", &Spec::section())
}

/// The part of [`reference`] that tells the section at a dotted path, `train.decoder`, and those below
/// it. None where no section has this path.
pub fn reference_of_part(path: &str) -> Option<String> {
    let below = format!("{path}.");
    let text = reference();
    let parts: String = text
        .split("\n## `")
        .skip(1)
        .filter(|part| {
            let name = part.split('`').next().unwrap_or_default();
            name == path || name.starts_with(&below)
        })
        .flat_map(|part| ["## `", part, "\n"])
        .collect();
    (!parts.is_empty()).then_some(parts)
}

/// Every section and key below this one, as Markdown under a title.
pub fn reference_of(title: &str, section: &Section) -> String {
    let mut text = format!("# {title}\n\n");
    describe(&mut text, "", section, &mut Vec::new());
    text
}

/// What stands in two places is told at the first; the second says where that is.
fn describe(text: &mut String, path: &str, section: &Section, told: &mut Vec<(String, Section)>) {
    if !path.is_empty() {
        text.extend(["## `", path, "`\n\n"]);
    }
    if let Some((first, _)) = told.iter().find(|(_, other)| same(other, section)) {
        text.extend(["As `", first, "`.\n\n"]);
        return;
    }
    told.push((path.to_owned(), *section));
    text.push_str(&plain(section.documentation));
    text.push_str("\n\n| key | | value | meaning |\n|---|---|---|---|\n");
    for key in section.keys {
        let need = if key.required { "required" } else { "" };
        let meaning = plain(key.documentation).replace('|', "\\|");
        text.extend(["| `", key.name, "` | ", need, " | ", key.expected]);
        text.extend([
            " | ", &meaning, " |
",
        ]);
    }
    text.push('\n');
    for key in section.keys {
        if let Some(below) = key.section {
            let path = if path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{path}.{}", key.name)
            };
            describe(text, &path, &below(), told);
        }
    }
}

fn same(one: &Section, other: &Section) -> bool {
    let names = |section: &Section| section.keys.iter().map(|key| key.name).collect::<Vec<_>>();
    one.documentation == other.documentation && names(one) == names(other)
}

fn plain(documentation: &str) -> String {
    documentation
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
