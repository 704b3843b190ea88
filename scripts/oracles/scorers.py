"""What public implementations say about the cases that the tests of the scorers hold.

    python -m venv venv && venv/bin/pip install \
        scikit-learn==1.9.1 sacrebleu==2.6.0 rouge-score==0.1.2 jsonschema==4.26.0 regex
    venv/bin/python scripts/oracles/scorers.py > crates/distill-eval/fixtures/scorers.json

The tests read the file and need no Python. It names the versions that made it.
"""

import json
import logging
import random
import re
import string
import sys
from collections import Counter
from importlib.metadata import version

import regex
from jsonschema import Draft202012Validator
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

PACKAGES = ["scikit-learn", "sacrebleu", "rouge-score", "jsonschema", "regex"]

# ---- labels ------------------------------------------------------------------------------------


def label_cases():
    labels = ["card", "cash", "fee", "loan", "never"]
    generator = random.Random(5)
    shapes = [(12, 0.3, 0.0), (60, 0.4, 0.1), (9, 1.0, 0.5), (40, 0.0, 0.0), (1, 0.0, 0.0), (7, 0.0, 1.0)]
    for n, wrong, invalid in shapes:
        gold = [generator.choice(labels[:4]) for _ in range(n)]
        answers = []
        for label in gold:
            draw = generator.random()
            if draw < invalid:
                answers.append(None)
            elif draw < invalid + wrong:
                answers.append(generator.choice(labels[:3]))
            else:
                answers.append(label)
        # An invalid reply is no label: it misses its own label and is a false alarm for none.
        told = ["(none)" if answer is None else answer for answer in answers]
        seen = [label for label in labels if label in gold or label in told]

        def scores(average):
            return precision_recall_fscore_support(gold, told, labels=seen, average=average, zero_division=0)

        precision, recall, f1, support = scores(None)
        yield {"labels": labels, "gold": gold, "answers": answers, "seen": seen,
               "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(),
               "support": [int(count) for count in support], "accuracy": accuracy_score(gold, told),
               "macro_f1": scores("macro")[2], "micro_f1": scores("micro")[2]}


# ---- sets of things: fields of objects, spans of texts -------------------------------------------


def overlap(gold, told):
    """Precision, recall and F1 of two sets, by scikit-learn's binary scores over their union."""
    universe = sorted(gold | told)
    precision, recall, f1, _ = precision_recall_fscore_support(
        [item in gold for item in universe], [item in told for item in universe],
        average="binary", zero_division=0)
    return {"precision": precision, "recall": recall, "f1": f1,
            "gold": len(gold), "predicted": len(told), "correct": len(gold & told)}


def field_cases():
    """Rows of objects as (row, field, value) triples: pooled over fields, and field by field."""
    fields = ["people", "time", "date"]
    generator = random.Random(11)
    rows = []
    for _ in range(50):
        gold = {field: generator.choice("abc") for field in fields if generator.random() < 0.6}
        if generator.random() < 0.1:
            answer = None
        else:
            answer = {field: value if generator.random() < 0.8 else generator.choice("abcd")
                      for field, value in gold.items() if generator.random() < 0.9}
            if generator.random() < 0.2:
                answer[generator.choice(fields)] = "z"
        rows.append({"gold": gold, "answer": answer})

    def score(chosen):
        def triples(side):
            return {(index, field, value) for index, row in enumerate(rows)
                    for field, value in (row[side] or {}).items() if field in chosen}
        return overlap(triples("gold"), triples("answer"))

    yield {"fields": fields, "rows": rows, "pooled": score(fields),
           "per_field": {field: score([field]) for field in fields}}


def span_cases():
    """Entities as (row, start, end, label): right only when all of it is."""
    generator = random.Random(23)

    def draw(length):
        start = generator.randrange(length)
        return {"start": start, "end": start + generator.randrange(1, 6), "label": generator.choice(["PER", "LOC", "ORG"])}

    rows = []
    for _ in range(40):
        gold = [draw(12) for _ in range(generator.randrange(0, 4))]
        answer = [span if generator.random() < 0.7 else draw(12) for span in gold if generator.random() < 0.9]
        answer += [draw(12) for _ in range(generator.randrange(0, 2))]
        rows.append({"gold": gold, "answer": answer if generator.random() < 0.9 else None})

    def entities(side):
        return {(index, span["start"], span["end"], span["label"])
                for index, row in enumerate(rows) for span in row[side] or []}

    yield {"rows": rows, **overlap(entities("gold"), entities("answer"))}


