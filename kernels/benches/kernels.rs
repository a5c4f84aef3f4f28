//! Kernels at every level of this machine. Throughput is in floating-point operations (elements for strips) a second;
//! compare with `peak`, which is what the arithmetic units of one core can do.

mod peak;

use std::hint::black_box;
use std::ptr::null;

use bakelite_kernels::contract::{AxisGroup, ContractAxis, ContractCall, ContractPlan, MAX_AXES, scratch_bytes};
use bakelite_kernels::manifest::{KernelTable, Level, table};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn levels() -> impl Iterator<Item = (Level, &'static KernelTable)> {
    Level::ALL.into_iter().filter_map(|l| Some((l, table(l)?)))
}

/// Axes as (extent, stride in A, in B, in C).
fn group(axes: &[(usize, usize, usize, usize)]) -> AxisGroup {
    let absent = ContractAxis { extent: 0, batch: 0, a: 0, b: 0, c: 0 };
    let mut group = AxisGroup { len: axes.len(), axes: [absent; MAX_AXES] };
    for (slot, (extent, a, b, c)) in group.axes.iter_mut().zip(axes) {
        *slot = ContractAxis { extent: *extent, batch: 0, a: *a as isize, b: *b as isize, c: *c as isize };
    }
    group
}

type Axes<'a> = &'a [(usize, usize, usize, usize)];

fn plan(m: Axes, n: Axes, k: Axes) -> ContractPlan {
    ContractPlan { batch: group(&[]), m: group(m), n: group(n), k: group(k) }
}

/// Elements of an operand that a plan addresses.
fn elements(plan: &ContractPlan, stride: fn(&ContractAxis) -> isize) -> usize {
    [&plan.m, &plan.n, &plan.k]
        .iter()
        .flat_map(|g| &g.axes[..g.len])
        .map(|x| (x.extent - 1) * stride(x) as usize)
        .sum::<usize>()
        + 1
}

fn contractions(c: &mut Criterion) {
    // Batches are small enough for a run to fit into a time slice.
    let (batch, side, input, output, w) = (8, 26, 32, 64, 3);
    let (p, row) = (side - w + 1, side * input);
    let rows = [
        (
            "packed_126x784x512",
            plan(&[(126, 784, 0, 512)], &[(16, 0, 784 * 32, 32), (32, 0, 1, 1)], &[(784, 1, 32, 0)]),
        ),
        ("row_major_128x784x512", plan(&[(128, 784, 0, 512)], &[(512, 0, 1, 1)], &[(784, 1, 512, 0)])),
        ("gradient_784x128x512", plan(&[(784, 1, 0, 512)], &[(512, 0, 1, 1)], &[(128, 784, 512, 0)])),
        ("recurrent_gradient_128x7680x512", plan(&[(128, 1, 0, 512)], &[(512, 0, 1, 1)], &[(7680, 128, 512, 0)])),
        ("text_gradient_896x15808x32", plan(&[(896, 1, 0, 32)], &[(32, 0, 1, 1)], &[(15808, 128, 32, 0)])),
        ("transposed_128x512x512", plan(&[(128, 512, 0, 512)], &[(512, 0, 512, 1)], &[(512, 1, 1, 0)])),
        ("one_row_1x128x512", plan(&[(1, 128, 0, 512)], &[(512, 0, 1, 1)], &[(128, 1, 512, 0)])),
        ("tiny_8x4x32", plan(&[(8, 4, 0, 32)], &[(32, 0, 1, 1)], &[(4, 1, 32, 0)])),
        (
            "conv_forward",
            plan(
                &[(batch, side * row, 0, p * p * output), (p, row, 0, p * output), (p, input, 0, output)],
                &[(output, 0, 1, 1)],
                &[(w, row, w * input * output, 0), (w, input, input * output, 0), (input, 1, output, 0)],
            ),
        ),
        (
            "conv_weight_gradient",
            plan(
                &[(w, row, 0, w * input * output), (w, input, 0, input * output), (input, 1, 0, output)],
                &[(output, 0, 1, 1)],
                &[(batch, side * row, p * p * output, 0), (p, row, p * output, 0), (p, input, output, 0)],
            ),
        ),
    ];
    for (name, plan) in &rows {
        let extent = |g: &AxisGroup| g.axes[..g.len].iter().map(|x| x.extent).product::<usize>();
        let flops = 2 * extent(&plan.m) * extent(&plan.n) * extent(&plan.k);
        let a = vec![0.5_f32; elements(plan, |x| x.a)];
        let b = vec![0.25_f32; elements(plan, |x| x.b)];
        let mut result = vec![0.0_f32; elements(plan, |x| x.c)];
        let mut scratch = vec![0.0_f32; scratch_bytes(plan, 1) / 4 + 16];
        let aligned = scratch.as_ptr().align_offset(64);
        let mut group = c.benchmark_group(*name);
        group.throughput(Throughput::Elements(flops as u64));
        for (level, table) in levels() {
            let call = ContractCall {
                plan,
                a: a.as_ptr(),
                b: b.as_ptr(),
                c: result.as_mut_ptr(),
                epilogue: None,
                context: null(),
                batch: 1,
                thread: 0,
                threads: 1,
                scratch: scratch[aligned..].as_mut_ptr().cast(),
            };
            // SAFETY: the operands cover what the plan addresses, and the level is supported.
            group.bench_function(level.name(), |bench| bench.iter(|| unsafe { (table.contract)(black_box(&call)) }));
        }
    }
}

fn strips(c: &mut Criterion) {
    let n = 1024;
    let x: Vec<f32> = (0..n).map(|i| i as f32 / 128.0 - 4.0).collect();
    let mut y = vec![0.0_f32; n];
    let kernels = [
        ("exp", (|t| t.exp) as fn(&KernelTable) -> _),
        ("tanh", |t| t.tanh),
        ("sigmoid", |t| t.sigmoid),
        ("erf", |t| t.erf),
        ("log", |t| t.log),
        ("sin", |t| t.sin),
    ];
    for (name, kernel) in kernels {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(n as u64));
        for (level, table) in levels() {
            group.bench_function(level.name(), |bench| {
                // SAFETY: both strips have `n` elements, and the level is supported.
                bench.iter(|| unsafe { kernel(table)(y.as_mut_ptr(), black_box(x.as_ptr()), n) })
            });
        }
    }
}

fn peaks(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    for (level, _) in levels() {
        let Some(work) = peak::work(level) else { continue };
        group.throughput(Throughput::Elements(work.flops));
        group.bench_function(level.name(), |bench| bench.iter(|| work.run(black_box(1e-3))));
    }
}

criterion_group!(benches, peaks, contractions, strips);
criterion_main!(benches);
