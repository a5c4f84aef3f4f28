//! Every operation on every runtime: results against the oracle, gradients against finite differences.

use bakelite_tests::rows;
use bakelite_tests::runtime::runtimes;
use bakelite_tests::suite::check_rows;

macro_rules! families {
    ($($family:ident)+) => { $(
        #[test]
        fn $family() {
            check_rows(rows::$family::rows(), &runtimes());
        }
    )+ };
}

families! { scalar view reduce index contract compose scan through }
