//! The contraction driver at every level of this machine against a naive `f64` sum.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use bakelite_kernels::contract::{AxisGroup, ContractAxis, ContractCall, ContractPlan, MAX_AXES, Tile, scratch_bytes};
use bakelite_kernels::manifest::{KernelTable, Level, table};

const ABSENT: ContractAxis = ContractAxis { extent: 0, batch: 0, a: 0, b: 0, c: 0 };

fn group(axes: &[ContractAxis]) -> AxisGroup {
    let mut group = AxisGroup { len: axes.len(), axes: [ABSENT; MAX_AXES] };
    group.axes[..axes.len()].copy_from_slice(axes);
    group
}

fn axis(extent: usize, a: usize, b: usize, c: usize) -> ContractAxis {
    ContractAxis { extent, batch: 0, a: a as isize, b: b as isize, c: c as isize }
}

/// An axis whose extent is a multiple of the run-time batch.
fn batch_axis(factor: usize, a: usize, b: usize, c: usize) -> ContractAxis {
    ContractAxis { batch: 1, ..axis(factor, a, b, c) }
}

/// A plan, the run-time batch, and the index of the first element in each operand.
struct Case {
    name: String,
    plan: ContractPlan,
    batch: usize,
    origin: (usize, usize, usize),
}

impl Case {
    fn new(
        name: impl Into<String>,
        batch: &[ContractAxis],
        m: &[ContractAxis],
        n: &[ContractAxis],
        k: &[ContractAxis],
    ) -> Case {
        let plan = ContractPlan { batch: group(batch), m: group(m), n: group(n), k: group(k) };
        Case { name: name.into(), plan, batch: 1, origin: (0, 0, 0) }
    }
}

fn extent(axis: &ContractAxis, batch: usize) -> usize {
    if axis.batch == 1 { axis.extent * batch } else { axis.extent }
}

/// The offsets of all flattened indices of a group, in A, B and C.
fn offsets(group: &AxisGroup, batch: usize) -> Vec<(isize, isize, isize)> {
    let mut all = vec![(0, 0, 0)];
    for axis in &group.axes[..group.len] {
        let mut next = vec![];
        for (a, b, c) in all {
            for i in 0..extent(axis, batch) as isize {
                next.push((a + i * axis.a, b + i * axis.b, c + i * axis.c));
            }
        }
        all = next;
    }
    all
}

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Where the epilogue puts tiles: a dense result and how often each element arrived.
struct Sink {
    m: usize,
    n: usize,
    result: *mut f32,
    count: *mut u32,
}

unsafe extern "C" fn collect(context: *const c_void, tile: *const Tile) {
    // SAFETY: the context is a `Sink` with room for the whole result, and threads write different elements.
    unsafe {
        let (sink, tile) = (&*context.cast::<Sink>(), &*tile);
        assert!(tile.m0 < tile.m1 && tile.m1 <= sink.m && tile.n0 < tile.n1 && tile.n1 <= sink.n);
        for m in tile.m0..tile.m1 {
            for n in tile.n0..tile.n1 {
                let at = (tile.index * sink.m + m) * sink.n + n;
                *sink.result.add(at) = *tile.acc.add((m - tile.m0) * tile.ld + n - tile.n0);
                *sink.count.add(at) += 1;
            }
        }
    }
}

const CANARY: f32 = 12345.678;

