//! Vectors for texts: hashed words and letter triples, so that texts with words in common are near.

use sha2::{Digest, Sha256};

/// Length of a vector where the request names none.
pub(super) const USUAL_LENGTH: usize = 256;
/// Longest vector.
pub(super) const LONGEST: usize = 4096;

/// A vector of length one (or of zeros, for a text without letters) of so many numbers.
pub(super) fn of(text: &str, length: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; length];
    let mut add = |feature: &str, weight: f32| {
        let digest = Sha256::digest(feature.as_bytes());
        let number = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        let sign = if number & 1 == 0 { weight } else { -weight };
        vector[(number >> 1) as usize % length] += sign;
    };
    for word in text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let word = word.to_lowercase();
        // Short words are in every text and say little.
        add(&word, if word.chars().count() < 4 { 0.4 } else { 1.0 });
        let letters: Vec<char> = format!(" {word} ").chars().collect();
        for triple in letters.windows(3) {
            add(&triple.iter().collect::<String>(), 0.25);
        }
    }
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        for value in &mut vector {
            *value /= norm;
        }
    }
    vector
}

/// Little-endian numbers in base 64 (RFC 4648), as the SDKs ask for them.
pub(super) fn base64(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0_u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            if place <= chunk.len() {
                let index = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(LETTERS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, of};

    fn nearness(a: &str, b: &str) -> f32 {
        of(a, 256).iter().zip(of(b, 256)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_near() {
        let near = nearness("How do I reset my password?", "how do i reset the password");
        let far = nearness("How do I reset my password?", "quarterly revenue by region");
        assert!(near > 0.8 && far < 0.4, "{near} {far}");
        assert!((nearness("same", "same") - 1.0).abs() < 1e-5);
        assert_eq!(of("", 8), [0.0; 8]);
    }

    #[test]
    fn base_64_pads_as_the_specification_says() {
        // 1.0 is 00 00 80 3f.
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, 1.0]), "AACAPwAAgD8=");
        assert_eq!(base64(&[1.0, 1.0, 1.0]), "AACAPwAAgD8AAIA/");
    }
}
