//! Small exercises: copying, looking up, mending spelling, word meaning.

use distill_chat::Message;
use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick, word},
    lexicon::Lexicon,
    noise::Hand,
    slots,
};

type Turn = (String, String);
/// An exercise is an instruction and a maker of question and answer pairs.
type Exercise = (
    &'static [&'static str],
    fn(&Lexicon, &mut ChaCha8Rng) -> Turn,
);

const EXERCISES: [Exercise; 14] = [
    (
        &[
            "Repeat the text.",
            "Say it again, letter for letter.",
            "Copy.",
        ],
        copy,
    ),
    (&["Repeat the text.", "Copy the words."], copy_words),
    (
        &[
            "Write the text without mistakes.",
            "Mend the spelling.",
            "Clean this up.",
        ],
        mend,
    ),
    (&["Write it in small letters.", "lower case please"], lower),
    (
        &[
            "Which word comes next after the given one?",
            "Say the word that follows.",
        ],
        follows,
    ),
    (&["Say the value of the key.", "Look it up."], look_up),
    (
        &["Which word does not belong?", "Find the odd one out."],
        odd_one_out,
    ),
    (
        &["Name the group of the word.", "What kind of thing is it?"],
        name_field,
    ),
    (
        &["Give a word of this group.", "Name one example."],
        example,
    ),
    (
        &[
            "Which of the words is near in meaning?",
            "Pick the word most like the first.",
        ],
        nearest,
    ),
    (
        &[
            "Is the word in the text? yes or no",
            "Does the text contain it? Answer yes or no.",
        ],
        contains,
    ),
    (
        &["Say the first and the last word.", "First and last word?"],
        first_and_last,
    ),
    (
        &["What is asked for? Copy the number.", "Copy the digits."],
        digits,
    ),
    (
        &[
            "Who is it about? Copy the name.",
            "Give the name in the text.",
        ],
        who,
    ),
];

pub(super) fn exercise(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let (instructions, make) = pick(&EXERCISES, rng);
    let mut messages = vec![Message::system(*pick(instructions, rng))];
    for _ in 0..rng.random_range(3..9) {
        let (question, answer) = make(lexicon, rng);
        messages.push(Message::user(question));
        messages.push(Message::assistant(answer));
    }
    messages
}

fn copy(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let text = match rng.random_range(0..6) {
        0 => lexicon.resolve("code", rng),
        1 => lexicon.resolve("person", rng),
        2 => lexicon.resolve("phone", rng),
        3 => lexicon.resolve("address", rng),
        4 => lexicon.resolve("email", rng),
        _ => lexicon.message(pick(&lexicon.situations, rng), rng),
    };
    (text.clone(), text)
}

fn some_words(lexicon: &Lexicon, count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
    (0..count)
        .map(|_| {
            if chance(0.4, rng) {
                let syllables = rng.random_range(1..3);
                slots::invented(lexicon, syllables, rng)
            } else {
                (*pick(&pick(&lexicon.fields, rng).words, rng)).to_owned()
            }
        })
        .collect()
}

fn copy_words(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let count = rng.random_range(2..9);
    let text = some_words(lexicon, count, rng).join(" ");
    (text.clone(), text)
}

fn mend(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let plain = lexicon.plain_message(pick(&lexicon.situations, rng), rng);
    let typed = Hand::draw(rng).write(&plain, true, rng);
    (typed, Hand::neat().write(&plain, true, rng))
}

fn lower(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let count = rng.random_range(1..5);
    let words = some_words(lexicon, count, rng);
    let shouted: Vec<String> = words
        .iter()
        .map(|word| {
            if chance(0.5, rng) {
                word.to_uppercase()
            } else {
                slots::title(word)
            }
        })
        .collect();
    (shouted.join(" "), words.join(" "))
}

fn follows(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let count = rng.random_range(3..10);
    let words = some_words(lexicon, count, rng);
    let at = rng.random_range(0..words.len() - 1);
    (
        format!("{}\n{}", words.join(", "), words[at]),
        words[at + 1].clone(),
    )
}

