//! Answers of people to rows that were not drawn as the verdict would wish.

use super::*;

#[test]
fn a_draw_with_rows_taken_out_of_its_file_is_not_taken_for_an_even_one() {
    let mut evidence = evidence(
        600,
        |index| (index % 20 != 0, -0.1),
        |index| index % 20 != 1,
    );
    for row in &mut evidence.rows {
        row.gold = None;
    }
    let drawn = |index: usize| LabelRow {
        id: format!("r{index}"),
        answer: Some(label(index, true).to_owned()),
        stratum: None,
        order: None,
        inclusion: Some(if index % 20 < 2 { 1.0 } else { 60.0 / 540.0 }),
    };
    // Rows without an answer are gone, those that differ and were not asked about among them.
    let rows = (0..600)
        .filter(|index| index % 40 < 2 || index % 10 == 5)
        .map(drawn)
        .collect();
    evidence.human = Some(Labels { rows });
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.differences[0].n, 0);
    assert!(matches!(decision(&findings), Decision::Undecided { .. }));
    assert!(
        findings
            .notes
            .iter()
            .any(|note| note.contains("stand for nothing"))
    );
}

#[test]
fn rows_of_which_nobody_says_how_they_were_chosen_are_named_so() {
    let mut evidence = evidence(300, |_| (true, -0.1), |_| true);
    for row in &mut evidence.rows {
        row.gold = None;
    }
    let people: Vec<(String, String)> = (0..150)
        .map(|index| (format!("r{index}"), label(index, true).to_owned()))
        .collect();
    evidence.human = Some(labels(&people));
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.reference, Reference::Human);
    assert!(
        findings.notes[0].contains("nothing says how these were chosen"),
        "{}",
        findings.notes[0]
    );
}

#[test]
fn rows_drawn_unevenly_beside_a_column_of_right_answers_are_named_so() {
    let mut evidence = evidence(300, |index| (index % 9 != 0, -0.1), mostly);
    for row in &mut evidence.rows[100..] {
        row.gold = None;
    }
    let rows = (0..300)
        .map(|index| LabelRow {
            id: format!("r{index}"),
            answer: (index % 9 == 0).then(|| label(index, true).to_owned()),
            stratum: None,
            order: None,
            inclusion: Some(if index % 9 == 0 { 1.0 } else { 0.1 }),
        })
        .collect();
    evidence.human = Some(Labels { rows });
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.reference, Reference::Gold);
    let told = |part: &str| findings.notes.iter().any(|note| note.contains(part));
    assert!(
        told("drawn where models differ and stand beside 88 rows"),
        "{:?}",
        findings.notes
    );
    assert!(told("rows have no right answer but the teacher's"));
}
