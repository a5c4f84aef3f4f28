//! The CUDA text of Programs, compiled and run on the host, against values computed here.

mod cuda_host;
mod programs;

use bakelite_compiler::backend::cuda::{self, CudaModule, Mapping, PRELUDE};
use bakelite_compiler::ir::{BinaryFn, DType, Dim, Number, Shape, UnaryFn};
use bakelite_compiler::schedule::program::{Expr, Place, Program, StorageLayout};
use cuda_host::{HostModule, Order};
use programs::{Build, at, buffer, kernel, set};

/// Packs storage cells in the order of their buffers.
fn layout(program: &Program) -> StorageLayout {
    let mut layout = StorageLayout::default();
    for cell in program.buffers.iter().filter(|b| matches!(b.place, Place::Storage(_))) {
        layout.offsets.push(layout.bytes);
        layout.bytes += cell.bytes(1).next_multiple_of(64);
    }
    layout
}

fn print(program: &Program) -> (CudaModule, StorageLayout) {
    let layout = layout(program);
    (cuda::print(&[program], &layout), layout)
}

/// Numbers as the bytes of an array.
fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let bytes = |x: f64| match dtype {
        DType::F32 => (x as f32).to_le_bytes().to_vec(),
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::I32 => (x as i32).to_le_bytes().to_vec(),
        DType::U32 => (x as u32).to_le_bytes().to_vec(),
        DType::U8 | DType::Bool => vec![x as u8],
    };
    values.iter().flat_map(|x| bytes(*x)).collect()
}

/// The bytes of an array as numbers.
fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let number = |b: &[u8]| match dtype {
        DType::F32 => f32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
        DType::I32 => i32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::U32 => u32::from_le_bytes(b.try_into().unwrap()) as f64,
        DType::U8 | DType::Bool => b[0] as f64,
    };
    bytes.chunks(dtype.size()).map(number).collect()
}

/// A repeatable sequence in -1..1.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 as f64 / (1u64 << 23) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan());
        assert!(same || (g - w).abs() <= tolerance * (1.0 + w.abs()), "{what}[{i}]: got {g}, want {w}");
    }
}

/// Runs in every thread order, demands equal bits, and returns outputs and storage.
fn run_all_orders(
    host: &HostModule,
    entry: &str,
    inputs: &[Vec<u8>],
    storage: &[u8],
    batch: usize,
) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut results = Order::ALL.into_iter().map(|order| {
        let mut storage = storage.to_vec();
        let outputs = host.run(entry, inputs, &mut storage, batch, order).unwrap_or_else(|e| panic!("{order:?}: {e}"));
        (outputs, storage)
    });
    let first = results.next().unwrap();
    for other in results {
        assert!(first == other, "{entry}: the result depends on the order of the threads");
    }
    first
}

#[test]
fn dense_equals_loops() {
    let (max_batch, k, n) = (9, 37, 23);
    let program = programs::dense(max_batch, k, n);
    let (module, layout) = print(&program);
    let Some(host) = HostModule::build(&module) else { return };
    let (w, b) = (noise(1, k * n), noise(2, n));
    let mut storage = vec![0; layout.bytes];
    for (values, at) in [&w, &b].into_iter().zip(&layout.offsets) {
        let bytes = encode(DType::F32, values);
        storage[*at..at + bytes.len()].copy_from_slice(&bytes);
    }
    for batch in [1, 7, max_batch] {
        let x = noise(batch as u64, batch * k);
        let mut want = Vec::new();
        for r in 0..batch {
            for c in 0..n {
                let sum: f64 = (0..k).map(|i| x[r * k + i] * w[i * n + c]).sum();
                want.push((sum + b[c]).max(0.0));
            }
        }
        let (outputs, after) = run_all_orders(&host, "dense", &[encode(DType::F32, &x)], &storage, batch);
        assert_close(&decode(DType::F32, &outputs[0]), &want, 1e-5, "h");
        assert_eq!(after, storage);
    }
}

