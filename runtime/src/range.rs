//! Inputs whose elements have to be in a range: indices of tables, labels of classes. Compiled code reads no memory by
//! them that it must not, but what it would compute is nothing that anyone wants, so a call with others is refused.

use std::ops::Range;

use crate::dtype::{DType, Element, Input};
use crate::error::Error;
use crate::signature::Port;

/// A number that has a place among whole ones.
trait Whole: Element {
    /// A range in this type, as [`Whole::within`] takes it.
    fn ends(range: &Range<i64>) -> [Self; 2];
    /// Whether it is in a range, its fraction cut off. NaN never is.
    fn within(self, ends: [Self; 2]) -> bool;
    fn number(self) -> f64;
}

macro_rules! integers {
    ($($ty:ty),+) => { $(
        impl Whole for $ty {
            /// The least and the largest value.
            fn ends(range: &Range<i64>) -> [$ty; 2] {
                let (least, most) = (i64::from(<$ty>::MIN), i64::from(<$ty>::MAX));
                if range.start > most || range.end <= least {
                    return [<$ty>::MAX, <$ty>::MIN];
                }
                [range.start, range.end - 1].map(|end| end.clamp(least, most) as $ty)
            }

            #[inline(always)]
            fn within(self, [least, most]: [$ty; 2]) -> bool {
                (self >= least) & (self <= most)
            }

            fn number(self) -> f64 {
                f64::from(self)
            }
        }
    )+ };
}

macro_rules! floats {
    ($($ty:ty),+) => { $(
        impl Whole for $ty {
            /// What values are between.
            fn ends(range: &Range<i64>) -> [$ty; 2] {
                [range.start.saturating_sub(1) as $ty, range.end as $ty]
            }

            #[inline(always)]
            fn within(self, [below, above]: [$ty; 2]) -> bool {
                (self > below) & (self < above)
            }

            fn number(self) -> f64 {
                f64::from(self)
            }
        }
    )+ };
}

integers!(i32, u32, u8);
floats!(f32, f64);

/// The first element out of range. All are looked at before one is looked for, so that the usual case has no branch.
fn outside<T: Whole>(values: &[T], range: &Range<i64>) -> Option<(usize, f64)> {
    let ends = T::ends(range);
    let mut all = true;
    for &x in values {
        all &= x.within(ends);
    }
    if all {
        return None;
    }
    let place = values.iter().position(|x| !x.within(ends))?;
    Some((place, values[place].number()))
}

fn find(input: Input<'_>, range: &Range<i64>) -> Option<(usize, f64)> {
    match input.dtype() {
        DType::F32 => outside::<f32>(input.as_slice()?, range),
        DType::F64 => outside::<f64>(input.as_slice()?, range),
        DType::I32 => outside::<i32>(input.as_slice()?, range),
        DType::U32 => outside::<u32>(input.as_slice()?, range),
        DType::U8 => outside::<u8>(input.as_slice()?, range),
        DType::Bool => None,
    }
}

/// Fails where an element of an input is out of its range. `what` names the input.
#[inline]
pub(crate) fn check(port: &Port, input: Input<'_>, what: impl FnOnce() -> String) -> Result<(), Error> {
    let Some(range) = &port.range else { return Ok(()) };
    match find(input, range) {
        None => Ok(()),
        Some((place, value)) => {
            let row = place / port.row_len().unwrap_or(input.len()).max(1);
            Err(Error::Index { what: what(), row, value, range: range.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_out_of_range_is_found() {
        let find = |values: &[i32]| find(Input::new(values), &(0..1000));
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[0, 999, 7]), None);
        for length in [1, 7, 13, 64, 1000] {
            for place in [0, length / 2, length - 1] {
                let mut values = vec![5; length];
                values[place] = 1000;
                assert_eq!(find(&values), Some((place, 1000.0)));
                values[place] = i32::MIN;
                assert_eq!(find(&values), Some((place, i32::MIN as f64)));
            }
        }
    }

    #[test]
    fn every_type_is_compared_as_a_number() {
        assert_eq!(find(Input::new(&[u32::MAX]), &(0..i64::from(u32::MAX))), Some((0, u32::MAX as f64)));
        assert_eq!(find(Input::new(&[9u8, 10]), &(0..10)), Some((1, 10.0)));
        assert_eq!(find(Input::new(&[-1, 0]), &(-1..10)), None);
        assert_eq!(find(Input::new(&[true, false]), &(0..1)), None);
        assert_eq!(find(Input::new(&[7u8]), &(-5..-1)), Some((0, 7.0)));
        assert_eq!(find(Input::new(&[255u8, 0]), &(256..300)), Some((0, 255.0)));
        assert_eq!(find(Input::new(&[i32::MIN, i32::MAX]), &(i64::MIN..i64::MAX)), None);
    }

    #[test]
    fn fractions_are_cut_off_and_nan_is_no_index() {
        assert_eq!(find(Input::new(&[-0.9f32, 0.0, 9.9]), &(0..10)), None);
        assert_eq!(find(Input::new(&[0.0f32, -1.0]), &(0..10)), Some((1, -1.0)));
        assert_eq!(find(Input::new(&[0.0f64, 10.0]), &(0..10)), Some((1, 10.0)));
        assert!(matches!(find(Input::new(&[0.0f32, f32::NAN]), &(0..10)), Some((1, x)) if x.is_nan()));
        assert!(find(Input::new(&[f32::INFINITY]), &(0..10)).is_some());
    }
}
