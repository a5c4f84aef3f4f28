//! Random graphs on every runtime, aimed at the chains of operations that have met least. After a run the table of what
//! met is printed (`--nocapture` shows it); a run of the default size has to reach a bound.
//!
//! `BAKELITE_RANDOM_SEED` starts elsewhere, `BAKELITE_RANDOM_COUNT` runs more, `BAKELITE_RANDOM_RUNTIMES` names parts of
//! the names of runtimes, separated by semicolons, that are to run. A difference names its graph by seed and chains:
//! `BAKELITE_RANDOM_CHAINS="broadcast>merge>gather pad>gather>map"` with its seed and a count of 1 makes it again.

use std::thread;

use bakelite_compiler::ir::random::{Chain, Coverage, Kind, MAX_BATCH};
use bakelite_tests::row::Case;
use bakelite_tests::runtime::{Runtime, runtimes};
use bakelite_tests::suite::check_cases;

/// Operations of a graph.
const OPERATIONS: usize = 40;
/// Graphs that are in memory at a time.
const TOGETHER: usize = 100;
/// Chains that a graph is aimed at.
const AIMS: usize = 5;
/// Graphs of a default run.
const GRAPHS: u64 = 300;
/// Ordered triples of operations that meet in a default run, at least. All pairs do.
const TRIPLES: usize = 4000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The chains of `BAKELITE_RANDOM_CHAINS`.
fn wanted() -> Option<Vec<Chain>> {
    let text = std::env::var("BAKELITE_RANDOM_CHAINS").ok()?;
    let chain = |text: &str| -> Option<Chain> {
        text.split('>').map(Kind::named).collect::<Option<Vec<Kind>>>()?.try_into().ok()
    };
    Some(text.split_whitespace().map(|text| chain(text).unwrap_or_else(|| panic!("no chain: {text}"))).collect())
}

fn chosen() -> Vec<Box<dyn Runtime>> {
    let names = std::env::var("BAKELITE_RANDOM_RUNTIMES").unwrap_or_default();
    let mut all = runtimes();
    all.retain(|runtime| names.is_empty() || names.split(';').any(|name| runtime.name().contains(name)));
    all
}

#[test]
fn all_runtimes_agree_and_enough_operations_meet() {
    let (first, count) = (number("BAKELITE_RANDOM_SEED", 0), number("BAKELITE_RANDOM_COUNT", GRAPHS));
    let chains = wanted();
    let mut coverage = Coverage::default();
    let seeds: Vec<u64> = (first..first + count).collect();
    for some in seeds.chunks(TOGETHER) {
        let aims = coverage.rarest(some.len() * AIMS);
        let case = |(seed, aims): (&u64, &[Chain])| Case::random(*seed, OPERATIONS, chains.as_deref().unwrap_or(aims));
        let cases: Vec<Case> = some.iter().zip(aims.chunks(AIMS)).map(case).collect();
        let (some, others) = cases.split_at(cases.len() / 2);
        thread::scope(|scope| {
            let run = |cases| move || check_cases(cases, &[1, 3, MAX_BATCH], &chosen());
            let both = [scope.spawn(run(some)), scope.spawn(run(others))];
            let failed: Vec<_> = both.into_iter().filter_map(|thread| thread.join().err()).collect();
            if let Some(panic) = failed.into_iter().next() {
                std::panic::resume_unwind(panic);
            }
        });
        // It met on every runtime: none may refuse a graph.
        cases.iter().for_each(|case| coverage.add(&case.module.entries[0]));
    }
    println!("{count} graphs from seed {first}\n{coverage}");
    if chains.is_none() && count >= GRAPHS {
        assert_eq!(coverage.missing_pairs(), Vec::<[Kind; 2]>::new(), "these pairs never met");
        assert!(coverage.triples() >= TRIPLES, "{} triples met, the bound is {TRIPLES}", coverage.triples());
    }
}
