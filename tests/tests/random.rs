//! Random graphs on every runtime. `BAKELITE_RANDOM_SEED` starts elsewhere, `BAKELITE_RANDOM_COUNT` runs more.

use bakelite_compiler::ir::random::MAX_BATCH;
use bakelite_tests::row::Case;
use bakelite_tests::runtime::runtimes;
use bakelite_tests::suite::check_cases;

/// Operations of a graph.
const OPERATIONS: usize = 40;
/// Graphs that are in memory at a time.
const TOGETHER: usize = 50;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A share of the graphs: tests of one file run at the same time.
fn agree(share: u64, shares: u64) {
    let (first, count) = (number("BAKELITE_RANDOM_SEED", 0), number("BAKELITE_RANDOM_COUNT", 500));
    let seeds: Vec<u64> = (first..first + count).filter(|seed| seed % shares == share).collect();
    let runtimes = runtimes();
    for some in seeds.chunks(TOGETHER) {
        let cases: Vec<Case> = some.iter().map(|seed| Case::random(*seed, OPERATIONS)).collect();
        check_cases(&cases, &[1, 3, MAX_BATCH], &runtimes);
    }
}

#[test]
fn all_runtimes_agree_on_even_seeds() {
    agree(0, 2);
}

#[test]
fn all_runtimes_agree_on_odd_seeds() {
    agree(1, 2);
}
