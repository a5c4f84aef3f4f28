//! The hash functions of TensorFlow's string operations, to the bit: buckets are part of a trained model.

/// A number of 8 bytes, little-endian, at a place.
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The same of 4 bytes.
fn half(bytes: &[u8], at: usize) -> u64 {
    word(bytes, at) & u64::from(u32::MAX)
}

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

fn mix(x: u64) -> u64 {
    x ^ x >> 47
}

/// Folds two words into one.
fn fold(u: u64, v: u64, factor: u64) -> u64 {
    let a = mix((u ^ v).wrapping_mul(factor));
    mix((v ^ a).wrapping_mul(factor)).wrapping_mul(factor)
}

/// FarmHash's `Fingerprint64`: what `to_hash_bucket_fast` divides into buckets.
pub fn fingerprint(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0 => K2,
        1..=3 => up_to_3(bytes),
        4..=7 => {
            let length = bytes.len() as u64;
            fold(length + (half(bytes, 0) << 3), half(bytes, bytes.len() - 4), factor(bytes))
        }
        8..=16 => up_to_16(bytes),
        17..=32 => up_to_32(bytes),
        33..=64 => up_to_64(bytes),
        _ => longer(bytes),
    }
}

/// The multiplier of a length.
fn factor(bytes: &[u8]) -> u64 {
    K2.wrapping_add(2 * bytes.len() as u64)
}

fn up_to_3(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    let y = u64::from(bytes[0]) + (u64::from(bytes[n / 2]) << 8);
    let z = n as u64 + (u64::from(bytes[n - 1]) << 2);
    mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
}

fn up_to_16(bytes: &[u8]) -> u64 {
    let factor = factor(bytes);
    let a = word(bytes, 0).wrapping_add(K2);
    let b = word(bytes, bytes.len() - 8);
    let c = b.rotate_right(37).wrapping_mul(factor).wrapping_add(a);
    let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(factor);
    fold(c, d, factor)
}

/// What the two middle lengths begin with: the words at both ends, and a fold of them.
fn ends(bytes: &[u8], first: u64) -> ([u64; 4], u64, u64) {
    let factor = factor(bytes);
    let n = bytes.len();
    let a = word(bytes, 0).wrapping_mul(first);
    let b = word(bytes, 8);
    let c = word(bytes, n - 8).wrapping_mul(factor);
    let d = word(bytes, n - 16).wrapping_mul(K2);
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = fold(y, b.wrapping_add(K2).rotate_right(18).wrapping_add(a).wrapping_add(c), factor);
    ([a, b, c, d], y, z)
}

fn up_to_32(bytes: &[u8]) -> u64 {
    ends(bytes, K1).2
}

fn up_to_64(bytes: &[u8]) -> u64 {
    let (factor, n) = (factor(bytes), bytes.len());
    let ([a, ..], y, z) = ends(bytes, K2);
    let e = word(bytes, 16).wrapping_mul(factor);
    let f = word(bytes, 24);
    let g = y.wrapping_add(word(bytes, n - 32)).wrapping_mul(factor);
    let h = z.wrapping_add(word(bytes, n - 24)).wrapping_mul(factor);
    let left = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    fold(left, f.wrapping_add(a).rotate_right(18).wrapping_add(e).wrapping_add(g), factor)
}