# ---- text ----------------------------------------------------------------------------------------

AWKWARD = [
    ("", ["the cat"]), ("the cat", [""]), ("", [""]), ("the", ["the"]), ("the", ["a"]), ("cat", ["dog"]),
    ("the the the the the", ["the cat sat on the mat"]),
    ("the cat sat on the mat", ["the the the the the"]),
    ("The cat sat on the mat.", ["the cat sat on the mat"]),
    ("no word of this is there", ["completely different sentence here now"]),
    ("one two three", ["one two three"]), ("one two three four", ["one two three four"]),
    ("a b c d e f g h", ["h g f e d c b a"]),
    ("Die Straße ist naß, nicht wahr?", ["die strasse ist nass — nicht wahr?"]),
    ("ÉCOLE élémentaire", ["école Élémentaire"]), ("İstanbul KELVIN \u212a", ["i̇stanbul kelvin k"]),
    ("今天天气很好。", ["今天的天气好。"]), ("東京タワーは高い", ["東京は高いタワー"]), ("नमस्ते दुनिया", ["नमस्ते दुनिया!"]),
    ("สวัสดีชาวโลก", ["สวัสดีโลก"]), ("👩‍👩‍👧 family 🎉", ["family 🎉🎉"]), ("cafe\u0301 au lait", ["café au lait"]),
    ("Tom & Jerry &quot;again&quot; &lt;now&gt; &amp;amp;", ['Tom & Jerry "again" <now> &amp;']),
    ("It costs $1,234.50 - or 1.5-2.0% (approx.).", ["It costs $1,234.50, or 1.5 - 2.0 % (approx)."]),
    ("well-\nknown line\nbreak", ["wellknown line break"]), ("<skipped> tag", ["tag"]), ("ends in a dash-\n", ["ends in a dash"]),
    ("tabs\tand  spaces \u00a0 here  ", ["tabs and spaces here"]), ("\x1cseparators\x1d", ["separators"]),
    ("...", ["..."]), ("a.b,c", ["a . b , c"]), ("(hi) 'there' (you", ["(hi) there you)"]),
    ("don't can't won't", ["do not can not will not"]), ("snake_case and kebab-case", ["snake case and kebab case"]),
    ("An apple a day, the doctor's away", ["apple day doctors away"]), ("theatre another anthem", ["the another an them"]),
    ("42", ["42"]), ("3.14", ["3,14"]),
    # several references
    ("the cat is on the mat", ["the cat sat on the mat", "there is a cat on the mat"]),
    ("a fast brown fox", ["the quick brown fox", "a fast brown fox jumps over it all", "fox"]),
    ("exactly this", ["something else", "exactly this"]), ("", ["a", ""]), ("equal length words here", ["three words here", "five words are here now"]),
]


def made_up(count):
    """Texts of few words, so that they overlap, with marks and numbers between them."""
    generator = random.Random(41)
    words = ["the", "a", "cat", "dog", "Oslo", "runs", "red", "très", "ß", "1,000", "3.5", "x-ray", "it's", "end.", "(so)", "why?", "ok!", "東京", "—"]

    def text():
        return " ".join(generator.choice(words) for _ in range(generator.randrange(0, 14)))

    for _ in range(count):
        reply = text()
        references = [text() for _ in range(generator.choice([1, 1, 2, 3]))]
        if generator.random() < 0.5:
            kept = [word for word in reply.split(" ") if generator.random() < 0.8]
            references[0] = " ".join(kept)
        yield reply, references


ARTICLES = re.compile(r"\b(a|an|the)\b")


