//! The order of rows in an epoch.
//!
//! Part of what a seed promises: the order of epoch `e` under seed `s` is the Fisher-Yates shuffle of `0..rows` driven
//! by SplitMix64 (Steele, Lea and Flood 2014), started at `mix(mix(s) + e)` and read through Lemire's unbiased reduction
//! to a range. It depends on nothing else, so that an interrupted training can be taken up at any epoch.

/// A stream of 64-bit numbers.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`, each with the same probability.
    fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }
}

/// The finaliser of SplitMix64, a bijection.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Puts items in an order that depends on their number and the seed alone, the same on every machine.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    shuffle_epoch(items, seed, 0);
}

/// Puts items in the order of an epoch.
pub(super) fn shuffle_epoch<T>(items: &mut [T], seed: u64, epoch: usize) {
    let mut random = SplitMix64(mix(mix(seed).wrapping_add(epoch as u64)));
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rows).collect();
        shuffle_epoch(&mut order, seed, epoch);
        order
    }

    #[test]
    fn splitmix_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        for rows in [0, 1, 2, 7, 100] {
            let mut sorted = order(rows, 3, 1);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..rows));
        }
        assert_eq!(order(100, 3, 1), order(100, 3, 1));
        assert_ne!(order(100, 3, 1), order(100, 3, 2));
        assert_ne!(order(100, 3, 1), order(100, 4, 1));
    }

    #[test]
    fn the_order_never_changes() {
        let mut letters = *b"abcdefgh";
        shuffle(&mut letters, 42);
        assert_eq!(&letters, b"gahcfbde");
        assert_eq!(order(8, 42, 0), [6, 0, 7, 2, 5, 1, 3, 4]);
    }

    #[test]
    fn positions_are_uniform() {
        let mut counts = [[0u32; 5]; 5];
        for seed in 0..5000 {
            order(5, seed, 0).into_iter().enumerate().for_each(|(i, row)| counts[i][row] += 1);
        }
        assert!(counts.as_flattened().iter().all(|n| (850..1150).contains(n)), "{counts:?}");
    }
}
