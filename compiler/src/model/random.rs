//! Counter-based random numbers as graph.
//!
//! A draw is a pure function of the seed, the layer's path, the step and the element's index: Threefry-2x32 in
//! integer operations, so that every backend, thread count and batch position draws the same bits. Nothing is
//! carried from one element to the next.

use crate::ir::{DType, Dim, Graph, NodeId, Shape, TensorType};

/// Rounds of Threefry-2x32; 13 is the fewest that pass every test of BigCrush.
const ROUNDS: usize = 13;
const ROTATIONS: [u32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];
const PARITY: u32 = 0x1BD1_1BDA;

/// The key of one stream: two `u32` scalars.
#[derive(Clone, Copy, Debug)]
pub struct Key(pub NodeId, pub NodeId);

impl Key {
    /// The halves of a `u32[2]` seed.
    pub fn from_seed(g: &mut Graph, seed: NodeId) -> Key {
        let mut half = |i: usize| {
            let x = g.slice_axis(seed, 0, i, i + 1);
            g.reshape(x, Shape::scalar())
        };
        Key(half(0), half(1))
    }

    /// The key of a number.
    pub fn from_number(g: &mut Graph, seed: u64) -> Key {
        Key(g.scalar(DType::U32, (seed as u32) as f64), g.scalar(DType::U32, (seed >> 32) as f64))
    }

    /// An independent key for a name and a step, so that a layer's draws depend on nothing but its own path.
    pub fn derive(self, g: &mut Graph, name: &str, step: Option<NodeId>) -> Key {
        let hash = fnv1a(name.as_bytes());
        let low = g.scalar(DType::U32, (hash as u32) as f64);
        let high = g.scalar(DType::U32, (hash >> 32) as f64);
        let high = match step {
            Some(step) => g.xor(high, step),
            None => high,
        };
        let (a, b) = threefry(g, self, low, high, ROUNDS);
        Key(a, b)
    }
}

/// FNV-1a of 64 bits: spreads paths over streams.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |h, &b| (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01B3))
}

/// Two words of random bits for every pair of counters; the counters have one shape.
fn threefry(g: &mut Graph, key: Key, c0: NodeId, c1: NodeId, rounds: usize) -> (NodeId, NodeId) {
    let shape = g.ty(c0).shape.clone();
    let both = g.xor(key.0, key.1);
    let parity = g.lit_like(both, PARITY as f64);
    let schedule = [key.0, key.1, g.xor(both, parity)];
    let add_key = |g: &mut Graph, x: NodeId, k: NodeId| {
        let k = g.broadcast_to(k, &shape);
        g.add(x, k)
    };
    let mut x = (add_key(g, c0, schedule[0]), add_key(g, c1, schedule[1]));
    for round in 0..rounds {
        let sum = g.add(x.0, x.1);
        let r = ROTATIONS[round % 8];
        let (left, right) = (g.lit_like(x.1, r as f64), g.lit_like(x.1, (32 - r) as f64));
        let (high, low) = (g.shl(x.1, left), g.shr(x.1, right));
        let rotated = g.or(high, low);
        x = (sum, g.xor(rotated, sum));
        if round % 4 == 3 {
            let n = round / 4 + 1;
            let number = g.lit_like(key.0, n as f64);
            let second = g.add(schedule[(n + 1) % 3], number);
            x = (add_key(g, x.0, schedule[n % 3]), add_key(g, x.1, second));
        }
    }
    x
}

/// Two words of random bits for every element of a shape. A batch axis, if there is one, leads; an element's bits
/// depend on its row and its place in the row, not on the size of the batch.
pub fn bits(g: &mut Graph, key: Key, shape: &Shape) -> (NodeId, NodeId) {
    let batched = shape.first().is_some_and(|d| d.batch);
    let item = Shape(shape[batched as usize..].to_vec());
    let place = match item.elements().and_then(|n| n.as_fixed()) {
        Some(n) if item.rank() > 0 => {
            let flat = g.iota(0, DType::U32, Shape(vec![Dim::fixed(n)]));
            g.reshape(flat, item)
        }
        _ => g.scalar(DType::U32, 0.0),
    };
    let place = g.broadcast_to(place, shape);
    let row = match batched {
        true => g.iota(0, DType::U32, shape.clone()),
        false => g.lit_like(place, 0.0),
    };
    threefry(g, key, place, row, ROUNDS)
}