fn look_up(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let count = rng.random_range(2..6);
    let keys = some_words(lexicon, count, rng);
    let values: Vec<String> = keys
        .iter()
        .map(|_| {
            let slot = *pick(
                &[
                    "number", "given", "colours", "code", "clock", "fruit", "cities",
                ],
                rng,
            );
            lexicon.resolve(slot, rng)
        })
        .collect();
    let pairs: Vec<String> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    // Equal keys would have two values: the first one counts.
    let asked = pick(&keys, rng);
    let at = keys.iter().position(|key| key == asked).unwrap_or(0);
    (
        format!("{}\n{asked}?", pairs.join("; ")),
        values[at].clone(),
    )
}

fn odd_one_out(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let (field, stranger) = (pick(&lexicon.fields, rng), pick(&lexicon.fields, rng));
    let count = rng.random_range(2..5);
    let odd = *pick(&stranger.words, rng);
    let mut words: Vec<&str> = field.words.choose_multiple(rng, count).copied().collect();
    words.push(odd);
    words.shuffle(rng);
    (words.join(", "), odd.to_owned())
}

fn name_field(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let field = pick(&lexicon.fields, rng);
    (
        (*pick(&field.words, rng)).to_owned(),
        field.names[0].to_owned(),
    )
}

fn example(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let field = pick(&lexicon.fields, rng);
    (
        (*pick(&field.names, rng)).to_owned(),
        (*pick(&field.words, rng)).to_owned(),
    )
}

fn nearest(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let field = pick(&lexicon.fields, rng);
    let pair: Vec<&str> = field.words.choose_multiple(rng, 2).copied().collect();
    let mut options = vec![pair[1]];
    for _ in 0..rng.random_range(1..5) {
        options.push(word(&pick(&lexicon.fields, rng).words, rng));
    }
    options.shuffle(rng);
    (
        format!("{}: {}", pair[0], options.join(", ")),
        pair[1].to_owned(),
    )
}

fn contains(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let text = lexicon.message(pick(&lexicon.situations, rng), rng);
    let words: Vec<&str> = text
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    if chance(0.5, rng) {
        let word = (*pick(&words, rng)).to_owned();
        (format!("{word}: {text}"), "yes".to_owned())
    } else {
        let word = *pick(&pick(&lexicon.fields, rng).words, rng);
        let found = words.contains(&word);
        (
            format!("{word}: {text}"),
            if found { "yes" } else { "no" }.to_owned(),
        )
    }
}

fn first_and_last(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let count = rng.random_range(3..8);
    let words = some_words(lexicon, count, rng);
    (
        words.join(" "),
        format!("{} {}", words[0], words[words.len() - 1]),
    )
}

fn digits(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let number = lexicon.resolve("number", rng);
    let pattern = *pick(
        &[
            "there are # {goods}s in the {rooms}",
            "# {measures}s of {fabrics}",
            "my {family} counted # {birds}s",
            "bus # goes to {cities}",
            "# {people you know}s came",
            "i have # {garden}s and no {tools}",
        ],
        rng,
    );
    let core = lexicon.expand(pattern, rng).replace('#', &number);
    (Hand::draw(rng).write(&core, true, rng), number)
}

fn who(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Turn {
    let hand = Hand::draw(rng);
    let name = hand.write_value(&lexicon.resolve("person", rng), false);
    let pattern = *pick(
        &[
            "a # came {ago}",
            "this is # from {cities}",
            "the {goods} belongs to #",
            "# went home {ago}",
            "we asked # about the {costs}",
            "{good} to see you, said #",
        ],
        rng,
    );
    let core = lexicon.expand(pattern, rng);
    let (before, after) = core.split_once('#').unwrap_or((&core, ""));
    let text = format!(
        "{}{name}{}",
        hand.write(before, true, rng),
        hand.write(after, false, rng)
    );
    (text, name)
}