#[test]
fn softmax_uses_a_block_for_each_row() {
    let (max_batch, n) = (5, 77);
    let program = programs::softmax(max_batch, n);
    let (module, _) = print(&program);
    assert_eq!(module.entries[0].launches[0].mapping, Mapping::Block(128));
    let Some(host) = HostModule::build(&module) else { return };
    for batch in [1, max_batch] {
        let x: Vec<f64> = noise(3, batch * n).iter().map(|v| v * 8.0).collect();
        let mut want = Vec::new();
        for row in x.chunks(n) {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = row.iter().map(|v| (v - top).exp()).sum();
            want.extend(row.iter().map(|v| (v - top).exp() / total));
        }
        let (outputs, _) = run_all_orders(&host, "softmax", &[encode(DType::F32, &x)], &[], batch);
        assert_close(&decode(DType::F32, &outputs[0]), &want, 1e-6, "y");
    }
}

#[test]
fn indices_clamp_in_loads_and_skip_in_stores() {
    let (rows, width, batch) = (6, 5, 8);
    let program = programs::embedding(batch, rows, width);
    let (module, _) = print(&program);
    let Some(host) = HostModule::build(&module) else { return };
    let index = [0.0, 3.0, 3.0, -2.0, 5.0, 6.0, 100.0, 3.0];
    let (mut table, update) = (noise(4, rows * width), noise(5, batch * width));
    let mut y = Vec::new();
    for &i in &index {
        let row = (i as i64).clamp(0, rows as i64 - 1) as usize;
        y.extend_from_slice(&table[row * width..(row + 1) * width]);
    }
    let mut storage = encode(DType::F32, &table);
    storage.resize(module.storage_bytes, 0);
    for (b, &i) in index.iter().enumerate().filter(|(_, i)| (0.0..rows as f64).contains(*i)) {
        for c in 0..width {
            table[i as usize * width + c] += update[b * width + c];
        }
    }
    let inputs = [encode(DType::I32, &index), encode(DType::F32, &update)];
    let (outputs, after) = run_all_orders(&host, "embedding", &inputs, &storage, batch);
    assert_close(&decode(DType::F32, &outputs[0]), &y, 0.0, "y");
    assert_close(&decode(DType::F32, &after[..rows * width * 4]), &table, 1e-6, "table");
    assert_close(&decode(DType::F32, &outputs[1]), &vec![table.iter().sum(); batch], 1e-5, "sums");
}

#[test]
fn guarded_loads_stay_in_bounds() {
    let (n, low, high, batch) = (5, 3, 9, 4);
    let (module, _) = print(&programs::pad(batch, n, low, high));
    let Some(host) = HostModule::build(&module) else { return };
    let x = noise(6, batch * n);
    let mut want = Vec::new();
    for row in x.chunks(n) {
        want.extend(vec![-1.0; low]);
        want.extend(row.iter().map(|v| v + v));
        want.extend(vec![-1.0; high]);
    }
    let (outputs, _) = run_all_orders(&host, "pad", &[encode(DType::F32, &x)], &[], batch);
    assert_close(&decode(DType::F32, &outputs[0]), &want, 0.0, "y");
}

#[test]
fn stores_of_a_stage_see_the_values_before_it() {
    let n = 300;
    let (module, layout) = print(&programs::momentum(n));
    let Some(host) = HostModule::build(&module) else { return };
    let (g, v, w) = (noise(7, n), noise(8, n), noise(9, n));
    let mut storage = vec![0; layout.bytes];
    for (values, at) in [&v, &w].into_iter().zip(&layout.offsets) {
        storage[*at..at + 4 * n].copy_from_slice(&encode(DType::F32, values));
    }
    let (_, after) = run_all_orders(&host, "momentum", &[encode(DType::F32, &g)], &storage, 1);
    let new_v: Vec<f64> = v.iter().zip(&g).map(|(v, g)| 0.9 * v - 0.1 * g).collect();
    let new_w: Vec<f64> = w.iter().zip(&new_v).map(|(w, v)| w + v).collect();
    let cell = |i: usize| decode(DType::F32, &after[layout.offsets[i]..layout.offsets[i] + 4 * n]);
    assert_close(&cell(0), &new_v, 1e-6, "velocity");
    assert_close(&cell(1), &new_w, 1e-6, "w");
}