/// Runs a case; the result is dense in the order batch, m, n.
fn run(
    table: &KernelTable,
    case: &Case,
    a: &[f32],
    b: &[f32],
    c_len: usize,
    threads: usize,
    epilogue: bool,
) -> Vec<f32> {
    let count = |g| offsets(g, case.batch).len();
    let (batches, m, n) = (count(&case.plan.batch), count(&case.plan.m), count(&case.plan.n));
    let mut result = vec![f32::NAN; batches * m * n];
    let mut counts = vec![0; batches * m * n];
    let mut c = vec![CANARY; c_len];
    let sink = Sink { m, n, result: result.as_mut_ptr(), count: counts.as_mut_ptr() };
    // Enough for this batch as the largest, and for a larger largest.
    let floats = scratch_bytes(&case.plan, case.batch.max(1) + if threads == 2 { 3 } else { 0 }) / 4;
    for thread in 0..threads {
        // Poisoned, with a canary behind the end; aligned by hand.
        let mut scratch = vec![f32::NAN; floats + 32];
        let skip = scratch.as_ptr().align_offset(64);
        scratch[skip + floats] = CANARY;
        let call = ContractCall {
            plan: &case.plan,
            a: a[case.origin.0.min(a.len())..].as_ptr(),
            b: b[case.origin.1.min(b.len())..].as_ptr(),
            c: if epilogue { null_mut() } else { c[case.origin.2.min(c_len)..].as_mut_ptr() },
            epilogue: if epilogue { Some(collect) } else { None },
            context: if epilogue { (&raw const sink).cast() } else { null() },
            batch: case.batch,
            thread,
            threads,
            scratch: scratch[skip..].as_mut_ptr().cast(),
        };
        // SAFETY: all buffers cover what the plan addresses.
        unsafe { (table.contract)(&call) };
        assert_eq!(scratch[skip + floats], CANARY, "{}: scratch overrun", case.name);
    }
    if epilogue {
        assert!(counts.iter().all(|x| *x == 1), "{}: an element is not in exactly one tile", case.name);
        return result;
    }
    let mut written = 0;
    let (bs, ms, ns) = (&case.plan.batch, &case.plan.m, &case.plan.n);
    let mut dense = vec![];
    for x in offsets(bs, case.batch) {
        for y in offsets(ms, case.batch) {
            for z in offsets(ns, case.batch) {
                dense.push(c[(case.origin.2 as isize + x.2 + y.2 + z.2) as usize]);
                written += 1;
            }
        }
    }
    let untouched = c.iter().filter(|x| **x == CANARY).count();
    assert_eq!(untouched, c_len - written, "{}: wrote outside of the result", case.name);
    dense
}

fn span(case: &Case, pick: impl Fn(&(isize, isize, isize)) -> isize, origin: usize) -> usize {
    let last = |g: &AxisGroup| offsets(g, case.batch).iter().map(&pick).max().unwrap_or(0);
    let plan = &case.plan;
    origin + (last(&plan.batch) + last(&plan.m) + last(&plan.n) + last(&plan.k)) as usize + 1
}

fn check(case: &Case) {
    let (a_len, b_len, c_len) =
        (span(case, |x| x.0, case.origin.0), span(case, |x| x.1, case.origin.1), span(case, |x| x.2, case.origin.2));
    let (a, b) = (values(a_len, 1), values(b_len, 2));

    let mut want = vec![];
    let ks = offsets(&case.plan.k, case.batch);
    let ns = offsets(&case.plan.n, case.batch);
    for x in offsets(&case.plan.batch, case.batch) {
        for y in offsets(&case.plan.m, case.batch) {
            for z in &ns {
                let (mut sum, mut size) = (0.0, 0.0);
                for w in &ks {
                    let u = a[(case.origin.0 as isize + x.0 + y.0 + w.0) as usize] as f64;
                    let v = b[(case.origin.1 as isize + x.1 + z.1 + w.1) as usize] as f64;
                    sum += u * v;
                    size += (u * v).abs();
                }
                want.push((sum, size));
            }
        }
    }

    for (level, table) in Level::ALL.into_iter().filter_map(|l| Some((l, table(l)?))) {
        let one = run(table, case, &a, &b, c_len, 1, false);
        for (i, (got, (sum, size))) in one.iter().zip(&want).enumerate() {
            let error = (*got as f64 - sum).abs();
            assert!(error <= 3e-6 * size, "{} {}: element {i} is {got}, not {sum}", case.name, level.name());
        }
        for threads in 1..=3 {
            for epilogue in [false, true] {
                let other = run(table, case, &a, &b, c_len, threads, epilogue);
                let same = one.iter().zip(&other).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{} {}: {threads} threads, epilogue {epilogue}: other bits", case.name, level.name());
            }
        }
    }
}