/// The state of the loop over blocks of 64 bytes.
struct Blocks {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

/// A weak hash of 32 bytes.
fn weak(bytes: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let [w, x, y, z] = [0, 8, 16, 24].map(|i| word(bytes, at + i));
    let a = a.wrapping_add(w);
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let sum = a.wrapping_add(x).wrapping_add(y);
    (sum.wrapping_add(z), b.wrapping_add(sum.rotate_right(44)).wrapping_add(a))
}

impl Blocks {
    /// Takes in a block. The last one has a factor and scales of its own.
    fn take(&mut self, bytes: &[u8], at: usize, factor: u64, scale: u64) {
        let Blocks { x, y, z, v, w } = self;
        let sum = x.wrapping_add(*y).wrapping_add(v.0).wrapping_add(word(bytes, at + 8));
        *x = sum.rotate_right(37).wrapping_mul(factor) ^ w.1.wrapping_mul(scale);
        let sum = y.wrapping_add(v.1).wrapping_add(word(bytes, at + 48));
        *y = sum.rotate_right(42).wrapping_mul(factor);
        *y = y.wrapping_add(v.0.wrapping_mul(scale)).wrapping_add(word(bytes, at + 40));
        *z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(factor);
        *v = weak(bytes, at, v.1.wrapping_mul(factor), x.wrapping_add(w.0));
        *w = weak(bytes, at + 32, z.wrapping_add(w.1), y.wrapping_add(word(bytes, at + 16)));
        std::mem::swap(z, x);
    }
}

fn longer(bytes: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let y = SEED.wrapping_mul(K1).wrapping_add(113);
    let mut state = Blocks {
        x: SEED.wrapping_mul(K2).wrapping_add(word(bytes, 0)),
        y,
        z: mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2),
        v: (0, 0),
        w: (0, 0),
    };
    let rest = (bytes.len() - 1) % 64;
    for at in (0..bytes.len() - 1 - rest).step_by(64) {
        state.take(bytes, at, K1, 1);
    }
    let factor = K1.wrapping_add((state.z & 0xff) << 1);
    state.w.0 = state.w.0.wrapping_add(rest as u64);
    state.v.0 = state.v.0.wrapping_add(state.w.0);
    state.w.0 = state.w.0.wrapping_add(state.v.0);
    state.take(bytes, bytes.len() - 64, factor, 9);
    let Blocks { x, y, z, v, w } = state;
    let left = fold(v.0, w.0, factor).wrapping_add(mix(y).wrapping_mul(K0)).wrapping_add(z);
    fold(left, fold(v.1, w.1, factor).wrapping_add(x), factor)
}

/// SipHash-2-4 with a key of two words: what `to_hash_bucket_strong` divides into buckets.
pub fn keyed(bytes: &[u8], key: [u64; 2]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut take = |message: u64, rounds: usize| {
        v[3] ^= message;
        (0..rounds).for_each(|_| round(&mut v));
        v[0] ^= message;
    };
    let (blocks, tail) = bytes.as_chunks::<8>();
    blocks.iter().for_each(|block| take(u64::from_le_bytes(*block), 2));
    take((bytes.len() as u64) << 56 | word(tail, 0), 2);
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    let mut half = |a: usize, b: usize, turn: u32| {
        v[a] = v[a].wrapping_add(v[b]);
        v[b] = v[b].rotate_left(turn) ^ v[a];
    };
    half(0, 1, 13);
    half(2, 3, 16);
    v[0] = v[0].rotate_left(32);
    let mut half = |a: usize, b: usize, turn: u32| {
        v[a] = v[a].wrapping_add(v[b]);
        v[b] = v[b].rotate_left(turn) ^ v[a];
    };
    half(2, 1, 17);
    half(0, 3, 21);
    v[2] = v[2].rotate_left(32);
}

/// MD5: what `hashing_trick` can use.
pub fn md5(bytes: &[u8]) -> u128 {
    const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let constant = |i: usize| ((i as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - bytes.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(8 * bytes.len() as u64).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (f, place) = match i / 16 {
                0 => (b & c | !b & d, i),
                1 => (d & b | !d & c, 5 * i + 1),
                2 => (b ^ c ^ d, 3 * i + 5),
                _ => (c ^ (b | !d), 7 * i),
            };
            let word = half(block, 4 * (place % 16)) as u32;
            let sum = a.wrapping_add(f).wrapping_add(constant(i)).wrapping_add(word);
            (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(TURNS[i / 16][i % 4])));
        }
        let turned = [a, b, c, d];
        state.iter_mut().zip(turned).for_each(|(old, new)| *old = old.wrapping_add(new));
    }
    let digest = state.iter().flat_map(|word| word.to_le_bytes());
    digest.fold(0, |number, byte| number << 8 | u128::from(byte))
}