/// Values of a type that tests of scalar functions use: from the row's domain, and the awkward ones.
fn samples(dtype: DType, domain: (f64, f64), count: usize, seed: u64) -> Vec<f64> {
    let awkward: &[f64] = match dtype {
        DType::F32 | DType::F64 => &[0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
        DType::I32 => &[0.0, 1.0, -1.0, i32::MAX as f64, i32::MIN as f64, -7.0],
        DType::U32 => &[0.0, 1.0, 31.0, 32.0, u32::MAX as f64, 1e9],
        DType::U8 => &[0.0, 1.0, 2.0, 255.0, 200.0, 16.0],
        DType::Bool => &[0.0, 1.0, 1.0, 0.0, 0.0, 1.0],
    };
    let rest = noise(seed, count - awkward.len()).into_iter().map(|t| {
        let x = (domain.0 + domain.1) / 2.0 + t * (domain.1 - domain.0) / 2.0;
        match dtype {
            DType::F32 => x as f32 as f64,
            DType::F64 => x,
            DType::I32 => (x * 20.0).round(),
            DType::U32 => x.abs().round(),
            DType::U8 => (x.abs() * 20.0).round() % 256.0,
            DType::Bool => (t > 0.0) as u8 as f64,
        }
    });
    awkward.iter().copied().chain(rest).collect()
}

/// One kernel of a sweep: a function of one or two operands, and what it should give.
struct Case {
    name: String,
    operands: Vec<(DType, Vec<f64>)>,
    gives: DType,
    want: Vec<f64>,
    apply: Box<
        dyn Fn(
            &mut bakelite_compiler::schedule::program::Kernel,
            &[bakelite_compiler::schedule::program::ExprId],
        ) -> bakelite_compiler::schedule::program::ExprId,
    >,
}

/// Runs all cases as kernels of one program.
fn sweep(name: &str, cases: Vec<Case>) {
    let mut p = programs::program(name, 1);
    let mut inputs = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let n = case.want.len();
        let mut e = kernel(&format!("k{i}"), &[Dim::fixed(n)], 1);
        let mut operands = Vec::new();
        for (dtype, values) in &case.operands {
            let place = Place::Input(p.inputs.len());
            let b = buffer(&mut p, "x", *dtype, Shape::fixed(&[n]), place);
            inputs.push(encode(*dtype, values));
            operands.push(e.load(&p, at(b, &[(0, 1)])));
        }
        let place = Place::Output(i);
        let out = buffer(&mut p, &case.name, case.gives, Shape::fixed(&[n]), place);
        let value = (case.apply)(&mut e, &operands);
        e.stage(&[], &[], vec![set(at(out, &[(0, 1)]), value)]);
        p.kernels.push(e);
    }
    let (module, _) = print(&p);
    let Some(host) = HostModule::build(&module) else { return };
    let (outputs, _) = run_all_orders(&host, name, &inputs, &[], 1);
    for (case, output) in cases.iter().zip(&outputs) {
        let tolerance = match case.gives {
            DType::F32 => 2e-6,
            DType::F64 => 1e-13,
            DType::I32 | DType::U32 | DType::U8 | DType::Bool => 0.0,
        };
        assert_close(&decode(case.gives, output), &case.want, tolerance, &case.name);
    }
}

const COUNT: usize = 40;

/// A value as the type holds it.
fn stored(x: f64, dtype: DType) -> f64 {
    if dtype == DType::F32 { x as f32 as f64 } else { x }
}

