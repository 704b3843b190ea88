//! What a measured quality means for a member of a route.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::RouteQuality;

/// How a target did on a suite; kept as a fact of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The scorer's mean over the rows, higher is better.
    pub score: f64,
    pub scorer: String,
    /// Rows that were scored.
    pub rows: u64,
    /// Rows that were not, such as those without an answer.
    pub unscored: u64,
    /// A simulated vendor answered.
    pub simulated: bool,
    /// The paired comparison with the best target of the same measurement; `None` for the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against_best: Option<Against>,
}

/// A difference on the same rows: this target less the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    pub best: String,
    pub difference: f64,
    /// Its interval, at the confidence of the configuration.
    pub low: f64,
    pub high: f64,
}

/// Whether a target is asked in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Asked last; why.
    Demoted(String),
}

/// The fact under which the scores of a suite are kept.
pub fn fact_name(suite: &Path) -> String {
    let name = suite.file_name().unwrap_or(suite.as_os_str());
    format!("quality:{}", name.to_string_lossy())
}

/// What a score means under the rules of a route.
pub fn judge(score: &Score, quality: &RouteQuality) -> Standing {
    if let Some(floor) = quality.floor
        && score.score < floor
    {
        return Standing::Demoted(format!(
            "scores {:.3} ({}, {} rows), below the floor {floor}",
            score.score, score.scorer, score.rows
        ));
    }
    match &score.against_best {
        Some(against) if against.high < -quality.margin => Standing::Demoted(format!(
            "scores {:.3}, {:.3} under `{}` (interval {:.3} to {:.3}), beyond the margin {}",
            score.score,
            -against.difference,
            against.best,
            -against.high,
            -against.low,
            quality.margin
        )),
        _ => Standing::Good,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_member_is_demoted_below_the_floor_or_surely_under_the_best() {
        let quality = |floor| RouteQuality {
            suite: "s.yaml".into(),
            floor,
            margin: 0.05,
        };
        let score = |score, high| Score {
            score,
            scorer: "exact".to_owned(),
            rows: 100,
            unscored: 0,
            simulated: false,
            against_best: Some(Against {
                best: "a/b".to_owned(),
                difference: -0.1,
                low: -0.15,
                high,
            }),
        };
        assert_eq!(
            judge(&score(0.9, -0.04), &quality(Some(0.9))),
            Standing::Good
        );
        assert!(matches!(
            judge(&score(0.89, -0.04), &quality(Some(0.9))),
            Standing::Demoted(why) if why.contains("floor 0.9")
        ));
        assert!(matches!(
            judge(&score(0.9, -0.06), &quality(None)),
            Standing::Demoted(why) if why.contains("0.060 to 0.150")
        ));
        let best = Score {
            against_best: None,
            ..score(0.5, 0.0)
        };
        assert_eq!(judge(&best, &quality(None)), Standing::Good);
        assert_eq!(fact_name(Path::new("evals/x.yaml")), "quality:x.yaml");
    }
}