/// A plain product with the given storage orders.
fn matrix(m: usize, n: usize, k: usize, a_transposed: bool, b_transposed: bool) -> Case {
    let (a_m, a_k) = if a_transposed { (1, m) } else { (k, 1) };
    let (b_k, b_n) = if b_transposed { (1, k) } else { (n, 1) };
    Case::new(
        format!("{m}x{n}x{k} {}{}", if a_transposed { 'T' } else { 'N' }, if b_transposed { 'T' } else { 'N' }),
        &[],
        &[axis(m, a_m, 0, n)],
        &[axis(n, 0, b_n, 1)],
        &[axis(k, a_k, b_k, 0)],
    )
}

const SIZES: [usize; 11] = [0, 1, 7, 13, 14, 15, 31, 32, 33, 63, 100];

#[test]
fn row_major_products_of_all_sizes() {
    for m in SIZES {
        for n in SIZES {
            for k in SIZES {
                if m * n * k < 100_000 {
                    check(&matrix(m, n, k, false, false));
                }
            }
        }
    }
}

#[test]
fn few_rows_and_columns() {
    for m in 1..=16 {
        for n in [1, 5, 16, 17, 40, 64, 65, 127, 128, 130, 200] {
            check(&matrix(m, n, 3 + m, false, false));
        }
    }
}

#[test]
fn transposed_products() {
    for (i, m) in SIZES.into_iter().enumerate() {
        for (j, n) in SIZES.into_iter().enumerate() {
            let k = SIZES[(3 * i + 5 * j) % SIZES.len()];
            check(&matrix(m, n, k, false, true));
            check(&matrix(m, n, k, true, false));
            check(&matrix(m, n, k, true, true));
        }
    }
}

#[test]
fn deep_sums_and_large_blocks() {
    check(&matrix(20, 40, 1000, false, false));
    check(&matrix(20, 40, 1000, true, true));
    check(&matrix(1, 70, 2000, false, false));
    check(&matrix(5, 33, 5000, true, true));
    // Gradients of weights: rows of A and columns of C go together in few large blocks, rows of B are pages apart.
    check(&matrix(300, 40, 1700, true, false));
    check(&matrix(70, 130, 1600, false, false));
    check(&matrix(129, 512, 100, true, false));
    check(&matrix(65, 1024, 33, false, false));
    check(&matrix(300, 150, 20, false, true));
    check(&matrix(600, 40, 9, false, false));
    check(&matrix(3, 1000, 9, true, false));
}

/// B in panels of 32 columns, as weights are stored.
fn panels(m: usize, panels: usize, k: usize) -> Case {
    Case::new(
        format!("panels {m}x{panels}x{k}"),
        &[],
        &[batch_axis(1, k, 0, panels * 32)],
        &[axis(panels, 0, k * 32, 32), axis(32, 0, 1, 1)],
        &[axis(k, 1, 32, 0)],
    )
}

#[test]
fn panel_layouts() {
    // Panels of another width are no panels; and columns of B that are panels with a stride.
    check(&Case::new(
        "panels of 16",
        &[],
        &[axis(9, 20, 0, 64)],
        &[axis(4, 0, 16 * 20, 16), axis(16, 0, 1, 1)],
        &[axis(20, 1, 16, 0)],
    ));
    check(&Case::new(
        "strided panels",
        &[],
        &[axis(9, 20, 0, 200)],
        &[axis(3, 0, 32, 64), axis(32, 0, 96, 1)],
        &[axis(20, 1, 32 * 96, 0)],
    ));
    for m in [1, 2, 6, 14, 29] {
        for n in [1, 2, 3, 5] {
            for k in [1, 40, 500] {
                let mut case = panels(0, n, k);
                case.batch = m;
                check(&case);
                // The gradient of the weights, written as panels: A transposed, C in panels.
                check(&Case::new(
                    format!("gradient as panels {m}x{n}x{k}"),
                    &[],
                    &[axis(m, 1, 0, 32)],
                    &[axis(n, 0, 32, m * 32), axis(32, 0, 1, 1)],
                    &[axis(k, m, n * 32, 0)],
                ));
                // The gradient of the input: the panels transposed.
                check(&Case::new(
                    format!("transposed panels {m}x{n}x{k}"),
                    &[],
                    &[axis(m, n * 32, 0, k)],
                    &[axis(k, 0, 32, 1)],
                    &[axis(n, 32, k * 32, 0), axis(32, 1, 1, 0)],
                ));
            }
        }
    }
}

