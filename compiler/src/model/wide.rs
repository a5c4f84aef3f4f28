//! Whole numbers of 64 bits as graph, whose integers have 32.
//!
//! A number is two `u32` tensors of one shape. Sums and products wrap around, as `u64` does in machine code.

use crate::ir::{DType, Graph, NodeId};

/// Unsigned numbers of 64 bits, one for each element: `high * 2^32 + low`.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    pub high: NodeId,
    pub low: NodeId,
}

impl Wide {
    /// The numbers of an integer tensor modulo 2^64: negative ones are extended by their sign.
    pub fn of_integers(g: &mut Graph, x: NodeId) -> Wide {
        let low = g.cast(x, DType::U32);
        let zero = g.lit_like(low, 0.0);
        let high = match g.ty(x).dtype {
            DType::I32 => {
                let (least, ones) = (g.lit_like(x, 0.0), g.lit_like(low, u32::MAX.into()));
                let negative = g.lt(x, least);
                g.select(negative, ones, zero)
            }
            _ => zero,
        };
        Wide { high, low }
    }

    /// One number for every element of a tensor.
    pub fn splat(g: &mut Graph, number: u64, like: Wide) -> Wide {
        let mut half = |bits: u64| g.lit_like(like.low, bits as u32 as f64);
        Wide { high: half(number >> 32), low: half(number) }
    }

    /// Exclusive or, bit by bit.
    pub fn xor(self, g: &mut Graph, other: Wide) -> Wide {
        Wide { high: g.xor(self.high, other.high), low: g.xor(self.low, other.low) }
    }

    /// The product with a constant.
    pub fn times(self, g: &mut Graph, factor: u64) -> Wide {
        let (high, low) = ((factor >> 32) as u32, factor as u32);
        let carried = high_product(g, self.low, low);
        let (upper, lower) = (g.mul_s(self.low, high.into()), g.mul_s(self.high, low.into()));
        let across = g.add(upper, lower);
        Wide { high: g.add(carried, across), low: g.mul_s(self.low, low.into()) }
    }

    /// The remainder of a division by a constant between 1 and 2^31, as `u32`.
    pub fn remainder(self, g: &mut Graph, divisor: u32) -> NodeId {
        let n = g.lit_like(self.low, divisor.into());
        // A remainder has so many bits, and a `u32` room for these more below them: long division in digits of as many.
        let bits = u32::BITS - (divisor - 1).leading_zeros();
        let room = (u32::BITS - bits).min(u32::BITS / 2);
        let mut rest = g.rem(self.high, n);
        let mut left = u32::BITS;
        while left > 0 {
            let digit = room.min(left);
            left -= digit;
            let next = shifted(g, self.low, left);
            let next = masked(g, next, (1 << digit) - 1);
            let up = g.lit_like(rest, digit.into());
            let up = g.shl(rest, up);
            let joined = g.or(up, next);
            rest = g.rem(joined, n);
        }
        rest
    }
}

/// The upper 32 bits of the products with a constant, from products of 16 bits, none of which overflows.
fn high_product(g: &mut Graph, x: NodeId, factor: u32) -> NodeId {
    const HALF: u32 = 16;
    const ONES: u32 = (1 << HALF) - 1;
    let (k1, k0) = ((factor >> HALF).into(), (factor & ONES).into());
    let (x1, x0) = (shifted(g, x, HALF), masked(g, x, ONES));
    let lowest = g.mul_s(x0, k0);
    let carry = shifted(g, lowest, HALF);
    let middle = g.mul_s(x1, k0);
    let middle = g.add(middle, carry);
    let (carry, rest) = (shifted(g, middle, HALF), masked(g, middle, ONES));
    let other = g.mul_s(x0, k1);
    let other = g.add(other, rest);
    let second = shifted(g, other, HALF);
    let highest = g.mul_s(x1, k1);
    let highest = g.add(highest, carry);
    g.add(highest, second)
}

/// `x >> bits` for fewer than 32 bits.
pub fn shifted(g: &mut Graph, x: NodeId, bits: u32) -> NodeId {
    let bits = g.lit_like(x, bits.into());
    g.shr(x, bits)
}

/// `x & mask`
fn masked(g: &mut Graph, x: NodeId, mask: u32) -> NodeId {
    let mask = g.lit_like(x, mask.into());
    g.and(x, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Shape, TensorType, eval};

    /// Numbers at the borders of halves and limbs, and some between.
    const NUMBERS: [u64; 12] = [
        0,
        1,
        0xFFFF,
        0x1_0000,
        0xFFFF_FFFF,
        0x1_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000,
        0xFFFF_FFFF_0000_0000,
        0xFFFF_FFFF_FFFF_FFFF,
        0xC6A4_A793_5BD1_E995,
        0x0123_4567_89AB_CDEF,
    ];

    /// What becomes of all the numbers.
    fn each(f: impl Fn(&mut Graph, Wide) -> (NodeId, NodeId)) -> Vec<u64> {
        let mut g = Graph::new("wide");
        let ty = TensorType::new(DType::U32, Shape::fixed(&[NUMBERS.len()]));
        let mut half = |shift: u32| g.dense(ty.clone(), NUMBERS.map(|x| (x >> shift) as u32 as f64));
        let x = Wide { high: half(32), low: half(0) };
        let (high, low) = f(&mut g, x);
        g.output("high", high);
        g.output("low", low);
        let out = eval::evaluate(&g, 1, &[], &[]).expect("no inputs").outputs;
        let (high, low) = (out[0].to_numbers(), out[1].to_numbers());
        high.iter().zip(low).map(|(high, low)| (*high as u64) << 32 | low as u64).collect()
    }

    #[test]
    fn products_are_those_of_64_bits() {
        for factor in NUMBERS {
            let found = each(|g, x| {
                let y = x.times(g, factor);
                (y.high, y.low)
            });
            assert_eq!(found, NUMBERS.map(|x| x.wrapping_mul(factor)), "{factor:#x}");
        }
    }

    #[test]
    fn remainders_are_those_of_64_bits() {
        let powers = (0..32).map(|i| 1u32 << i);
        let around = powers.flat_map(|n| [n - 1, n, n.wrapping_add(1)]).filter(|n| (1..=1 << 31).contains(n));
        for divisor in around.chain([7, 1000, 10007, 1_000_003, 0x7FFF_FFFE]) {
            let found = each(|g, x| {
                let rest = x.remainder(g, divisor);
                (g.lit_like(rest, 0.0), rest)
            });
            assert_eq!(found, NUMBERS.map(|x| x % u64::from(divisor)), "{divisor}");
        }
    }
}
