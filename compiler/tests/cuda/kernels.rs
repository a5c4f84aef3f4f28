//! Programs written by hand: one for each thing that the printer has to get right.

use bakelite_compiler::backend::cuda::Mapping;
use bakelite_compiler::ir::{BinaryFn, DType, Dim, Number, ReduceFn, Shape};
use bakelite_compiler::schedule::program::{Expr, Place};

use super::cuda_host::HostModule;
use super::programs::{self, Build, affine, at, at_index, buffer, kernel, set};
use super::{assert_close, decode, encode, noise, print, run_all_orders};

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

#[test]
fn constants_keep_their_bits() {
    let values = [0.1, -3.5, 1e-40, 3.4e38, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    for (count, name) in [(4, "finite"), (8, "special")] {
        let mut p = programs::program(name, 1);
        let mut want = Vec::new();
        for dtype in DType::ALL {
            let numbers: Vec<Number> = match dtype {
                DType::F32 | DType::F64 => values[..count].iter().map(|x| Number(*x)).collect(),
                DType::I32 | DType::U32 | DType::U8 | DType::Bool => [0.0, 1.0, 7.0, 255.0].map(Number).to_vec(),
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

#[test]
fn indices_beyond_32_bits_are_exact() {
    let (batch, far) = (6, 3_000_000_000);
    let mut p = programs::program("wide", batch);
    let index = programs::input(&mut p, "index", DType::I32, &[]);
    let points = programs::output(&mut p, "points", DType::F64, &[]);
    let sums = programs::output(&mut p, "sums", DType::F64, &[]);
    let table = [5.0, 6.0, 7.0].map(Number).to_vec();
    let table = buffer(&mut p, "table", DType::F64, Shape::fixed(&[3]), Place::Const(table.into()));

    // Each thread a point: the index itself, and an element at a run-time index.
    let mut e = kernel("k0_point", &[Dim::BATCH], 1);
    let number = e.push(Expr::Index(affine(far, &[(0, 7)])), DType::F64);
    let row = e.load(&p, at(index, &[(0, 1)]));
    let value = e.load(&p, at_index(table, &[], row, 1, 3));
    let total = e.binary(BinaryFn::Add, number, value);
    e.stage(&[], &[], vec![set(at(points, &[(0, 1)]), total)]);
    p.kernels.push(e);

    // Each block a point: a sum of indices.
    let mut e = kernel("k1_block", &[Dim::BATCH, Dim::fixed(50), Dim::fixed(2)], 1);
    let number = e.push(Expr::Index(affine(far, &[(0, 7), (1, 2), (2, 1)])), DType::F64);
    let sum = e.fold(ReduceFn::Sum, number);
    e.stage(&[1, 2], &[sum], vec![]);
    let sum = e.acc(sum);
    e.stage(&[], &[], vec![set(at(sums, &[(0, 1)]), sum)]);
    p.kernels.push(e);

    let (module, _) = print(&p);
    assert!(module.source.contains("const long long i0"));
    let Some(host) = HostModule::build(&module) else { return };
    let index = [0.0, 1.0, 2.0, -5.0, 9.0, 1.0];
    let (outputs, _) = run_all_orders(&host, "wide", &[encode(DType::I32, &index)], &[], batch);
    let rows = [5.0, 6.0, 7.0, 5.0, 7.0, 6.0];
    let want: Vec<f64> = (0..batch).map(|b| far as f64 + 7.0 * b as f64 + rows[b]).collect();
    assert_eq!(decode(DType::F64, &outputs[0]), want);
    let want: Vec<f64> = (0..batch).map(|b| 100.0 * (far as f64 + 7.0 * b as f64) + 4950.0).collect();
    assert_eq!(decode(DType::F64, &outputs[1]), want);
}
