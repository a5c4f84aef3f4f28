//! Random orthogonal matrices as graph.

use super::random::{self, Key};
use crate::ir::scan::{Over, Step, Stepped};
use crate::ir::{Graph, NodeId, Shape};

/// An odd polynomial `x * (a + b x^2 + c x^4)` of singular values.
type Polynomial = [f64; 3];

/// Multiplies small singular values by more than 3 and keeps those in `(0, 1.21]` there; what it has once lifted stays
/// above 0.68.
const LIFT: Polynomial = [3.4445, -4.775, 2.0315];
/// Takes singular values of `0.68..=1.21` to 1, cubing the error: three rounds are exact in `f32`.
const POLISH: Polynomial = [1.875, -1.25, 0.375];
const POLISHES: usize = 3;

/// A matrix with orthonormal columns, or rows where it has fewer rows, uniform among all of them: the orthogonal factor
/// of the polar decomposition of a normal matrix, by iteration on its singular values.
pub(super) fn orthogonal(g: &mut Graph, key: Key, rows: usize, columns: usize) -> NodeId {
    let (long, short) = (rows.max(columns), rows.min(columns));
    let shape = Shape::fixed(&[long, short]);
    let x = random::normal(g, key, &shape, 0.0, 1.0);
    // The Frobenius norm bounds the largest singular value.
    let square = g.square(x);
    let square = g.sum_all(square);
    let scale = g.rsqrt(square);
    let scale = g.broadcast_to(scale, &shape);
    let x = g.mul(x, scale);
    let x = repeat(g, x, LIFT, lifts(short));
    let x = repeat(g, x, POLISH, POLISHES);
    if rows < columns { g.permute(x, &[1, 0]) } else { x }
}

/// Rounds that lift the smallest singular value. In a square normal matrix of unit Frobenius norm it is about
/// `n^-1.5`, and less than that by a factor of 10^4 once in 10^4 matrices.
fn lifts(n: usize) -> usize {
    if n < 2 {
        return 0;
    }
    ((1e4 * (n as f64).powf(1.5)).ln() / LIFT[0].ln()).ceil() as usize
}

/// Rounds of one polynomial.
fn repeat(g: &mut Graph, x: NodeId, polynomial: Polynomial, rounds: usize) -> NodeId {
    if rounds == 0 {
        return x;
    }
    let over = Over { length: rounds, carries: &[x], ..Over::default() };
    let round = |g: &mut Graph, at: &Step| {
        let carries = vec![apply(g, at.carries[0], polynomial)];
        Stepped { carries, outputs: vec![] }
    };
    g.scan(over, round).carries[0]
}

/// `x * (a + b x'x + c (x'x)^2)`
fn apply(g: &mut Graph, x: NodeId, [a, b, c]: Polynomial) -> NodeId {
    let gram = g.contract(x, x, &[], &[(0, 0)]);
    let square = g.contract(gram, gram, &[], &[(1, 0)]);
    let (square, gram) = (g.mul_s(square, c), g.mul_s(gram, b));
    let factor = g.add(gram, square);
    let change = g.contract(x, factor, &[], &[(1, 0)]);
    let kept = g.mul_s(x, a);
    g.add(kept, change)
}
