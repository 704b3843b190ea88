//! What is looked for, and where it stands.

use std::sync::LazyLock;

use regex::Regex;

use super::restore::spans;
use crate::config::Detector;

/// Something that was found, in bytes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: &'a str,
}

/// Everything that the detectors find, in order and without overlap: where findings overlap they are
/// one, of the kind that begins first (the longer of two that begin together).
pub(super) fn find<'a>(text: &str, detectors: &'a [Detector]) -> Vec<Found<'a>> {
    let mut all = Vec::new();
    for detector in detectors {
        let kind = detector.name();
        let mut add = |start: usize, end: usize| all.push(Found { start, end, kind });
        match detector {
            Detector::Email => emails(text, &mut add),
            Detector::Phone => phones(text, &mut add),
            Detector::Card => cards(text, &mut add),
            Detector::Key => keys(text, &mut add),
            Detector::Iban => ibans(text, &mut add),
            Detector::Custom { pattern, .. } => {
                for found in pattern.find_iter(text) {
                    if !found.is_empty() {
                        add(found.start(), found.end());
                    }
                }
            }
        }
    }
    // A placeholder stands for something that was found already.
    if !all.is_empty() {
        let placeholders: Vec<(usize, usize)> = spans(text)
            .map(|(start, placeholder)| (start, start + placeholder.len()))
            .collect();
        all.retain(|found| {
            let next = placeholders.partition_point(|(_, end)| *end <= found.start);
            placeholders
                .get(next)
                .is_none_or(|(start, _)| found.end <= *start)
        });
    }
    all.sort_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
    let mut merged: Vec<Found<'a>> = Vec::with_capacity(all.len());
    for found in all {
        match merged.last_mut() {
            Some(last) if found.start < last.end => last.end = last.end.max(found.end),
            _ => merged.push(found),
        }
    }
    merged
}

/// A pattern of this file. It is held by the tests of this module, all of which use every pattern.
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of this file is valid")
}

fn emails(text: &str, add: &mut impl FnMut(usize, usize)) {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"[\p{L}\p{N}][\p{L}\p{N}._%+'-]*@[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?(?:\.[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?)*\.\p{L}{2,24}",
        )
    });
    if text.contains('@') {
        for found in PATTERN.find_iter(text) {
            add(found.start(), found.end());
        }
    }
}

/// International numbers (E.164 with a plus or `00`), and national ones in groups as they are written
/// in North America and in Europe. Numbers without a sign of being one are left alone: an order's
/// number looks the same.
fn phones(text: &str, add: &mut impl FnMut(usize, usize)) {
    static INTERNATIONAL: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?:\+|00)[1-9](?:[ .\-/]?\(?\d\)?){6,14}"));
    static NATIONAL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            // (212) 555-0123, 212-555-0123, 1 212.555.0123
            r"(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}",
            // 01 23 45 67 89
            r"|0[1-9](?:[ .-]\d{2}){4}",
            // 030 1234567, 0171/1234567, 020 7946 0958, 01632 960 123
            r"|\(?0[1-9]\d{1,4}\)?[ /-]\d{3,4}[ -]?\d{3,5}",
        ))
    });
    for international in [true, false] {
        let pattern: &Regex = if international {
            &INTERNATIONAL
        } else {
            &NATIONAL
        };
        for found in pattern.find_iter(text) {
            let digits = found.as_str().bytes().filter(u8::is_ascii_digit).count();
            // Without its plus, a number that follows other digits is a part of them.
            let follows = !found.as_str().starts_with('+')
                && text[..found.start()]
                    .strip_suffix(' ')
                    .is_some_and(|before| before.ends_with(|letter: char| letter.is_ascii_digit()));
            if (7..=17).contains(&digits)
                && !follows
                && stands_alone(text, found.start(), found.end())
            {
                add(found.start(), found.end());
            }
        }
    }
}

/// Whether no number or word goes on at either end.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_';
    let before = text[..start].chars().next_back();
    if before.is_some_and(|letter| inside(letter) || matches!(letter, '.' | '-' | '/' | '+')) {
        return false;
    }
    let mut after = text[end..].chars();
    match after.next() {
        Some(letter) if inside(letter) => false,
        // The end of a sentence is no part of a number.
        Some('.' | '-' | '/') => after.next().is_none_or(|letter| !letter.is_ascii_digit()),
        _ => true,
    }
}

/// Payment cards: 13 to 19 digits in whole groups, as issued (ISO/IEC 7812), whose Luhn sum holds.
fn cards(text: &str, add: &mut impl FnMut(usize, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let groups = groups(bytes, at);
        let end = groups.last().map_or(at + 1, |group| group.1);
        // A number with a letter or a comma before it is something else, or part of it.
        let mut first = 0;
        while first < groups.len() {
            let card = card(bytes, &groups[first..]);
            match card {
                Some(count) => {
                    let (start, end) = (groups[first].0, groups[first + count - 1].1);
                    if !word(bytes, start.checked_sub(1)) && !word(bytes, Some(end)) {
                        add(start, end);
                    }
                    first += count;
                }
                None => first += 1,
            }
        }
        at = end;
    }
}