#[test]
fn every_unary_function_has_its_value() {
    let mut cases = Vec::new();
    for (i, &f) in UnaryFn::ALL.iter().enumerate() {
        let row = f.row();
        for dtype in DType::ALL.into_iter().filter(|d| row.takes.accepts(*d)) {
            let xs = samples(dtype, row.domain, COUNT, i as u64 + 1);
            let gives = row.gives.dtype(dtype);
            let value = |x: f64| match row.int {
                Some(_) if dtype == DType::Bool => (row.eval)(x),
                Some(int) if !dtype.is_float() => dtype.wrap(int(x as i64)) as f64,
                _ => stored((row.eval)(x), gives),
            };
            let want = xs.iter().map(|x| value(*x)).collect();
            let name = format!("{}_{dtype}", row.name);
            let apply = Box::new(move |e: &mut _, x: &[_]| Build::unary(e, f, x[0]));
            cases.push(Case { name, operands: vec![(dtype, xs)], gives, want, apply });
        }
    }
    sweep("unary", cases);
}

#[test]
fn every_binary_function_has_its_value() {
    let mut cases = Vec::new();
    for (i, &f) in BinaryFn::ALL.iter().enumerate() {
        let row = f.row();
        for dtype in DType::ALL.into_iter().filter(|d| row.takes.accepts(*d)) {
            let xs = samples(dtype, row.domain[0], COUNT, i as u64 + 1);
            // Reversed, so that the awkward values meet ordinary ones; rotated, so that some meet each other.
            let mut ys = samples(dtype, row.domain[1], COUNT, i as u64 + 100);
            ys.reverse();
            ys.rotate_right(3);
            let gives = row.gives.dtype(dtype);
            let value = |x: f64, y: f64| match row.int {
                Some(int) if !dtype.is_float() && dtype != DType::Bool => gives.wrap(int(x as i64, y as i64)) as f64,
                _ => stored((row.eval)(x, y), gives),
            };
            let want = xs.iter().zip(&ys).map(|(x, y)| value(*x, *y)).collect();
            let name = format!("{}_{dtype}", row.name);
            let apply = Box::new(move |e: &mut _, x: &[_]| Build::binary(e, f, x[0], x[1]));
            cases.push(Case { name, operands: vec![(dtype, xs), (dtype, ys)], gives, want, apply });
        }
    }
    sweep("binary", cases);
}

