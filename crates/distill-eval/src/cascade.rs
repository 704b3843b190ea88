//! A student that answers where it is sure and asks the teacher where it is not.

mod calibration;
mod deferral;
#[cfg(test)]
mod tests;
mod threshold;

pub use calibration::{Calibration, CalibrationPoint};
pub use deferral::{DeferralPoint, DeferralRow, deferral_curve};
pub use threshold::{THRESHOLDS, Threshold, choose_threshold};