fn word(bytes: &[u8], at: Option<usize>) -> bool {
    at.and_then(|at| bytes.get(at))
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
}

/// The groups of digits from here on, parted by single blanks or hyphens.
fn groups(bytes: &[u8], from: usize) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    let mut start = from;
    loop {
        let mut end = start;
        while bytes.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        if end == start {
            return groups;
        }
        groups.push((start, end));
        if !matches!(bytes.get(end), Some(b' ' | b'-')) {
            return groups;
        }
        start = end + 1;
    }
}

/// How many of the first groups are a card's number.
fn card(bytes: &[u8], groups: &[(usize, usize)]) -> Option<usize> {
    let mut digits: Vec<u8> = Vec::with_capacity(19);
    let mut best = None;
    for (count, (start, end)) in groups.iter().enumerate() {
        if digits.len() + (end - start) > 19 {
            break;
        }
        digits.extend(bytes[*start..*end].iter().map(|byte| byte - b'0'));
        if digits.len() >= 13 && issued(&digits) && luhn(&digits) {
            best = Some(count + 1);
        }
    }
    best
}

/// Whether a network gives out numbers that begin like this and are as long.
fn issued(digits: &[u8]) -> bool {
    let first = u32::from(digits[0]) * 10 + u32::from(digits[1]);
    match first {
        // Visa
        40..=49 => matches!(digits.len(), 13 | 16 | 19),
        // Mastercard
        22..=27 | 51..=55 => digits.len() == 16,
        // American Express
        34 | 37 => digits.len() == 15,
        // Diners Club
        30 | 36 | 38 | 39 => matches!(digits.len(), 14 | 16 | 19),
        // JCB, Discover, UnionPay, RuPay
        35 | 60 | 62 | 64 | 65 | 81 => digits.len() >= 16,
        // Maestro
        50 | 56..=69 => true,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match (place % 2, digit) {
                (0, digit) => digit,
                (_, digit) if digit > 4 => digit * 2 - 9,
                (_, digit) => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Keys and tokens whose form says what they are.
fn keys(text: &str, add: &mut impl FnMut(usize, usize)) {
    static TOKENS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(concat!(
            r"\b(?:",
            // OpenAI, Anthropic and their like; Stripe
            r"sk-[A-Za-z0-9_-]{16,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
            // Amazon
            r"|(?:AKIA|ASIA)[0-9A-Z]{16}",
            // GitHub, GitLab, npm
            r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36}",
            // Google, Groq, xAI, Hugging Face, Slack
            r"|AIza[0-9A-Za-z_-]{35}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{30,}|xox[abeoprs]-[A-Za-z0-9-]{10,}",
            // JSON web tokens (RFC 7519)
            r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
            r")",
        ))
    });
    // RFC 6750: the token alone is taken out.
    static BEARER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?i)\bbearer[ \t]+([A-Za-z0-9._~+/-]{16,}=*)"));
    // RFC 7468; a block that was cut off goes on to the end.
    static BLOCK: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
        )
    });
    for found in TOKENS.find_iter(text) {
        add(found.start(), found.end());
    }
    for found in BEARER.captures_iter(text) {
        if let Some(token) = found.get(1) {
            add(token.start(), token.end());
        }
    }
    if text.contains("PRIVATE KEY-----") {
        for found in BLOCK.find_iter(text) {
            add(found.start(), found.end());
        }
    }
}

/// Lengths of account numbers by country (ISO 13616, the registry of SWIFT).
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

fn ibans(text: &str, add: &mut impl FnMut(usize, usize)) {
    static START: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b[A-Z]{2}\d{2}[ -]?[A-Z0-9]"));
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = START.find_at(text, from) {
        from = found.start() + 2;
        let country = found.as_str()[..2].to_ascii_uppercase();
        let Some((_, length)) = IBAN_LENGTHS.iter().find(|(name, _)| *name == country) else {
            continue;
        };
        let Some(end) = take(bytes, found.start(), *length) else {
            continue;
        };
        if !word(bytes, Some(end)) && mod97(&bytes[found.start()..end]) {
            add(found.start(), end);
            from = end;
        }
    }
}

/// Where that many letters and digits end, parted by single blanks or hyphens at most.
fn take(bytes: &[u8], start: usize, length: usize) -> Option<usize> {
    let (mut at, mut seen) = (start, 0);
    let mut parted = false;
    while seen < length {
        match bytes.get(at)? {
            byte if byte.is_ascii_alphanumeric() => {
                seen += 1;
                parted = false;
            }
            b' ' | b'-' if !parted => parted = true,
            _ => return None,
        }
        at += 1;
    }
    Some(at)
}

/// The check of ISO 13616: the number with its first four places moved to the end is 1 modulo 97.
fn mod97(bytes: &[u8]) -> bool {
    let places: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(u8::is_ascii_alphanumeric)
        .collect();
    let (head, rest) = places.split_at(4);
    let rest = rest.iter().chain(head).fold(0_u32, |rest, place| {
        if place.is_ascii_digit() {
            (rest * 10 + u32::from(place - b'0')) % 97
        } else {
            (rest * 100 + u32::from(place.to_ascii_uppercase() - b'A') + 10) % 97
        }
    });
    rest == 1
}
