//! SHA-256 as defined by FIPS 180-4, and its hexadecimal notation. Hashes bytes in memory. Used to identify what was
//! run, not to keep secrets.

const BLOCK_BYTES: usize = 64;
const LENGTH_BYTES: usize = 8;

/// The fractional parts of the square roots of the first 8 primes.
const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The fractional parts of the cube roots of the first 64 primes.
const ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

/// Returns the SHA-256 digest of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let mut state = INITIAL;
    for block in blocks {
        compress(&mut state, block);
    }
    for block in padded(rest, bytes.len()).as_chunks::<BLOCK_BYTES>().0 {
        compress(&mut state, block);
    }

    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

/// Returns `bytes` in lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        digits += &format!("{byte:02x}");
    }
    digits
}

/// Returns the last bytes of a message with the padding: a one bit, zeros, and the length in bits. One block or two.
fn padded(rest: &[u8], message_bytes: usize) -> Vec<u8> {
    let mut tail = rest.to_vec();
    tail.push(0x80);
    let filled = (tail.len() + LENGTH_BYTES).next_multiple_of(BLOCK_BYTES) - LENGTH_BYTES;
    tail.resize(filled, 0);
    tail.extend((message_bytes as u64 * 8).to_be_bytes());
    tail
}

fn compress(state: &mut [u32; 8], block: &[u8; BLOCK_BYTES]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, round) in schedule(block).into_iter().zip(ROUNDS) {
        let sum_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let first = h.wrapping_add(sum_e).wrapping_add(choice).wrapping_add(round).wrapping_add(word);
        let sum_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let second = sum_a.wrapping_add(majority);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(first), c, b, a, first.wrapping_add(second));
    }
    for (word, mixed) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(mixed);
    }
}

/// Expands the 16 words of a block to the 64 of the message schedule.
fn schedule(block: &[u8; BLOCK_BYTES]) -> [u32; 64] {
    let mut words = [0; 64];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for i in 16..64 {
        let (near, far) = (words[i - 2], words[i - 15]);
        let sum_near = near.rotate_right(17) ^ near.rotate_right(19) ^ (near >> 10);
        let sum_far = far.rotate_right(7) ^ far.rotate_right(18) ^ (far >> 3);
        words[i] = words[i - 16].wrapping_add(sum_far).wrapping_add(words[i - 7]).wrapping_add(sum_near);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn examples_of_the_standard() {
        let digest = |text: &str| hex(&sha256(text.as_bytes()));
        assert_eq!(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
        assert_eq!(digest(&"a".repeat(1_000_000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn every_length_around_a_block_boundary() {
        for length in 0..=2 * BLOCK_BYTES + 1 {
            let bytes = vec![0xa5; length];
            assert_eq!(sha256(&bytes)[..], Sha256::digest(&bytes)[..], "{length} bytes");
        }
    }

    #[test]
    fn hex_has_two_digits_a_byte() {
        assert_eq!(hex(&[0x00, 0x0f, 0xff]), "000fff");
    }

    proptest! {
        #[test]
        fn digest_equals_that_of_the_sha2_crate(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(&sha256(&bytes)[..], &Sha256::digest(&bytes)[..]);
        }
    }
}
