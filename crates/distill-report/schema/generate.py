#!/usr/bin/env python3
"""Writes report.schema.json from the Rust structs that report.json is made of.

Run from anywhere after a change of a struct:

    python3 crates/distill-report/schema/generate.py

It reads field names, types and doc comments; the crate's tests hold the result to what is really
written. Needs Python 3.9 or later and nothing else.
"""

import json
import pathlib
import re

CRATES = pathlib.Path(__file__).resolve().parents[2]
SOURCES = [
    *sorted((CRATES / "distill-report/src").glob("model*.rs")),
    *sorted((CRATES / "distill-report/src/model").glob("*.rs")),
    *sorted((CRATES / "distill-eval/src").rglob("*.rs")),
]
NUMBERS = {"f64": "number", "usize": "integer", "u64": "integer", "u32": "integer", "i64": "integer"}
ITEM = re.compile(
    r"(?P<head>(?:^ *///[^\n]*\n|^ *#\[[^\n]*\n)*)^pub (?P<kind>struct|enum) (?P<name>\w+)"
    r" \{\n(?P<body>.*?)^\}",
    re.M | re.S,
)


def doc(lines):
    """The doc comment among these lines as one text."""
    found = [line.strip()[3:].strip() for line in lines if line.strip().startswith("///")]
    text = re.sub(r"\[?`([^`]*)`\]?", r"\1", " ".join(found))
    return re.sub(r"\bNone\b", "null", text.replace("`", ""))


def split(text):
    """At the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += letter in "<([{"
        depth -= letter in ">)]}"
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def rule(kind, used):
    kind = kind.strip().split("::")[-1] if "<" not in kind else kind.strip()
    if kind in NUMBERS:
        return {"type": NUMBERS[kind]}
    if kind in ("String", "str"):
        return {"type": "string"}
    if kind == "bool":
        return {"type": "boolean"}
    name, inner = re.fullmatch(r"(\w+)<(.*)>", kind, re.S).groups() if "<" in kind else (kind, "")
    if name == "Option":
        return {"anyOf": [rule(inner, used), {"type": "null"}]}
    if name == "Vec":
        return {"type": "array", "items": rule(inner, used)}
    if name == "BTreeMap":
        return {"type": "object", "additionalProperties": rule(split(inner)[1], used)}
    used.append(kind)
    return {"$ref": f"#/$defs/{kind}"}


def fields(body, used):
    """Properties of a struct's body."""
    properties, lines = {}, []
    for line in body.splitlines():
        found = re.match(r"\s*(?:pub )?(\w+): (.*?),?$", line)
        if found and not line.strip().startswith(("//", "#")):
            described = doc(lines)
            properties[found[1]] = {
                **({"description": described} if described else {}),
                **rule(found[2], used),
            }
            lines = []
        else:
            lines.append(line)
    return properties


def closed(properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def variants(head, body, used):
    """An enum: bare names, or objects that `kind` tells apart."""
    body = re.sub(r"^\s*(///|//|#\[).*\n", "", body, flags=re.M)
    names = [re.match(r"(\w+)\s*(?:\{(.*)\})?", part, re.S).groups() for part in split(body)]
    if 'tag = "kind"' not in head:
        return {"enum": [serde_snake(name) for name, _ in names]}
    choices = []
    for name, inner in names:
        inner = "\n".join(split(inner or ""))
        choices.append(closed({"kind": {"const": serde_snake(name)}, **fields(inner, used)}))
    return {"anyOf": choices}


def serde_snake(name):
    """As serde's `rename_all = "snake_case"`: an underscore before each capital but the first."""
    return "".join(
        ("_" if place and letter.isupper() else "") + letter.lower()
        for place, letter in enumerate(name)
    )


def main():
    items = {}
    for source in SOURCES:
        for found in ITEM.finditer(source.read_text()):
            if "Serialize" in found["head"]:
                items.setdefault(found["name"], found)
    definitions, wanted, seen = {}, ["RunReport"], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        found, used = items[name], []
        if found["kind"] == "struct":
            made = closed(fields(found["body"], used))
        else:
            made = variants(found["head"], found["body"], used)
        described = doc(found["head"].splitlines())
        definitions[name] = {**({"description": described} if described else {}), **made}
        wanted += used
    report = definitions.pop("RunReport")
    report["properties"]["schema"] = {"description": "The version of this shape.", "const": 1}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "report.json of distill",
        **report,
        "$defs": dict(sorted(definitions.items())),
    }
    target = pathlib.Path(__file__).with_name("report.schema.json")
    target.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


main()
