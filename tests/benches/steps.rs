//! Training steps and predictions of all workloads; for the smaller ones beside Bakelite's own operations one by one, a
//! hand-written loop, and candle.

use std::hint::black_box;
use std::time::Duration;

use bakelite_tests::naive::{self, Tiny};
use bakelite_tests::runtime::Pipeline;
use bakelite_tests::workloads::{self, Workload, numbers};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};

/// Workloads that the others run too.
const COMPARED: [&str; 3] = ["tiny", "mlp", "conv"];

/// What is measured of a workload.
#[derive(Clone, Copy)]
enum Task {
    Train,
    PredictBatch,
    PredictOne,
}

impl Task {
    const ALL: [Task; 3] = [Task::Train, Task::PredictBatch, Task::PredictOne];

    fn name(self) -> &'static str {
        match self {
            Task::Train => "train step",
            Task::PredictBatch => "predict batch",
            Task::PredictOne => "predict one",
        }
    }
}

fn steps(c: &mut Criterion) {
    for w in workloads::ALL {
        let compared = COMPARED.contains(&w.name);
        for task in Task::ALL {
            let mut group = c.benchmark_group(format!("{} {}", w.name, task.name()));
            group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
            for (name, pipeline, threads) in [
                ("bakelite", Pipeline::Optimised, 1),
                ("bakelite, 2 threads", Pipeline::Optimised, 2),
                ("bakelite, op by op", Pipeline::Eager, 2),
            ] {
                if pipeline == Pipeline::Eager && !compared {
                    continue;
                }
                let mut ready = w.prepare(pipeline, threads).expect("a workload compiles");
                let mut run = || match task {
                    Task::Train => ready.train(),
                    Task::PredictBatch => ready.predict(w.batch),
                    Task::PredictOne => ready.predict(1),
                };
                group.bench_function(name, |b| b.iter(|| run().expect("a call that fits")));
            }
            if w.name == "tiny" {
                naive(&mut group, task);
            }
            if compared {
                candle(&mut group, w, task);
            }
        }
    }
}

fn naive(group: &mut BenchmarkGroup<WallTime>, task: Task) {
    let [k1, b1, k2, b2, k3, b3] = [128, 32, 1024, 32, 128, 4].map(|n| numbers(n as u64, n));
    let mut net = Tiny::new([&k1, &b1, &k2, &b2, &k3, &b3]);
    let (x, y) = (numbers(1, 4 * naive::BATCH), numbers(2, 4 * naive::BATCH));
    let (x, y) = (&x.as_chunks::<4>().0.as_chunks().0[0], &y.as_chunks::<4>().0.as_chunks().0[0]);
    group.bench_function("naive loop", |b| match task {
        Task::Train => b.iter(|| net.step(black_box(x), black_box(y))),
        Task::PredictBatch => b.iter(|| x.each_ref().map(|x| net.predict(black_box(x)))),
        Task::PredictOne => b.iter(|| net.predict(black_box(&x[0]))),
    });
}

#[cfg(feature = "peers")]
fn candle(group: &mut BenchmarkGroup<WallTime>, w: &Workload, task: Task) {
    let Some(net) = bakelite_tests::candle::Candle::new(w) else { return };
    let mut net = net.expect("a workload builds");
    let mut run = || match task {
        Task::Train => net.train(),
        Task::PredictBatch => net.predict(w.batch),
        Task::PredictOne => net.predict(1),
    };
    group.bench_function("candle", |b| b.iter(|| run().expect("a call that fits")));
}

#[cfg(not(feature = "peers"))]
fn candle(_: &mut BenchmarkGroup<WallTime>, _: &Workload, _: Task) {}

criterion_group!(benches, steps);
criterion_main!(benches);
