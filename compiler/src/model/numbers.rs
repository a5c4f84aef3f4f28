//! Checks of arguments that are numbers.

use crate::diag::Problem;
use crate::limit::Limit;

/// The most repetitions that become operations one after the other.
const MAX_UNROLLED: usize = 64;

/// Fails unless a number of repetitions, each of which becomes operations of its own, is at most 64.
pub(super) fn unrolled(kind: &str, argument: &str, count: usize) -> Result<(), Problem> {
    at_most(kind, argument, count, MAX_UNROLLED)
}

/// Fails unless a number of things is at most this.
pub(super) fn at_most(kind: &str, argument: &str, count: usize, most: usize) -> Result<(), Problem> {
    match count <= most {
        true => Ok(()),
        false => {
            Err(Problem::value(format!("{kind} with {argument} {count}: must be at most {most}")).limit(Limit::Sizes))
        }
    }
}

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $name:ident: |$x:ident| $holds:expr, $must:literal;)+) => { $(
        $(#[doc = $doc])+
        pub(super) fn $name(kind: &str, argument: &str, $x: f64) -> Result<(), Problem> {
            match $holds {
                true => Ok(()),
                false => Err(Problem::value(format!(concat!("{} with {} {}: must be ", $must), kind, argument, $x))),
            }
        }
    )+ };
}

checks! {
    /// Fails unless a number is finite.
    finite: |x| x.is_finite(), "finite";
    /// Fails unless a number is finite and not negative.
    not_negative: |x| x >= 0.0 && x.is_finite(), "finite and not negative";
    /// Fails unless a number is finite and above 0.
    positive: |x| x > 0.0 && x.is_finite(), "positive";
    /// Fails unless a number is in `[0, 1]`.
    fraction: |x| (0.0..=1.0).contains(&x), "between 0 and 1";
}