#[test]
fn every_conversion_saturates_or_wraps() {
    let floats = [
        0.0,
        0.5,
        -0.5,
        1.0,
        -1.0,
        2.9,
        -2.9,
        254.9,
        255.9,
        256.0,
        -256.0,
        2147483520.0,
        2147483648.0,
        -2147483648.0,
        4294967040.0,
        4294967296.0,
        1e20,
        -1e20,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let mut cases = Vec::new();
    for from in DType::ALL {
        for to in DType::ALL {
            let xs: Vec<f64> = match from {
                DType::F32 | DType::F64 => floats.iter().map(|x| stored(*x, from)).collect(),
                DType::I32 | DType::U32 | DType::U8 | DType::Bool => samples(from, (0.0, 100.0), COUNT, 5),
            };
            let value = |x: f64| match to {
                DType::F32 | DType::F64 => stored(x, to),
                DType::Bool => (x != 0.0) as u8 as f64,
                DType::I32 if from.is_float() => x as i32 as f64,
                DType::U32 if from.is_float() => x as u32 as f64,
                DType::U8 if from.is_float() => x as u8 as f64,
                DType::I32 | DType::U32 | DType::U8 => to.wrap(x as i64) as f64,
            };
            let want = xs.iter().map(|x| value(*x)).collect();
            let apply: Box<dyn Fn(&mut _, &[_]) -> _> =
                Box::new(move |e: &mut bakelite_compiler::schedule::program::Kernel, x: &[_]| {
                    e.push(Expr::Cast(x[0]), to)
                });
            cases.push(Case { name: format!("{from}_to_{to}"), operands: vec![(from, xs)], gives: to, want, apply });
        }
    }
    sweep("casts", cases);
}

#[test]
fn constants_keep_their_bits() {
    let values = [0.1, -3.5, 1e-40, 3.4e38, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    for (count, name) in [(4, "finite"), (8, "special")] {
        let mut p = programs::program(name, 1);
        let mut want = Vec::new();
        for dtype in DType::ALL {
            let numbers: Vec<Number> = match dtype {
                DType::F32 | DType::F64 => values[..count].iter().map(|x| Number(*x)).collect(),
                DType::I32 | DType::U32 | DType::U8 | DType::Bool => {
                    samples(dtype, (0.0, 9.0), 8, 3).into_iter().map(Number).collect()
                }
            };
            let n = numbers.len();
            want.push(encode(dtype, &numbers.iter().map(|n| n.0).collect::<Vec<_>>()));
            let place = Place::Output(p.outputs.len());
            let out = buffer(&mut p, "out", dtype, Shape::fixed(&[n]), place);
            let array = buffer(&mut p, "numbers", dtype, Shape::fixed(&[n]), Place::Const(numbers.into()));
            let mut e = kernel(&format!("k_{dtype}"), &[Dim::fixed(n)], 1);
            let value = e.load(&p, at(array, &[(0, 1)]));
            e.stage(&[], &[], vec![set(at(out, &[(0, 1)]), value)]);
            p.kernels.push(e);
        }
        let (module, _) = print(&p);
        let Some(host) = HostModule::build(&module) else { return };
        let (outputs, _) = run_all_orders(&host, name, &[], &[], 1);
        assert_eq!(outputs, want);
    }
}

/// What the emulation must notice: each mutation of right text is an error, or makes the result depend on the order.
#[test]
fn mistakes_in_the_text_are_caught() {
    let (batch, n) = (3, 77);
    let (module, _) = print(&programs::softmax(batch, n));
    let inputs = [encode(DType::F32, &noise(3, batch * n))];
    let mutations = [
        (
            "a lost barrier before the result is read",
            "    __syncthreads();\n    value = slots[0];",
            "    value = slots[0];",
        ),
        ("a lost barrier after the result is read", "slots[0];\n    __syncthreads();", "slots[0];"),
        ("a lost barrier in the tree", "        __syncthreads();\n", ""),
        ("a barrier that some threads skip", "        __syncthreads();", "        if (lane < 64) __syncthreads();"),
        ("shared memory beyond the launch's", "slots[lane] = value;", "slots[lane + 1] = value;"),
        ("a store beyond the output", "y_1[77 * i0 + i3] =", "y_1[77 * i0 + i3 + 77] ="),
        ("a store before the output", "y_1[77 * i0 + i3] =", "y_1[77 * i0 + i3 - 4096] ="),
        ("a load beyond the input", "x_0[77 * i0 + i1]", "x_0[77 * i0 + i1 + 4096]"),
    ];
    for (what, right, wrong) in mutations {
        let mut mutant = module.clone();
        assert!(mutant.source.contains(right), "{what}: the text no longer has {right:?}");
        mutant.source = mutant.source.replace(right, wrong);
        let Some(host) = HostModule::build(&mutant) else { return };
        let results = Order::ALL.map(|order| host.run("softmax", &inputs, &mut Vec::new(), batch, order));
        let caught = results.iter().any(|r| r.is_err() || *r != results[0]);
        assert!(caught, "{what} went unnoticed");
    }
}

/// Compares the text of a program, without the prelude, with a file. `BAKELITE_BLESS=1` rewrites the file.
fn check_snapshot(program: &Program) {
    let (module, _) = print(program);
    let text = module.source.strip_prefix(PRELUDE).expect("a module starts with the prelude").trim_start();
    let path = format!("{}/tests/generated/{}.cu", env!("CARGO_MANIFEST_DIR"), program.name);
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{path} differs; look at this text, and bless it with BAKELITE_BLESS=1:\n{text}");
}

#[test]
fn texts_are_as_reviewed() {
    check_snapshot(&programs::dense(128, 784, 512));
    check_snapshot(&programs::softmax(128, 100));
    check_snapshot(&programs::embedding(32, 1000, 64));
    check_snapshot(&programs::pad(8, 28, 1, 1));
    check_snapshot(&programs::momentum(4096));
}
