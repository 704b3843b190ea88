//! Values that are made up rather than chosen: names, clock times, dates, amounts, codes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick, word},
    lexicon::Lexicon,
};

const SMALL_NUMBERS: [&str; 13] = [
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "a couple of",
    "several",
];
const HOURS: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];
const ORDINALS: [&str; 12] = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "twelfth",
    "twentieth",
];
const PERSONS: [&str; 16] = [
    "adults",
    "guests",
    "persons",
    "visitors",
    "children",
    "kids",
    "people",
    "players",
    "seats",
    "students",
    "friends",
    "colleagues",
    "ladies",
    "men",
    "passengers",
    "members",
];
const CURRENCIES: [&str; 6] = ["pounds", "dollars", "euros", "quid", "bucks", "francs"];
const MAIL_HOSTS: [&str; 6] = [
    "mail.com",
    "inbox.org",
    "post.net",
    "web.co.uk",
    "letters.io",
    "fastmail.de",
];

/// A made-up value for a slot, or none when the slot is no such value.
pub(super) fn draw(lexicon: &Lexicon, slot: &str, rng: &mut ChaCha8Rng) -> Option<String> {
    Some(match slot {
        "given" => given(lexicon, rng),
        "surname" => surname(lexicon, rng),
        "person" => person(lexicon, rng),
        "city" => city(lexicon, rng),
        "street" => street(lexicon, rng),
        "address" => format!("{} {}", rng.random_range(1..400), street(lexicon, rng)),
        "clock" => clock(lexicon, rng),
        "weekday" => (*pick(lexicon.words("weekdays")?, rng)).to_owned(),
        "dayphrase" => day_phrase(lexicon, rng),
        "caldate" => calendar_date(lexicon, rng),
        "year" => rng.random_range(1975..2027).to_string(),
        "smallnum" => {
            if chance(0.5, rng) {
                rng.random_range(2..13).to_string()
            } else {
                (*pick(&SMALL_NUMBERS[..11], rng)).to_owned()
            }
        }
        "number" => number(rng),
        "count" => count(rng),
        "headcount" => headcount(lexicon, rng),
        "amount" => amount(rng),
        "weight" => weight(rng),
        "duration" => {
            let unit = pick(lexicon.words("time units")?, rng);
            format!("{} {unit}s", count(rng))
        }
        "size" => size(rng),
        "code" => code(rng),
        "phone" => phone(rng),
        "email" => format!(
            "{}{}@{}",
            given(lexicon, rng).to_lowercase(),
            rng.random_range(1..99),
            pick(&MAIL_HOSTS, rng)
        ),
        "seatclass" => (*pick(
            &[
                "first", "second", "economy", "business", "premium", "standard",
            ],
            rng,
        ))
        .to_owned(),
        "roomtype" => (*pick(
            &[
                "single",
                "double",
                "twin",
                "family",
                "king size",
                "sea view",
                "attic",
            ],
            rng,
        ))
        .to_owned(),
        _ => return None,
    })
}

/// A word that exists nowhere, so that copying it needs reading.
pub(super) fn invented(lexicon: &Lexicon, syllables: usize, rng: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    for _ in 0..syllables {
        for kind in ["onset", "nucleus", "coda"] {
            text.push_str(word(lexicon.name_parts(kind), rng));
        }
    }
    text
}

