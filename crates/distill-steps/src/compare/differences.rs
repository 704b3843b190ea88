//! The pairs that a reader asks about.

use distill_eval::compare_corpus;
use distill_report::Difference;
use distill_runner::StepFailure;

use super::{Contest, Contestant, cascade::Cascade};
use crate::{Arm, arm::ControlKind};

impl Contest<'_> {
    /// Each student against the teacher, the floor, the constant, and what was made of the same base:
    /// the base untuned and every control; the cheaper models and the cascades against the teacher; then the gold-label
    /// control.
    pub(super) fn differences(
        &self,
        cascades: &[Cascade<'_>],
    ) -> Result<Vec<Difference>, StepFailure> {
        let mut differences = Vec::new();
        for candidate in self.contestants.iter().filter(|arm| arm.is_candidate()) {
            for baseline in &self.contestants {
                let controls_of = self.study.settings.controls_of.as_deref();
                if !related(candidate, baseline, controls_of) {
                    continue;
                }
                let simulated = candidate.study.simulated || baseline.study.simulated;
                differences.push(Difference::from_comparison(
                    candidate.name,
                    baseline.name,
                    self.scorers.primary().name(),
                    simulated,
                    &self.compare(candidate, baseline)?,
                ));
                if *baseline.arm() == Arm::Teacher {
                    differences.extend(self.corpus_difference(candidate, baseline, simulated)?);
                }
            }
        }
        let Some(teacher) = self.teacher() else {
            return Ok(differences);
        };
        for cascade in cascades {
            let compared = self.pair(&cascade.side(), &teacher.side())?;
            differences.push(Difference::from_comparison(
                &cascade.name,
                teacher.name,
                self.scorers.primary().name(),
                teacher.study.simulated,
                &compared,
            ));
        }
        Ok(differences)
    }

    /// By the metric over the whole set that goes beside the primary one.
    fn corpus_difference(
        &self,
        candidate: &Contestant<'_>,
        baseline: &Contestant<'_>,
        simulated: bool,
    ) -> Result<Option<Difference>, StepFailure> {
        let Some(scorer) = self.scorers.corpus() else {
            return Ok(None);
        };
        let comparison = compare_corpus(
            scorer,
            &candidate.samples,
            &baseline.samples,
            self.task,
            &self.options,
        )
        .map_err(|error| StepFailure::bad_input("two arms cannot be paired").caused_by(error))?;
        Ok(Some(Difference::from_corpus(
            candidate.name,
            baseline.name,
            simulated,
            &comparison,
        )))
    }
}

/// `controls_of` names the student on whose base the controls are made; none: there is one base.
fn related(
    candidate: &Contestant<'_>,
    baseline: &Contestant<'_>,
    controls_of: Option<&str>,
) -> bool {
    if !matches!(candidate.arm(), Arm::Student(_)) {
        return *baseline.arm() == Arm::Teacher;
    }
    let linear = candidate.name == "linear";
    match baseline.arm() {
        Arm::Teacher | Arm::Constant => true,
        Arm::Control(ControlKind::LinearGold) => linear,
        Arm::Cheaper(_) => false,
        Arm::Untuned | Arm::FewShot | Arm::Control(_) => {
            !linear && controls_of.is_none_or(|name| name == candidate.name)
        }
        Arm::Student(name) => name == "linear" && !linear,
    }
}
