//! Rows that the teacher has right and a student wrong: what a switch would break.

use distill_report::{Regression, Regressions};

use super::{Contest, Contestant};

/// Worst regressions that the report shows.
const SHOWN: usize = 20;

impl Contest<'_> {
    /// Most confident mistakes first; for scores that are more than right and wrong, the largest
    /// losses first.
    pub(super) fn regressions(&self, choice: Option<&str>) -> Option<Regressions> {
        let teacher = self.teacher()?;
        let student = self
            .students()
            .find(|student| Some(student.name) == choice)
            .or_else(|| self.students().last())?;
        let mut lost: Vec<(usize, f64)> = (0..student.records.len())
            .filter_map(|index| Some((index, self.loss(teacher, student, index)?)))
            .filter(|(_, loss)| *loss > 0.0)
            .collect();
        let confidence = |index: usize| student.records[index].confidence.unwrap_or(f64::MIN);
        lost.sort_by(|one, other| {
            other
                .1
                .total_cmp(&one.1)
                .then(confidence(other.0).total_cmp(&confidence(one.0)))
                .then(one.0.cmp(&other.0))
        });
        let rows = lost
            .iter()
            .take(SHOWN)
            .map(|(index, _)| self.regression(teacher, student, *index))
            .collect();
        Some(Regressions {
            candidate: student.name.to_owned(),
            baseline: teacher.name.to_owned(),
            total: lost.len(),
            rows,
            simulated: teacher.study.simulated,
        })
    }

    /// How much better the teacher's answer is; `None` where a side was not scored.
    fn loss(
        &self,
        teacher: &Contestant<'_>,
        student: &Contestant<'_>,
        index: usize,
    ) -> Option<f64> {
        let value = |side: &Contestant<'_>| side.scores[index].score.value();
        let loss = value(teacher)? - value(student)?;
        let lower_is_better = self.scorers.scale().lower_is_better;
        Some(if lower_is_better { -loss } else { loss })
    }

    fn regression(
        &self,
        teacher: &Contestant<'_>,
        student: &Contestant<'_>,
        index: usize,
    ) -> Regression {
        let (asked, theirs) = (student.records[index], teacher.records[index]);
        let graded = !self.scorers.decides_by_share();
        let score = |side: &Contestant<'_>| side.scores[index].score.value().filter(|_| graded);
        Regression {
            id: asked.id.clone(),
            text: asked.input.clone(),
            gold: asked.expected.clone(),
            baseline_answer: theirs.output.clone(),
            candidate_answer: asked.output.clone(),
            candidate_confidence: asked.confidence.map(f64::exp),
            baseline_score: score(teacher),
            candidate_score: score(student),
        }
    }
}
