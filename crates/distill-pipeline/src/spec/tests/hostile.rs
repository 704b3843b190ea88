//! Input that tries to cost more than it is worth.

use super::*;

fn one(text: &str) -> Finding {
    let findings = findings(text);
    assert_eq!(findings.len(), 1, "{}", findings.to_text());
    findings.iter().next().unwrap().clone()
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
    }
    assert_eq!(one(&bomb).code, Code::Limit);
}

#[test]
fn an_alias_of_itself_is_refused() {
    let finding = one("name: &a [*a]\n");
    assert!(
        matches!(finding.code, Code::Limit | Code::Syntax),
        "{finding:?}"
    );
}

#[test]
fn depth_is_refused_in_both_styles() {
    let flow = format!("name: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(one(&flow).code, Code::Limit);
    let mut block = String::new();
    for depth in 0..500 {
        writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
    }
    assert_eq!(one(&block).code, Code::Limit);
}

#[test]
fn size_is_refused_before_it_is_read() {
    let finding = one(&"# much\n".repeat(MAX_SPEC_BYTES / 7 + 1));
    assert_eq!(finding.code, Code::Limit);
    let many = format!("name: [{}]", "a,".repeat(120_000));
    assert_eq!(one(&many).code, Code::Limit);
}

#[test]
fn several_documents_are_refused() {
    let finding = one(&format!("{QUICKSTART}---\n{QUICKSTART}"));
    assert!(
        matches!(finding.code, Code::Limit | Code::Syntax),
        "{finding:?}"
    );
}

proptest! {
    /// Whatever the text, there is an answer and no panic; places lie inside the text.
    #[test]
    fn any_text_gets_an_answer(text in "[ -~\n\t\u{e9}\u{1f600}]{0,200}") {
        if let Err(findings) = load("p.yaml", &text, &VOCABULARY) {
            for finding in findings.iter() {
                prop_assert!(text.get(finding.span.clone()).is_some());
            }
            findings.to_text();
        }
    }

    /// The quickstart with a piece cut out: real keys in odd places.
    #[test]
    fn a_torn_spec_gets_an_answer(start in 0..QUICKSTART.len(), length in 0_usize..80) {
        let end = (start + length).min(QUICKSTART.len());
        let text = format!("{}{}", &QUICKSTART[..start], &QUICKSTART[end..]);
        if let Err(findings) = load("p.yaml", &text, &VOCABULARY) {
            findings.to_text();
        }
    }
}