def squad_tokens(text):
    """SQuAD v1.1's normalisation: lower case, punctuation away, articles away, words by white space."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return ARTICLES.sub(" ", bare).split()


def squad_f1(reply, reference):
    said, right = squad_tokens(reply), squad_tokens(reference)
    same = sum((Counter(said) & Counter(right)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(said), same / len(right)
    return 2 * precision * recall / (precision + recall)


class UnicodeWords:
    """Runs of letters, marks and digits; each character of a script without spaces for itself."""

    UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    PATTERN = regex.compile(
        rf"[[{UNSPACED}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+", regex.V1)

    def tokenize(self, text):
        return self.PATTERN.findall(text.lower())


ROUGE = ["rouge1", "rouge2", "rougeL"]
ASCII_ROUGE = RougeScorer(ROUGE, use_stemmer=False)
UNICODE_ROUGE = RougeScorer(ROUGE, use_stemmer=False, tokenizer=UnicodeWords())


def text_cases():
    sentence_bleu, chrf, chrf_plus = BLEU(effective_order=True), CHRF(), CHRF(word_order=2)
    for reply, references in AWKWARD + list(made_up(160)):
        case = {
            "reply": reply, "references": references,
            "token_f1": max(squad_f1(reply, reference) for reference in references),
            "sentence_bleu": sentence_bleu.sentence_score(reply, references).score,
            "sentence_chrf": chrf.sentence_score(reply, references).score,
            "sentence_chrf_2": chrf_plus.sentence_score(reply, references).score,
        }
        for suffix, scorer in [("_ascii", ASCII_ROUGE), ("", UNICODE_ROUGE)]:
            found = scorer.score_multi(references, reply)
            for name, key in zip(ROUGE, ["rouge_1", "rouge_2", "rouge_l"]):
                case[key + suffix] = found[name].fmeasure
        yield case


def corpus_cases():
    rows = AWKWARD + list(made_up(160))
    parts = [rows, [row for row in rows if len(row[1]) == 1], rows[:1], rows[3:4], [("one two", ["one two"])],
             [("a b", ["a b c d e"]), ("c", ["c d"])], [("", ["a"]), ("", ["b"])], rows[45:60]]
    for part in parts:
        replies = [reply for reply, _ in part]
        most = max(len(references) for _, references in part)
        streams = [[references[place] if place < len(references) else None for _, references in part] for place in range(most)]
        yield {"replies": replies, "references": [references for _, references in part],
               "bleu": BLEU().corpus_score(replies, streams).score,
               "chrf": CHRF().corpus_score(replies, streams).score,
               "chrf_2": CHRF(word_order=2).corpus_score(replies, streams).score}


# ---- JSON schema ---------------------------------------------------------------------------------


def schema_cases():
    """Schemas of the supported part, each with values and whether they are valid."""
    schemas = [
        {"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}}, "required": ["n"]},
        {"type": "object", "properties": {"s": {"type": "string"}, "b": {"type": "boolean"}}, "additionalProperties": False},
        {"type": "object", "properties": {"e": {"enum": ["a", 1, 2.5, True, None]}}, "required": ["e"], "additionalProperties": True},
        {"type": "object", "properties": {"e": {"type": "string", "enum": ["a", "b", 1]}}},
        {"type": "object", "properties": {"e": {"type": "integer", "enum": [1.0, 2, "2"]}}},
        {"title": "t", "description": "d", "type": "object", "properties": {"ü \"q\"": {"type": "string", "title": "x"}}, "required": ["ü \"q\""]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": []},
    ]
    scalars = [None, True, False, 0, 1, 1.0, -0.0, 1.5, 2, 2.0, 2.5, 1e300, 10 ** 25, 9007199254740993, "", "a", "b", "1", "true", [], ["a"], {}, {"a": 1}]
    values = scalars + [{name: scalar} for name in ["n", "x", "s", "b", "e", "a", "ü \"q\"", "other"] for scalar in scalars]
    values += [{"n": 1, "x": "1"}, {"n": 1, "x": 1, "z": None}, {"s": "", "b": False, "c": 1}, {"e": "a", "f": 1}]
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema)
        yield {"schema": schema, "values": [[value, validator.is_valid(value)] for value in values]}


def main():
    logging.disable(logging.WARNING)
    document = {
        "made_with": {package: version(package) for package in PACKAGES},
        "labels": list(label_cases()),
        "fields": list(field_cases()),
        "spans": list(span_cases()),
        "texts": list(text_cases()),
        "corpora": list(corpus_cases()),
        "schemas": list(schema_cases()),
    }
    # One case a line: a change shows as what changed.
    sys.stdout.write("{\n")
    for place, (name, part) in enumerate(document.items()):
        sys.stdout.write(",\n" if place else "")
        if isinstance(part, dict):
            sys.stdout.write(f"{json.dumps(name)}: {json.dumps(part)}")
        else:
            lines = ",\n".join(json.dumps(case, ensure_ascii=False, default=float) for case in part)
            sys.stdout.write(f"{json.dumps(name)}: [\n{lines}\n]")
    sys.stdout.write("\n}\n")


if __name__ == "__main__":
    main()