pub(super) fn title(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

fn given(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    if chance(0.65, rng) {
        (*pick(lexicon.name_parts("given"), rng)).to_owned()
    } else {
        let syllables = rng.random_range(1..3);
        title(&invented(lexicon, syllables, rng))
    }
}

fn surname(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    if chance(0.5, rng) {
        return (*pick(lexicon.name_parts("surname"), rng)).to_owned();
    }
    let syllables = rng.random_range(1..3);
    let stem = invented(lexicon, syllables, rng);
    title(&format!(
        "{stem}{}",
        pick(lexicon.name_parts("ending"), rng)
    ))
}

fn person(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    if chance(0.85, rng) {
        format!("{} {}", given(lexicon, rng), surname(lexicon, rng))
    } else {
        given(lexicon, rng)
    }
}

fn city(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    if chance(0.4, rng)
        && let Some(cities) = lexicon.words("cities")
    {
        return title(word(cities, rng));
    }
    let stem = invented(lexicon, 1, rng);
    title(&format!(
        "{stem}{}",
        pick(&["ton", "ville", "burg", "ham", "port", "a", "o"], rng)
    ))
}

fn street(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let kind = *pick(lexicon.name_parts("street"), rng);
    let name = if chance(0.5, rng)
        && let Some(trees) = lexicon.words("trees")
    {
        (*pick(trees, rng)).to_owned()
    } else {
        surname(lexicon, rng).to_lowercase()
    };
    format!("{name} {kind}")
}

fn clock(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let hour = rng.random_range(1..13_usize);
    let minute = *pick(&[0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55], rng);
    let half = *pick(&["am", "pm"], rng);
    let space = if chance(0.4, rng) { " " } else { "" };
    let spoken = HOURS[hour - 1];
    match rng.random_range(0..16) {
        0..4 => format!("{hour}{space}{half}"),
        4..6 => format!("{hour}:{minute:02}{space}{half}"),
        6 => format!("{hour}.{minute:02}{space}{half}"),
        7 => format!("{:02}:{minute:02}", hour + 11),
        8 => format!("{hour}:{minute:02}"),
        9 => format!(
            "half past {}",
            if chance(0.5, rng) {
                spoken.to_owned()
            } else {
                hour.to_string()
            }
        ),
        10 => format!(
            "{} {} {spoken}",
            pick(&["quarter", "ten", "twenty", "five"], rng),
            pick(&["past", "to"], rng)
        ),
        11 => format!(
            "{} o'clock",
            if chance(0.5, rng) {
                spoken.to_owned()
            } else {
                hour.to_string()
            }
        ),
        12 => format!(
            "{spoken} {}",
            pick(&["thirty", "fifteen", "forty five", half], rng)
        ),
        13 => format!("{hour} at night"),
        14 => lexicon
            .words("parts of day")
            .map_or_else(|| "noon".to_owned(), |parts| (*pick(parts, rng)).to_owned()),
        _ => {
            if chance(0.5, rng) {
                hour.to_string()
            } else {
                spoken.to_owned()
            }
        }
    }
}

fn day_phrase(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let weekday = lexicon
        .words("weekdays")
        .map_or("monday", |days| word(days, rng));
    match rng.random_range(0..14) {
        0..4 => weekday.to_owned(),
        4 => format!("next {weekday}"),
        5 => format!("this {weekday}"),
        6 => format!(
            "{weekday} {}",
            pick(&["morning", "evening", "night", "afternoon"], rng)
        ),
        7 => (*pick(
            &[
                "tomorrow",
                "today",
                "tonight",
                "this weekend",
                "tomorrow night",
                "next week",
                "day after tomorrow",
                "this evening",
            ],
            rng,
        ))
        .to_owned(),
        8 => format!(
            "a week {}",
            pick(&["today", "later", "tomorrow", weekday], rng)
        ),
        9 => format!(
            "in {} {}",
            pick(&SMALL_NUMBERS[..4], rng),
            pick(&["days", "weeks"], rng)
        ),
        _ => calendar_date(lexicon, rng),
    }
}

fn calendar_date(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let day = rng.random_range(1..29);
    let suffix = match day % 10 {
        1 if day != 11 => "st",
        2 if day != 12 => "nd",
        3 if day != 13 => "rd",
        _ => "th",
    };
    let month = lexicon
        .words("months")
        .map_or("march", |months| word(months, rng));
    let short = &month[..3];
    match rng.random_range(0..10) {
        0..2 => format!("{month} {day}{suffix}"),
        2..4 => format!("{day}{suffix} of {month}"),
        4 => format!("{day} {month}"),
        5 => format!("the {day}{suffix}"),
        6 => format!("{short} {day}"),
        7 => format!("{}/{day}", rng.random_range(1..13)),
        8 => format!("{day}.{}.", rng.random_range(1..13)),
        _ => format!("{} of {month}", pick(&ORDINALS, rng)),
    }
}

fn number(rng: &mut ChaCha8Rng) -> String {
    let digits = rng.random_range(1..6);
    let mut text = rng.random_range(1..10).to_string();
    for _ in 1..digits {
        text.push(char::from(b'0' + rng.random_range(0..10)));
    }
    text
}

fn count(rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..6) {
        0..3 => rng.random_range(1..10).to_string(),
        3 => rng.random_range(10..60).to_string(),
        _ => (*pick(&SMALL_NUMBERS[..11], rng)).to_owned(),
    }
}

fn headcount(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..10) {
        0..5 => format!("{} {}", count(rng), pick(&PERSONS, rng)),
        5..7 => count(rng),
        7 => format!(
            "{} {} plus {} {}",
            count(rng),
            pick(&PERSONS, rng),
            count(rng),
            pick(&PERSONS, rng)
        ),
        8 => lexicon.words("family").map_or_else(
            || "two".to_owned(),
            |family| format!("me plus my {}", pick(family, rng)),
        ),
        _ => format!("{} persons", count(rng)),
    }
}

fn amount(rng: &mut ChaCha8Rng) -> String {
    let whole = if chance(0.6, rng) {
        rng.random_range(2..100)
    } else {
        rng.random_range(100..4000)
    };
    match rng.random_range(0..6) {
        0 => format!("${whole}"),
        1 => format!("£{whole}"),
        2 => format!(
            "{whole}.{:02} {}",
            rng.random_range(0..100),
            pick(&CURRENCIES[..3], rng)
        ),
        3 => format!("€{whole}.{:02}", rng.random_range(0..100)),
        _ => format!("{whole} {}", pick(&CURRENCIES, rng)),
    }
}

fn weight(rng: &mut ChaCha8Rng) -> String {
    let space = if chance(0.5, rng) { " " } else { "" };
    let value = rng.random_range(1..60);
    match rng.random_range(0..4) {
        0 => format!("{value}.{}{space}kg", rng.random_range(1..10)),
        1 => format!("{value}{space}kg"),
        2 => format!(
            "{value} {}",
            pick(&["kilos", "pounds", "stone", "grams"], rng)
        ),
        _ => format!("{} kilos", pick(&SMALL_NUMBERS[..11], rng)),
    }
}

fn size(rng: &mut ChaCha8Rng) -> String {
    if chance(0.5, rng) {
        rng.random_range(4..48).to_string()
    } else {
        (*pick(
            &[
                "xs", "small", "medium", "large", "xl", "xxl", "one size", "m", "l",
            ],
            rng,
        ))
        .to_owned()
    }
}

fn code(rng: &mut ChaCha8Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.random_range(1..4) {
        text.push(char::from(b'A' + rng.random_range(0..26)));
    }
    if chance(0.4, rng) {
        text.push('-');
    }
    for _ in 0..rng.random_range(2..6) {
        text.push(char::from(b'0' + rng.random_range(0..10)));
    }
    text
}

fn phone(rng: &mut ChaCha8Rng) -> String {
    let mut text = String::from("0");
    for place in 0..rng.random_range(8..11) {
        if place == 3 && chance(0.5, rng) {
            text.push(' ');
        }
        text.push(char::from(b'0' + rng.random_range(0..10)));
    }
    text
}
