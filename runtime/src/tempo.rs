//! How many threads calls have, found out by timing them.
//!
//! The estimate of the build says how many threads a call may be worth. Whether it is depends on what the build cannot
//! know: how long a line of memory takes from one processor's cache to another's, and who else wants the processors. So
//! calls that may be worth several threads are timed, each entry point and power of two of the batch for itself: a row of
//! calls as before, a row with another number of threads, and the faster number stays. That is repeated at growing
//! distances, and at once when calls take twice the time that they did.
//!
//! The choice never changes a result, and calls that the estimate leaves to one thread are not timed.

use std::time::Duration;

/// The calls of a row that count, behind a first one that wakes threads and fills caches: the fewest, and the most in
/// less than [`ROW`].
const FEWEST: u32 = 4;
const MOST: u32 = 64;
const ROW: Duration = Duration::from_millis(1);
/// Calls between two comparisons: at first, and the most after doubling whenever a choice holds.
const FIRST_REST: u32 = 32;
const LONGEST_REST: u32 = 1 << 14;
/// More threads have to bring a call down to this part of its time.
const GAIN: f64 = 0.95;
/// A number of threads that takes so many times as long is given up early.
const HOPELESS: f64 = 1.25;
/// Calls that take so many times as long, or a part as small, as when their threads were chosen are compared again.
const DRIFT: f64 = 2.0;

/// The choices for all entry points of a model. Choosing and timing allocate nothing.
pub(crate) struct Tempo {
    /// Of every entry point those of batches 1, 2 to 3, 4 to 7, ...
    choices: Vec<Choice>,
    batches: usize,
}

impl Tempo {
    pub fn new(entries: usize, max_batch: usize) -> Tempo {
        let batches = max_batch.max(1).ilog2() as usize + 1;
        Tempo { choices: vec![Choice::new(); entries * batches], batches }
    }

    /// The choice for calls of an entry point at a batch.
    pub fn choice(&mut self, entry: usize, batch: usize) -> &mut Choice {
        &mut self.choices[entry * self.batches + batch.ilog2() as usize]
    }
}

/// A choice among `most`, `most / 2`, `most / 4`, ... 1 threads, by how often `most` is halved.
#[derive(Clone, Copy)]
pub(crate) struct Choice {
    kept: u32,
    tried: u32,
    /// How many numbers are to be tried before the first rest; unknown until the first row is full.
    untried: Option<u32>,
    phase: Phase,
    row: Row,
    /// The time of a call with the kept number.
    expected: f64,
    rest: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A row of calls with the kept number, to compare the next one with.
    Before,
    /// A row of calls with another.
    Trial,
    /// So many calls until the next comparison.
    Rest(u32),
}

/// The times of calls in a row.
#[derive(Clone, Copy, Default)]
struct Row {
    calls: u32,
    total: Duration,
    longest: Duration,
}

impl Row {
    fn add(&mut self, time: Duration) {
        self.calls += 1;
        if self.calls > 1 {
            self.total += time;
            self.longest = self.longest.max(time);
        }
    }

    /// The calls that count.
    fn counted(&self) -> u32 {
        self.calls.saturating_sub(1)
    }

    fn is_full(&self) -> bool {
        self.counted() >= FEWEST && (self.total >= ROW || self.counted() >= MOST)
    }

    /// The mean in nanoseconds, but for the longest one, which something else may have disturbed.
    fn mean(&self) -> f64 {
        (self.total - self.longest).as_nanos() as f64 / f64::from(self.counted() - 1)
    }
}

impl Choice {
    fn new() -> Choice {
        Choice {
            kept: 0,
            tried: 0,
            untried: None,
            phase: Phase::Before,
            row: Row::default(),
            expected: 0.0,
            rest: FIRST_REST,
        }
    }

    /// The threads of the next call, where the estimate allows so many.
    pub fn threads(&self, most: usize) -> usize {
        let halvings = if self.phase == Phase::Trial { self.tried } else { self.kept };
        (most >> halvings.min(most.ilog2())).max(1)
    }

