//! Random token that the output of an agent cannot contain by chance or by guessing.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::sha256;

/// Returns 32 hex digits from the kernel's random number generator.
#[must_use]
pub fn random_token() -> String {
    let mut seed = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    if read.is_err() {
        // Without /dev (in a bare chroot), fall back to the time and the pid.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        seed[..16].copy_from_slice(&since_1970.as_nanos().to_le_bytes());
        seed[16..20].copy_from_slice(&std::process::id().to_le_bytes());
    }
    sha256::hex(&sha256::sha256(&seed)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_hex_and_differ() {
        let tokens = [random_token(), random_token()];
        assert_ne!(tokens[0], tokens[1]);
        assert!(tokens.iter().all(|token| token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit())));
    }
}
