//! Checks of arguments that are numbers.

use crate::diag::Problem;

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
