//! Chance as a function: the same seed and names always draw the same number.

use sha2::{Digest, Sha256};

/// A number in [0, 1) for these names. Each part is hashed with its length, so that no two lists
/// of names meet.
pub(super) fn uniform(seed: u64, parts: &[&[u8]]) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let bytes: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    // 53 bits: all that a double holds.
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A standard normal number for these names.
pub(super) fn normal(seed: u64, parts: &[&[u8]]) -> f64 {
    let with = |last: &'static [u8]| {
        let mut parts = parts.to_vec();
        parts.push(last);
        uniform(seed, &parts)
    };
    // Box and Muller; one minus keeps the logarithm away from zero.
    (-2.0 * (1.0 - with(b"radius")).ln()).sqrt() * (std::f64::consts::TAU * with(b"angle")).cos()
}

#[cfg(test)]
mod tests {
    use super::{normal, uniform};

    #[test]
    fn draws_repeat_and_spread() {
        assert_eq!(uniform(1, &[b"a"]).to_bits(), uniform(1, &[b"a"]).to_bits());
        assert_ne!(uniform(1, &[b"a"]).to_bits(), uniform(2, &[b"a"]).to_bits());
        assert_ne!(
            uniform(1, &[b"ab", b"c"]).to_bits(),
            uniform(1, &[b"a", b"bc"]).to_bits()
        );
        let draws: Vec<f64> = (0..4000_u32)
            .map(|n| normal(1, &[&n.to_le_bytes()]))
            .collect();
        let mean = draws.iter().sum::<f64>() / 4000.0;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 4000.0;
        assert!(
            mean.abs() < 0.06 && (variance - 1.0).abs() < 0.1,
            "{mean} {variance}"
        );
    }
}