#[test]
fn batched_products() {
    for (batch, m, n, k) in [(1, 3, 40, 5), (4, 17, 33, 20), (7, 5, 8, 1), (2, 64, 64, 32), (3, 1, 1, 1), (0, 2, 2, 2)]
    {
        let mut case = Case::new(
            format!("batched {batch}x{m}x{n}x{k}"),
            &[batch_axis(1, m * k, k * n, m * n)],
            &[axis(m, k, 0, n)],
            &[axis(n, 0, 1, 1)],
            &[axis(k, 1, n, 0)],
        );
        case.batch = batch;
        check(&case);
        // Attention: [batch, time, head, depth] times its transpose, per batch and head.
        let (heads, d) = (2, k);
        let mut case = Case::new(
            format!("attention {batch}x{m}x{k}"),
            &[batch_axis(1, m * heads * d, m * heads * d, heads * m * m), axis(heads, d, d, m * m)],
            &[axis(m, heads * d, 0, m)],
            &[axis(m, 0, heads * d, 1)],
            &[axis(d, 1, 1, 0)],
        );
        case.batch = batch;
        check(&case);
    }
}

struct Conv {
    batch: usize,
    side: usize,
    input: usize,
    output: usize,
    window: usize,
    stride: usize,
    dilation: usize,
}

impl Conv {
    fn positions(&self) -> usize {
        (self.side - (self.window - 1) * self.dilation - 1) / self.stride + 1
    }

    /// Axes of output positions and of the window, with strides in `[batch, side, side, input]`.
    fn image(&self) -> ([usize; 3], [usize; 3]) {
        let (row, pixel) = (self.side * self.input, self.input);
        ([self.side * row, row * self.stride, pixel * self.stride], [row * self.dilation, pixel * self.dilation, 1])
    }

    fn forward(&self, c_padding: usize) -> Case {
        let (p, w, n) = (self.positions(), self.window, self.output);
        let ([m0, m1, m2], [k0, k1, k2]) = self.image();
        // The result may lie inside a padded image.
        let (pixel, row) = (n, (p + c_padding) * n);
        let mut case = Case::new(
            "convolution",
            &[],
            &[batch_axis(1, m0, 0, (p + c_padding) * row), axis(p, m1, 0, row), axis(p, m2, 0, pixel)],
            &[axis(n, 0, 1, 1)],
            &[axis(w, k0, w * self.input * n, 0), axis(w, k1, self.input * n, 0), axis(self.input, k2, n, 0)],
        );
        case.batch = self.batch;
        case
    }

    fn weight_gradient(&self) -> Case {
        let (p, w, n) = (self.positions(), self.window, self.output);
        let ([k0, k1, k2], [m0, m1, m2]) = self.image();
        let mut case = Case::new(
            "convolution weight gradient",
            &[],
            &[axis(w, m0, 0, w * self.input * n), axis(w, m1, 0, self.input * n), axis(self.input, m2, 0, n)],
            &[axis(n, 0, 1, 1)],
            &[batch_axis(1, k0, p * p * n, 0), axis(p, k1, p * n, 0), axis(p, k2, n, 0)],
        );
        case.batch = self.batch;
        case
    }

