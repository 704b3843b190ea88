//! Where a model runs: the processor, or a graphics card that this build knows of.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use serde::{Deserialize, Serialize};

/// Which device is asked for. Written `auto`, `cpu`, `cuda`, `cuda:1`, `metal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first card that opens, else the processor.
    Auto,
    #[default]
    Cpu,
    /// An NVIDIA card by its number.
    Cuda(usize),
    /// The graphics processor of an Apple machine.
    Metal,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("`{0}` is no device; write `auto`, `cpu`, `cuda`, `cuda:N` or `metal`")]
    Unknown(String),
    #[error(
        "this build has no {backend}: build with `--features {feature}`, or take the device `cpu`"
    )]
    NotBuilt {
        backend: &'static str,
        feature: &'static str,
    },
    #[error(
        "the device `{device}` does not open: {reason}; see that the driver is there and has such a \
         card, or take the device `cpu`"
    )]
    NotOpened { device: String, reason: String },
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(0) => f.write_str("cuda"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(text.to_owned())),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

/// Cards that were opened, by what was asked for: a card that is opened twice counts as two, and
/// tensors of the one cannot meet those of the other.
static OPENED: Mutex<Vec<(DeviceChoice, Device)>> = Mutex::new(Vec::new());

impl DeviceChoice {
    /// The device that [`Self::Auto`] stands for on this machine and in this build; any other
    /// stands for itself.
    #[must_use]
    pub fn resolved(self) -> Self {
        if self != Self::Auto {
            return self;
        }
        let found = [Self::Cuda(0), Self::Metal]
            .into_iter()
            .find(|choice| choice.open().is_ok());
        found.unwrap_or(Self::Cpu)
    }

    /// Opens the device; asked again, it is the same one.
    ///
    /// # Errors
    /// A backend that was not built in; a driver or card that is not there.
    pub fn open(self) -> Result<Device, DeviceError> {
        let choice = self.resolved();
        if choice == Self::Cpu {
            return Ok(Device::Cpu);
        }
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, device)) = opened.iter().find(|(held, _)| *held == choice) {
            return Ok(device.clone());
        }
        let device = choice.open_anew()?;
        opened.push((choice, device.clone()));
        Ok(device)
    }

    fn open_anew(self) -> Result<Device, DeviceError> {
        let (backend, feature, built, device) = match self {
            Self::Auto | Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(index) => (
                "CUDA",
                "cuda",
                cfg!(feature = "cuda"),
                Device::new_cuda(index),
            ),
            Self::Metal => (
                "Metal",
                "metal",
                cfg!(feature = "metal"),
                Device::new_metal(0),
            ),
        };
        if !built {
            return Err(DeviceError::NotBuilt { backend, feature });
        }
        device.map_err(|error| DeviceError::NotOpened {
            device: self.to_string(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["auto", "cpu", "cuda", "cuda:3", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda:0".parse::<DeviceChoice>(), Ok(DeviceChoice::Cuda(0)));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_that_cannot_be_used_says_what_to_do() {
        assert!(DeviceChoice::Cpu.open().unwrap().is_cpu());
        assert!(DeviceChoice::Auto.open().is_ok());
        for (choice, built, feature) in [
            (DeviceChoice::Cuda(0), cfg!(feature = "cuda"), "cuda"),
            (DeviceChoice::Metal, cfg!(feature = "metal"), "metal"),
        ] {
            match choice.open() {
                Err(DeviceError::NotBuilt { .. }) if built => panic!("{feature} is built in"),
                Err(error @ DeviceError::NotBuilt { .. }) => {
                    assert!(error.to_string().contains(&format!("--features {feature}")));
                }
                other => assert!(built, "{other:?}"),
            }
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_named() {
        // No machine has so many.
        let error = DeviceChoice::Cuda(4096).open().unwrap_err();
        if cfg!(feature = "cuda") {
            assert!(error.to_string().contains("cuda:4096"), "{error}");
        } else {
            assert!(matches!(error, DeviceError::NotBuilt { .. }));
        }
    }
}
