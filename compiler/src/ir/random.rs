//! Random numbers for tests, and graphs made of them.

/// A small deterministic generator (SplitMix64): tests draw from it so that a seed names a case for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() >> 32) as usize * n) >> 32
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// An element of a slice that is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number of an interval that is exact in `f32`.
    pub fn float(&mut self, (low, high): (f64, f64)) -> f64 {
        let unit = (self.bits() >> 40) as f64 / (1u64 << 24) as f64;
        ((low + (high - low) * unit) as f32) as f64
    }

    /// Numbers of an interval.
    pub fn floats(&mut self, count: usize, domain: (f64, f64)) -> Vec<f64> {
        (0..count).map(|_| self.float(domain)).collect()
    }
}