    /// The input's gradient from an image of `side` that already has its margins: the window turned round.
    fn input_gradient(&self) -> Case {
        let (p, w, n) = (self.positions(), self.window, self.output);
        let ([m0, m1, m2], [k0, k1, _]) = self.image();
        let mut case = Case::new(
            "convolution input gradient",
            &[],
            &[batch_axis(1, m0, 0, p * p * n), axis(p, m1, 0, p * n), axis(p, m2, 0, n)],
            &[axis(n, 0, self.input, 1)],
            &[
                ContractAxis { b: -((w * n * self.input) as isize), ..axis(w, k0, 0, 0) },
                ContractAxis { b: -((n * self.input) as isize), ..axis(w, k1, 0, 0) },
                axis(self.input, 1, 1, 0),
            ],
        );
        case.batch = self.batch;
        case.origin.1 = (w * w - 1) * n * self.input;
        case
    }
}

#[test]
fn convolutions() {
    for conv in [
        Conv { batch: 2, side: 8, input: 3, output: 5, window: 3, stride: 1, dilation: 1 },
        Conv { batch: 3, side: 28, input: 1, output: 32, window: 3, stride: 1, dilation: 1 },
        Conv { batch: 2, side: 13, input: 32, output: 33, window: 3, stride: 1, dilation: 1 },
        Conv { batch: 1, side: 9, input: 16, output: 40, window: 3, stride: 2, dilation: 1 },
        Conv { batch: 2, side: 9, input: 7, output: 8, window: 2, stride: 1, dilation: 3 },
        Conv { batch: 5, side: 3, input: 4, output: 64, window: 3, stride: 1, dilation: 1 },
        Conv { batch: 2, side: 6, input: 9, output: 32, window: 1, stride: 1, dilation: 1 },
    ] {
        check(&conv.forward(0));
        check(&conv.forward(2));
        check(&conv.weight_gradient());
        check(&conv.input_gradient());
    }
}

#[test]
fn rows_are_cut_between_runs() {
    // Many runs of a length that divides no block, and runs of nearly a block.
    check(&Conv { batch: 1, side: 57, input: 2, output: 40, window: 3, stride: 1, dilation: 1 }.forward(0));
    check(&Conv { batch: 1, side: 130, input: 1, output: 70, window: 2, stride: 1, dilation: 1 }.forward(0));
    check(&Case::new(
        "long runs",
        &[],
        &[axis(3, 1300, 0, 300 * 33), axis(300, 4, 0, 33)],
        &[axis(33, 0, 1, 1)],
        &[axis(8, 1, 33, 0)],
    ));
}

#[test]
fn unusual_strides() {
    // Columns of C far apart, rows together; then both far apart; then every axis split in two.
    let (m, n, k) = (37, 45, 29);
    check(&Case::new("C transposed", &[], &[axis(m, k, 0, 1)], &[axis(n, 0, 1, m)], &[axis(k, 1, n, 0)]));
    check(&Case::new("all far", &[], &[axis(m, 2 * k, 0, 3 * n)], &[axis(n, 0, 2, 3)], &[axis(k, 2, 3 * n, 0)]));
    check(&Case::new("broadcast A", &[], &[axis(m, 0, 0, n)], &[axis(n, 0, 1, 1)], &[axis(k, 1, n, 0)]));
    check(&Case::new("broadcast B", &[], &[axis(m, k, 0, n)], &[axis(n, 0, 0, 1)], &[axis(k, 1, 1, 0)]));
    check(&Case::new("outer product", &[], &[axis(m, 1, 0, n)], &[axis(n, 0, 1, 1)], &[]));
    check(&Case::new("dot product", &[], &[], &[], &[axis(500, 1, 1, 0)]));
    check(&Case::new(
        "split axes",
        &[],
        &[axis(3, 5, 0, 1000), axis(4, 300, 0, 100)],
        &[axis(2, 0, 7, 50), axis(6, 0, 100, 2)],
        &[axis(5, 1, 14, 0), axis(3, 50, 1, 0)],
    ));
}