/// Uniform numbers in `[0, 1)` with 23 random bits.
pub fn unit(g: &mut Graph, bits: NodeId) -> NodeId {
    let nine = g.lit_like(bits, 9.0);
    let mantissa = g.shr(bits, nine);
    let one = g.lit_like(bits, 1f32.to_bits() as f64);
    let pattern = g.or(mantissa, one);
    let x = g.from_bits(pattern);
    g.add_s(x, -1.0)
}

/// Uniform numbers in `[low, high)`.
pub fn uniform(g: &mut Graph, key: Key, shape: &Shape, low: f64, high: f64) -> NodeId {
    let (word, _) = bits(g, key, shape);
    let u = unit(g, word);
    let u = g.mul_s(u, high - low);
    g.add_s(u, low)
}

/// Normal numbers, by Box and Muller.
pub fn normal(g: &mut Graph, key: Key, shape: &Shape, mean: f64, stddev: f64) -> NodeId {
    let (a, b) = bits(g, key, shape);
    let (a, b) = (unit(g, a), unit(g, b));
    let positive = g.s_sub(1.0, a);
    let l = g.log(positive);
    let l = g.mul_s(l, -2.0);
    let radius = g.sqrt(l);
    let angle = g.mul_s(b, std::f64::consts::TAU);
    let c = g.cos(angle);
    let z = g.mul(radius, c);
    let z = g.mul_s(z, stddev);
    g.add_s(z, mean)
}

/// Normal numbers restricted to two standard deviations around the mean, by inverting the distribution function.
pub fn truncated_normal(g: &mut Graph, key: Key, shape: &Shape, mean: f64, stddev: f64) -> NodeId {
    /// `erf(sqrt(2))`: the mass within two standard deviations.
    const INSIDE: f64 = 0.954_499_736_103_641_6;
    let u = uniform(g, key, shape, -INSIDE, INSIDE);
    let z = inverse_erf(g, u);
    let z = g.mul_s(z, std::f64::consts::SQRT_2 * stddev);
    g.add_s(z, mean)
}

/// Inverse error function for arguments below 0.99 in magnitude: Giles's central polynomial, accurate to `f32`.
fn inverse_erf(g: &mut Graph, x: NodeId) -> NodeId {
    const COEFFICIENTS: [f64; 9] = [
        2.81022636e-08,
        3.43273939e-07,
        -3.5233877e-06,
        -4.39150654e-06,
        0.00021858087,
        -0.00125372503,
        -0.00417768164,
        0.246640727,
        1.50140941,
    ];
    let square = g.square(x);
    let rest = g.s_sub(1.0, square);
    let l = g.log(rest);
    let w = g.s_sub(-2.5, l);
    let mut p = g.lit_like(x, COEFFICIENTS[0]);
    for c in &COEFFICIENTS[1..] {
        let t = g.mul(p, w);
        p = g.add_s(t, *c);
    }
    g.mul(p, x)
}

/// The type of a seed.
pub fn seed_type() -> TensorType {
    TensorType::new(DType::U32, Shape::fixed(&[2]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::eval;

    fn words(key: [u32; 2], counter: [u32; 2], rounds: usize) -> Vec<f64> {
        let mut g = Graph::new("threefry");
        let mut s = |x: u32| g.scalar(DType::U32, x as f64);
        let (key, c0, c1) = (Key(s(key[0]), s(key[1])), s(counter[0]), s(counter[1]));
        let (a, b) = threefry(&mut g, key, c0, c1, rounds);
        g.output("a", a);
        g.output("b", b);
        let out = eval::evaluate(&g, 1, &[], &[]).expect("no inputs").outputs;
        out.iter().flat_map(|t| t.to_numbers()).collect()
    }

    #[test]
    fn threefry_matches_its_published_vectors() {
        let pi = ([0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3]);
        let cases = [
            (13, [0, 0], [0, 0], [0x9d1c5ec6_u32, 0x8bd50731_u32]),
            (20, [0, 0], [0, 0], [0x6b200159, 0x99ba4efe]),
            (13, [u32::MAX; 2], [u32::MAX; 2], [0xfd36d048, 0x2d17272c]),
            (20, [u32::MAX; 2], [u32::MAX; 2], [0x1cb996fc, 0xbb002be7]),
            (20, pi.0, pi.1, [0xc4923a9c, 0x483df7a0]),
        ];
        for (rounds, key, counter, expected) in cases {
            assert_eq!(words(key, counter, rounds), expected.map(|x| x as f64), "{rounds} rounds");
        }
    }
}