    /// Learns how long that call took.
    pub fn took(&mut self, most: usize, time: Duration) {
        self.row.add(time);
        match self.phase {
            Phase::Before if self.row.is_full() => {
                self.expected = self.row.mean();
                self.enter(Phase::Trial);
                self.tried = self.next(most);
                self.untried.get_or_insert(most.ilog2());
            }
            Phase::Trial => {
                let hopeless = self.row.counted() > 1 && self.row.mean() > HOPELESS * self.expected;
                if hopeless || self.row.is_full() {
                    self.decide();
                }
            }
            Phase::Rest(1) => self.enter(Phase::Before),
            Phase::Rest(left) => {
                self.phase = Phase::Rest(left - 1);
                if self.row.is_full() {
                    let change = self.row.mean() / self.expected;
                    self.row = Row::default();
                    if !(1.0 / DRIFT..=DRIFT).contains(&change) {
                        self.rest = FIRST_REST;
                        self.enter(Phase::Before);
                    }
                }
            }
            Phase::Before => {}
        }
    }

    /// The number to try next: from one thread to the most, and again, but for the kept one.
    fn next(&self, most: usize) -> u32 {
        let last = most.ilog2();
        let below = |halvings: u32| if halvings == 0 || halvings > last { last } else { halvings - 1 };
        match below(self.tried) {
            next if next == self.kept => below(next),
            next => next,
        }
    }

    fn decide(&mut self) {
        let bar = if self.tried < self.kept { GAIN } else { 1.0 };
        if self.row.mean() <= bar * self.expected {
            self.kept = self.tried;
            self.expected = self.row.mean();
            self.rest = FIRST_REST;
        } else if self.untried == Some(0) {
            self.rest = (2 * self.rest).min(LONGEST_REST);
        }
        let untried = self.untried.map_or(0, |untried| untried.saturating_sub(1));
        self.untried = Some(untried);
        self.enter(if untried > 0 { Phase::Before } else { Phase::Rest(self.rest) });
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.row = Row::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of the calls with each number of threads, where a call with `n` takes `time(call, n)` microseconds.
    fn play(calls: u32, most: usize, time: impl Fn(u32, usize) -> f64) -> Vec<(usize, f64)> {
        let mut tempo = Tempo::new(1, 64);
        let mut counts = std::collections::BTreeMap::new();
        for call in 0..calls {
            let choice = tempo.choice(0, 64);
            let threads = choice.threads(most);
            choice.took(most, Duration::from_nanos((1e3 * time(call, threads)) as u64));
            *counts.entry(threads).or_insert(0.0) += 1.0 / f64::from(calls);
        }
        counts.into_iter().collect()
    }

    fn share(shares: &[(usize, f64)], threads: usize) -> f64 {
        shares.iter().find(|s| s.0 == threads).map_or(0.0, |s| s.1)
    }

    #[test]
    fn the_fastest_number_is_kept() {
        for most in [2usize, 3, 4, 7, 8, 1024] {
            for best in (0..=most.ilog2()).map(|halvings| most >> halvings) {
                for us in [5.0, 300.0, 20_000.0] {
                    let time = |_, threads: usize| us * (1.0 + 2.0 * (threads as f64 / best as f64).log2().abs());
                    let shares = play(20_000, most, time);
                    assert!(share(&shares, best) > 0.9, "{best} of {most} at {us} us: {shares:?}");
                }
            }
        }
    }

    #[test]
    fn equal_times_are_one_threads() {
        let shares = play(20_000, 2, |_, _| 50.0);
        assert!(share(&shares, 1) > 0.9, "{shares:?}");
    }

    #[test]
    fn trying_costs_little_in_the_end() {
        let time = |_: u32, threads: usize| if threads == 1 { 80.0 } else { 400.0 };
        let shares = play(200_000, 2, time);
        assert!(share(&shares, 2) < 0.005, "{shares:?}");
    }

    #[test]
    fn a_change_is_noticed_within_some_rows() {
        // A neighbour appears: two threads take twenty times as long.
        let time = |call: u32, threads: usize| match (threads, call >= 5_000) {
            (2, false) => 55.0,
            (2, true) => 1100.0,
            _ => 100.0,
        };
        let shares = play(10_000, 2, time);
        assert!(share(&shares, 1) > 0.48, "{shares:?}");
        assert!(share(&shares, 2) > 0.48, "{shares:?}");
    }

    #[test]
    fn batches_and_entry_points_have_their_own() {
        let mut tempo = Tempo::new(2, 5);
        for (entry, batch) in [(0, 1), (0, 2), (0, 5), (1, 1), (1, 3), (1, 4)] {
            assert_eq!(tempo.choice(entry, batch).calls(), 0);
            tempo.choice(entry, batch).took(2, Duration::from_micros(1));
        }
    }

    impl Choice {
        fn calls(&self) -> u32 {
            self.row.calls
        }
    }
}
