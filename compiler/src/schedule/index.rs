//! Index arithmetic: how views turn into affine addresses.
//!
//! A view of a tensor is lowered by rewriting the index at which it is read. All views keep affine indices affine,
//! except a reshape that splits an index into digits. Digits are affine when every axis falls into one digit; where an
//! axis straddles a border it is split in two at the border, and lowering starts again with the finer axes.

use crate::ir::Dim;

use super::program::{Affine, AxisId};

/// Why an index could not be rewritten with the axes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The axis must become two: `hi * factor + lo` with `lo < factor`.
    Split { axis: AxisId, factor: usize },
    /// No splitting helps; the tensor under the view has to be stored.
    NotAffine,
}

/// The largest and smallest value of an affine form, for the extents of its axes at a batch.
pub(super) fn range(index: &Affine, extent: &dyn Fn(AxisId) -> Dim, batch: usize) -> (i64, i64) {
    let (mut low, mut high) = (index.base, index.base);
    for &(axis, c) in &index.terms {
        let last = extent(axis).at(batch) as i64 - 1;
        if c > 0 { high += c * last.max(0) } else { low += c * last.max(0) }
    }
    (low, high)
}

/// The flat index of `index` in a group of axes with these extents. Only the first extent may depend on the batch.
pub(super) fn flatten(index: &[Affine], dims: &[Dim]) -> Affine {
    let (mut flat, mut stride) = (Affine::default(), 1);
    for (i, d) in index.iter().zip(dims).rev() {
        flat.add_scaled(i, stride);
        stride *= d.scale as i64;
    }
    flat
}

/// Splits a flat index into the digits of the given extents, or says what stands in the way.
pub(super) fn unflatten(flat: &Affine, dims: &[Dim], extent: &dyn Fn(AxisId) -> Dim) -> Result<Vec<Affine>, Obstacle> {
    let mut rest = flat.clone();
    let mut digits = Vec::with_capacity(dims.len());
    for j in 0..dims.len() {
        let stride: i64 = dims[j + 1..].iter().map(|d| d.scale as i64).product();
        if dims[j] == Dim::ONE {
            digits.push(Affine::default());
            continue;
        }
        let (high, low) = divide(&rest, stride, extent)?;
        digits.push(high);
        rest = low;
    }
    Ok(digits)
}

/// `index = high * by + low` with `0 <= low < by`.
fn divide(index: &Affine, by: i64, extent: &dyn Fn(AxisId) -> Dim) -> Result<(Affine, Affine), Obstacle> {
    if by == 1 {
        return Ok((index.clone(), Affine::default()));
    }
    let (mut high, mut low) =
        (Affine::constant(index.base.div_euclid(by)), Affine::constant(index.base.rem_euclid(by)));
    for &(axis, c) in &index.terms {
        if c % by == 0 { high.terms.push((axis, c / by)) } else { low.terms.push((axis, c)) }
    }
    let batched = low.terms.iter().any(|t| extent(t.0).batch);
    let (least, most) = range(&low, extent, 1);
    if !batched && least >= 0 && most < by {
        return Ok((high, low));
    }
    for &(axis, c) in &low.terms {
        let whole = extent(axis);
        if c > 0 && by % c == 0 {
            let factor = (by / c) as usize;
            if factor > 1 && whole.scale.is_multiple_of(factor) && (whole.batch || whole.scale > factor) {
                return Err(Obstacle::Split { axis, factor });
            }
        }
    }
    Err(Obstacle::NotAffine)
}

/// The address of an element of a dense buffer with these strides.
pub(super) fn address(index: &[Affine], strides: &[i64]) -> Affine {
    let mut address = Affine::default();
    for (i, &s) in index.iter().zip(strides) {
        address.add_scaled(i, s);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AxisId = AxisId(0);
    const B: AxisId = AxisId(1);

    fn form(base: i64, terms: &[(AxisId, i64)]) -> Affine {
        Affine { base, terms: terms.to_vec() }
    }

    #[test]
    fn digits_of_separate_axes() {
        let extent = |a: AxisId| [Dim::BATCH, Dim::fixed(6)][a.index()];
        let dims = [Dim::BATCH, Dim::fixed(2), Dim::fixed(3)];
        assert_eq!(unflatten(&form(0, &[(A, 6), (B, 1)]), &dims, &extent), Err(Obstacle::Split { axis: B, factor: 3 }));
        let extent = |a: AxisId| [Dim::BATCH, Dim::fixed(2), Dim::fixed(3)][a.index()];
        let flat = form(0, &[(A, 6), (B, 3), (AxisId(2), 1)]);
        assert_eq!(
            unflatten(&flat, &dims, &extent).unwrap(),
            vec![form(0, &[(A, 1)]), form(0, &[(B, 1)]), form(0, &[(AxisId(2), 1)])]
        );
    }

    #[test]
    fn batch_axis_splits_at_its_scale() {
        let extent = |_: AxisId| Dim { scale: 60, batch: true };
        let dims = [Dim::BATCH, Dim::fixed(60)];
        assert_eq!(unflatten(&form(0, &[(A, 1)]), &dims, &extent), Err(Obstacle::Split { axis: A, factor: 60 }));
    }

    #[test]
    fn odd_splits_are_refused() {
        let extent = |a: AxisId| [Dim::fixed(5), Dim::fixed(3)][a.index()];
        let dims = [Dim::fixed(3), Dim::fixed(5)];
        assert_eq!(unflatten(&form(0, &[(A, 3), (B, 1)]), &dims, &extent), Err(Obstacle::NotAffine));
    }
}
