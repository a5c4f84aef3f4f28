//! Bakelite's side of `peers/compare.py`: measures what it is told, one line at a time.
//!
//! A request is `WORKLOAD TASK THREADS SECONDS` with a task of `train`, `predict` (the batch) or `predict1` (one row);
//! the answer is the median microseconds of a call. `WORKLOAD flops` answers with the floating-point operations of a
//! training step, and `peak` with those that one core can do in a microsecond. What fails is answered with `error ...`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use bakelite_kernels::manifest::Level;
use bakelite_tests::runtime::Pipeline;
use bakelite_tests::workloads::{self, Ready};

#[path = "../../../kernels/benches/peak/mod.rs"]
mod peak;

fn main() -> io::Result<()> {
    let mut prepared = Prepared::new();
    for line in io::stdin().lock().lines() {
        match answer(&line?, &mut prepared) {
            Ok(number) => println!("{number}"),
            Err(error) => println!("error {}", error.replace('\n', " ")),
        }
        io::stdout().flush()?;
    }
    Ok(())
}

/// Workloads that have been prepared, by name and threads.
type Prepared = HashMap<(String, usize), Ready>;

fn answer(line: &str, prepared: &mut Prepared) -> Result<f64, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["peak"] => Ok(peak_rate()),
        [name, "flops"] => Ok(ready(prepared, name, 1)?.flops() as f64),
        [name, task, threads, seconds] => {
            let threads = threads.parse().map_err(|_| format!("{threads} threads"))?;
            let seconds: f64 = seconds.parse().map_err(|_| format!("{seconds} seconds"))?;
            let batch = workloads::named(name).map_or(1, |w| w.batch);
            let ready = ready(prepared, name, threads)?;
            let mut call: Box<dyn FnMut() -> Result<f32, bakelite::Error>> = match task {
                "train" => Box::new(|| ready.train()),
                "predict" => Box::new(|| ready.predict(batch)),
                "predict1" => Box::new(|| ready.predict(1)),
                _ => return Err(format!("no task `{task}`")),
            };
            median(seconds, &mut call).map_err(|e| e.to_string())
        }
        _ => Err(format!("no request: {line}")),
    }
}

fn ready<'p>(prepared: &'p mut Prepared, name: &str, threads: usize) -> Result<&'p mut Ready, String> {
    match prepared.entry((name.to_string(), threads)) {
        Entry::Occupied(found) => Ok(found.into_mut()),
        Entry::Vacant(place) => {
            let workload = workloads::named(name).ok_or(format!("no workload `{name}`"))?;
            Ok(place.insert(workload.prepare(Pipeline::Optimised, threads)?))
        }
    }
}

/// The median microseconds of a call. Short calls are timed several at a time, so that the clock costs nothing.
fn median(seconds: f64, call: &mut dyn FnMut() -> Result<f32, bakelite::Error>) -> Result<f64, bakelite::Error> {
    const SAMPLE: Duration = Duration::from_micros(50);
    call()?;
    let (start, mut calls) = (Instant::now(), 0u32);
    while start.elapsed() < 4 * SAMPLE {
        black_box(call()?);
        calls += 1;
    }
    let together = (calls / 4).max(1);
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed().as_secs_f64() < seconds || samples.len() < 5 {
        let sample = Instant::now();
        for _ in 0..together {
            black_box(call()?);
        }
        samples.push(sample.elapsed().as_secs_f64() * 1e6 / together as f64);
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}

/// The most floating-point operations that one core did in a microsecond.
fn peak_rate() -> f64 {
    let Some(work) = Level::ALL.into_iter().rev().find_map(peak::work) else { return f64::NAN };
    let once = || {
        let start = Instant::now();
        black_box(work.run(black_box(1e-3)));
        work.flops as f64 / (start.elapsed().as_secs_f64() * 1e6)
    };
    (0..20_000).map(|_| once()).fold(0.0, f64::max)
}
