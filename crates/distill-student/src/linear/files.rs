//! A linear student as bytes: tensors in safetensors, the rest in JSON. The same student always gives
//! the same bytes.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{LinearError, LinearSettings, LinearStudent, Vectorizer};

const HASHES: &str = "hashes";
const IDF: &str = "idf";
const SCALES: &str = "scales";
const WEIGHTS: &str = "weights";
const BIAS: &str = "bias";

impl LinearStudent {
    /// The tensors as a safetensors file. [`LinearStudent::settings`] is the other half.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let features = self.vectorizer.len();
        let classes = self.bias.len();
        let hashes = bytes_of(self.vectorizer.hashes(), u32::to_le_bytes);
        let idf = bytes_of(self.vectorizer.idf(), f32::to_le_bytes);
        let scales = bytes_of(&self.scales, f32::to_le_bytes);
        let bias = bytes_of(&self.bias, f32::to_le_bytes);
        let weights = bytes_of(&self.weights, i8::to_le_bytes);
        let tensors: BTreeMap<&str, TensorView<'_>> = [
            (HASHES, Dtype::U32, vec![features], &hashes),
            (IDF, Dtype::F32, vec![features], &idf),
            (SCALES, Dtype::F32, vec![features], &scales),
            (WEIGHTS, Dtype::I8, vec![features, classes], &weights),
            (BIAS, Dtype::F32, vec![classes], &bias),
        ]
        .into_iter()
        .map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(dtype, shape, bytes)
                .expect("every tensor's bytes were made from its shape");
            (name, view)
        })
        .collect();
        safetensors::serialize(tensors, None).expect("views of known sizes always serialise")
    }

    /// Reads a student. Sizes are checked against the file's own header before anything is
    /// allocated; values that are not finite and features out of order are refused.
    pub fn from_parts(settings: LinearSettings, tensors: &[u8]) -> Result<Self, LinearError> {
        let file = SafeTensors::deserialize(tensors)
            .map_err(|error| LinearError::Malformed(error.to_string()))?;
        let classes = settings.labels.len();
        let features = match tensor(&file, HASHES)?.shape() {
            [features] => *features,
            shape => {
                return Err(LinearError::Shape {
                    name: HASHES,
                    found: format!("{shape:?}"),
                    expected: "one row".to_owned(),
                });
            }
        };
        let hashes = read(&file, HASHES, Dtype::U32, &[features], u32::from_le_bytes)?;
        if !hashes.is_sorted_by(|a, b| a < b) {
            return Err(LinearError::Malformed(
                "the n-gram hashes do not ascend".to_owned(),
            ));
        }
        let idf = finite(&file, IDF, &[features])?;
        let scales = finite(&file, SCALES, &[features])?;
        let bias = finite(&file, BIAS, &[classes])?;
        let shape = [features, classes];
        let weights = read(&file, WEIGHTS, Dtype::I8, &shape, i8::from_le_bytes)?;
        check_settings(&settings)?;
        let student = Self {
            vectorizer: Vectorizer::from_parts(settings.features, hashes, idf),
            settings,
            weights,
            scales,
            bias,
        };
        student.check_labels()?;
        Ok(student)
    }
}

fn check_settings(settings: &LinearSettings) -> Result<(), LinearError> {
    let wrong = |what: &str| Err(LinearError::Settings(what.to_owned()));
    if !(settings.sharpness.is_finite() && settings.sharpness > 0.0) {
        return wrong("the sharpness is not a positive number");
    }
    let [shortest, longest] = settings.features.characters;
    if settings.features.max_words > 8 || longest > 16 || shortest == 0 {
        return wrong("n-grams of more than 8 words or outside 1 to 16 characters");
    }
    Ok(())
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &'static str) -> Result<TensorView<'a>, LinearError> {
    file.tensor(name)
        .map_err(|_| LinearError::Malformed(format!("tensor `{name}` is missing")))
}

fn read<T, const N: usize>(
    file: &SafeTensors<'_>,
    name: &'static str,
    dtype: Dtype,
    shape: &[usize],
    from_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, LinearError> {
    let tensor = tensor(file, name)?;
    if tensor.dtype() != dtype || tensor.shape() != shape {
        return Err(LinearError::Shape {
            name,
            found: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
            expected: format!("{dtype:?} {shape:?}"),
        });
    }
    let values = tensor.data().chunks_exact(N);
    Ok(values
        .map(|chunk| from_bytes(chunk.try_into().expect("chunks have N bytes")))
        .collect())
}

fn finite(
    file: &SafeTensors<'_>,
    name: &'static str,
    shape: &[usize],
) -> Result<Vec<f32>, LinearError> {
    let values = read(file, name, Dtype::F32, shape, f32::from_le_bytes)?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(LinearError::NotFinite { name })
    }
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to_bytes(*value)).collect()
}
