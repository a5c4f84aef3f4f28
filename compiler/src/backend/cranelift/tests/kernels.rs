//! Loop kernels.

use crate::ir::{BinaryFn, DType, Dim, ReduceFn, Shape, UnaryFn};
use crate::schedule::program::{Indirect, StoreMode};

use super::build::{KernelBuilder, ProgramBuilder, access};
use super::run::{check, check_in};

use DType::{Bool, F32, I32, U8, U32};

const MAX: usize = 19;

fn dims(first: Dim, rest: &[usize]) -> Shape {
    Shape(std::iter::once(first).chain(rest.iter().map(|n| Dim::fixed(*n))).collect())
}

fn batched(rest: &[usize]) -> Shape {
    dims(Dim::BATCH, rest)
}

#[test]
fn elementwise_with_a_broadcast_row() {
    for width in [1, 3, 4, 10, 37, 64] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, row, y) =
            (p.input(F32, batched(&[width])), p.input(F32, Shape::fixed(&[width])), p.output(F32, batched(&[width])));
        let mut k = KernelBuilder::new("k");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(width));
        let w = width as i64;
        let a = k.load(x, &[(n, w), (i, 1)], F32);
        let b = k.load(row, &[(i, 1)], F32);
        let sum = k.binary(BinaryFn::Add, a, b);
        let relu = k.unary(UnaryFn::Relu, sum);
        let three = k.constant(3.0, F32);
        let value = k.binary(BinaryFn::Mul, relu, three);
        k.stage(&[]).store(y, &[(n, w), (i, 1)], value);
        k.kernel.parallel = Some(n);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn strips_over_long_and_short_rows() {
    for width in [1, 5, 10, 100, 300, 1500] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, row, y) =
            (p.input(F32, batched(&[width])), p.input(F32, Shape::fixed(&[width])), p.output(F32, batched(&[width])));
        let mut k = KernelBuilder::new("k");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(width));
        let w = width as i64;
        let a = k.load(x, &[(n, w), (i, 1)], F32);
        let b = k.load(row, &[(i, 1)], F32);
        let t = k.unary(UnaryFn::Tanh, a);
        let u = k.binary(BinaryFn::Mul, t, b);
        let e = k.unary(UnaryFn::Exp, u);
        let rate = k.constant(0.9, F32);
        let three = k.constant(3.0, F32);
        let decay = k.binary(BinaryFn::Pow, rate, three);
        let sum = k.binary(BinaryFn::Add, e, a);
        let value = k.binary(BinaryFn::Mul, sum, decay);
        k.stage(&[]).store(y, &[(n, w), (i, 1)], value);
        k.kernel.parallel = Some(n);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn softmax_over_rows() {
    for width in [1, 2, 10, 33, 700, 6000] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, y, l) =
            (p.input(F32, batched(&[width])), p.output(F32, batched(&[width])), p.output(F32, batched(&[])));
        let mut k = KernelBuilder::new("k");
        let n = k.outer(Dim::BATCH);
        let (i, j, m) = (k.axis(width), k.axis(width), k.axis(width));
        let w = width as i64;
        let a = k.load(x, &[(n, w), (i, 1)], F32);
        k.stage(&[i]);
        let top = k.acc(ReduceFn::Max, a);
        let shifted = |k: &mut KernelBuilder, axis| {
            let a = k.load(x, &[(n, w), (axis, 1)], F32);
            let d = k.binary(BinaryFn::Sub, a, top);
            k.unary(UnaryFn::Exp, d)
        };
        let e = shifted(&mut k, j);
        k.stage(&[j]);
        let total = k.acc(ReduceFn::Sum, e);
        let e = shifted(&mut k, m);
        let share = k.binary(BinaryFn::Div, e, total);
        k.stage(&[m]).store(y, &[(n, w), (m, 1)], share);
        let log = k.unary(UnaryFn::Log, total);
        k.stage(&[]).store(l, &[(n, 1)], log);
        k.kernel.parallel = Some(n);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn sums_over_the_batch() {
    for width in [1, 3, 10, 64, 100] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, y, z) = (
            p.input(F32, batched(&[width])),
            p.output(F32, Shape::fixed(&[width])),
            p.output(F32, Shape::fixed(&[width])),
        );
        let mut k = KernelBuilder::new("k");
        let (i, n) = (k.outer(width), k.axis(Dim::BATCH));
        let a = k.load(x, &[(n, width as i64), (i, 1)], F32);
        let square = k.unary(UnaryFn::Square, a);
        let tanh = k.unary(UnaryFn::Tanh, a);
        k.stage(&[n]);
        let sum = k.acc(ReduceFn::Sum, square);
        let curved = k.acc(ReduceFn::Sum, tanh);
        k.stage(&[]).store(y, &[(i, 1)], sum).store(z, &[(i, 1)], curved);
        k.kernel.parallel = Some(i);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn a_loss_over_everything() {
    for width in [1, 9, 2000] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, y) = (p.input(F32, batched(&[width])), p.output(F32, Shape::scalar()));
        let mut k = KernelBuilder::new("k");
        let (n, i) = (k.axis(Dim::BATCH), k.axis(width));
        let a = k.load(x, &[(n, width as i64), (i, 1)], F32);
        let s = k.unary(UnaryFn::Softplus, a);
        k.stage(&[n, i]);
        let sum = k.acc(ReduceFn::Sum, s);
        let top = k.acc(ReduceFn::Max, s);
        let size = k.kernel.push(crate::schedule::program::Expr::Size(Dim { scale: width, batch: true }), F32);
        let mean = k.binary(BinaryFn::Div, sum, size);
        let value = k.binary(BinaryFn::Add, mean, top);
        k.stage(&[]).store(y, &[], value);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn overlapping_windows_add_up() {
    let (rows, size, stride) = (9, 3, 2);
    let positions = (rows - size) / stride + 1;
    let mut p = ProgramBuilder::new(MAX);
    let (x, y) = (p.input(F32, batched(&[positions, size])), p.output(F32, batched(&[rows])));
    let mut k = KernelBuilder::new("k");
    let n = k.outer(Dim::BATCH);
    let (fill, at, of) = (k.axis(rows), k.axis(positions), k.axis(size));
    let zero = k.constant(0.0, F32);
    k.stage(&[fill]).store(y, &[(n, rows as i64), (fill, 1)], zero);
    let a = k.load(x, &[(n, (positions * size) as i64), (at, size as i64), (of, 1)], F32);
    k.stage(&[at, of]).store_with(
        access(y, 0, &[(n, rows as i64), (at, stride as i64), (of, 1)], None),
        a,
        StoreMode::Add,
    );
    k.kernel.parallel = Some(n);
    p.kernel(k);
    check(p.program);
}

#[test]
fn gathers_and_scatters() {
    let (vocabulary, width) = (5, 12);
    for dtype in [I32, U32] {
        let mut p = ProgramBuilder::new(MAX);
        let (table, ids) = (p.input(F32, Shape::fixed(&[vocabulary, width])), p.input(dtype, batched(&[3])));
        let (rows, back) = (p.output(F32, batched(&[3, width])), p.output(F32, Shape::fixed(&[vocabulary, width])));
        let (column, counts) = (p.output(F32, batched(&[3])), p.output(I32, Shape::fixed(&[vocabulary])));
        let w = width as i64;
        let indirect = |index, stride| Indirect { index, stride, extent: vocabulary };

        let mut k = KernelBuilder::new("gather");
        let (n, t, i) = (k.outer(Dim::BATCH), k.outer(3), k.outer(width));
        let id = k.load(ids, &[(n, 3), (t, 1)], dtype);
        let row = k.gather(table, &[(i, 1)], indirect(id, w), F32);
        k.stage(&[]).store(rows, &[(n, 3 * w), (t, w), (i, 1)], row);
        k.kernel.parallel = Some(n);
        p.kernel(k);

        let mut k = KernelBuilder::new("pick");
        let (n, t) = (k.outer(Dim::BATCH), k.outer(3));
        let id = k.load(ids, &[(n, 3), (t, 1)], dtype);
        let shift = k.constant(1.0, dtype);
        let id = k.binary(BinaryFn::Sub, id, shift);
        let one = k.gather(table, &[], indirect(id, w), F32);
        k.stage(&[]).store(column, &[(n, 3), (t, 1)], one);
        p.kernel(k);

        let mut k = KernelBuilder::new("scatter");
        let i = k.outer(width);
        let (v, n, t) = (k.axis(vocabulary), k.axis(Dim::BATCH), k.axis(3));
        let zero = k.constant(0.0, F32);
        k.stage(&[v]).store(back, &[(v, w), (i, 1)], zero);
        let id = k.load(ids, &[(n, 3), (t, 1)], dtype);
        let x = k.load(rows, &[(n, 3 * w), (t, w), (i, 1)], F32);
        k.stage(&[n, t]).store_with(access(back, 0, &[(i, 1)], Some(indirect(id, w))), x, StoreMode::Add);
        k.kernel.parallel = Some(i);
        p.kernel(k);

        let mut k = KernelBuilder::new("count");
        let (v, n, t) = (k.axis(vocabulary), k.axis(Dim::BATCH), k.axis(3));
        let (zero, one) = (k.constant(0.0, I32), k.constant(1.0, I32));
        k.stage(&[v]).store(counts, &[(v, 1)], zero);
        let id = k.load(ids, &[(n, 3), (t, 1)], dtype);
        let shift = k.constant(1.0, dtype);
        let id = k.binary(BinaryFn::Sub, id, shift);
        k.stage(&[n, t]).store_with(access(counts, 0, &[], Some(indirect(id, 1))), one, StoreMode::Add);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn every_type_in_memory() {
    for width in [1, 4, 7, 40] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, y) = (p.input(F32, batched(&[width])), p.input(I32, batched(&[width])));
        let outs = [F32, I32, U32, U8, Bool].map(|d| (d, p.output(d, batched(&[width]))));
        let (bytes, flags) = (p.arena(U8, batched(&[width])), p.arena(Bool, batched(&[width])));
        let at = |n, i| [(n, width as i64), (i, 1)];

        let mut k = KernelBuilder::new("write");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(width));
        let (a, b) = (k.load(x, &at(n, i), F32), k.load(y, &at(n, i), I32));
        let hundred = k.constant(100.0, F32);
        let scaled = k.binary(BinaryFn::Mul, a, hundred);
        let byte = k.cast(scaled, U8);
        let zero = k.constant(0.0, F32);
        let flag = k.binary(BinaryFn::Gt, a, zero);
        let odd = k.cast(b, Bool);
        let both = k.binary(BinaryFn::Xor, flag, odd);
        k.stage(&[]).store(bytes, &at(n, i), byte).store(flags, &at(n, i), both);
        k.kernel.parallel = Some(n);
        p.kernel(k);

        let mut k = KernelBuilder::new("read");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(width));
        let (byte, flag) = (k.load(bytes, &at(n, i), U8), k.load(flags, &at(n, i), Bool));
        let seven = k.constant(7.0, U8);
        let product = k.binary(BinaryFn::Mul, byte, seven);
        let quotient = k.binary(BinaryFn::Div, product, byte);
        let value = k.select(flag, product, quotient);
        k.stage(&[]);
        for (dtype, out) in outs {
            let stored = if dtype == U8 { value } else { k.cast(value, dtype) };
            k.store(out, &at(n, i), stored);
        }
        k.kernel.parallel = Some(n);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn bits_of_a_counter_generator() {
    let mut p = ProgramBuilder::new(MAX);
    let (seed, y, z) = (p.input(U32, Shape::fixed(&[2])), p.output(U32, batched(&[13])), p.output(F32, batched(&[13])));
    let mut k = KernelBuilder::new("k");
    let (n, i) = (k.outer(Dim::BATCH), k.outer(13));
    let index = k.kernel.push(crate::schedule::program::Expr::Index(access(0, 5, &[(n, 13), (i, 1)], None).index), U32);
    let (key0, key1) = (k.load(seed, &[], U32), k.load_at(seed, 1, &[], U32));
    let mut x = k.binary(BinaryFn::Add, index, key0);
    let mut w = key1;
    for r in [13.0, 15.0, 26.0, 6.0] {
        let c = k.constant(r, U32);
        let back = k.constant(32.0 - r, U32);
        x = k.binary(BinaryFn::Add, x, w);
        let (left, right) = (k.binary(BinaryFn::Shl, w, c), k.binary(BinaryFn::Shr, w, back));
        let turned = k.binary(BinaryFn::Or, left, right);
        w = k.binary(BinaryFn::Xor, turned, x);
    }
    let by_lane = k.binary(BinaryFn::Shr, x, index);
    let by_key = k.binary(BinaryFn::Shl, by_lane, key1);
    let mixed = k.binary(BinaryFn::Xor, x, by_key);
    let nine = k.constant(9.0, U32);
    let mantissa = k.binary(BinaryFn::Shr, mixed, nine);
    let real = k.cast(mantissa, F32);
    let whole = k.cast(mixed, F32);
    let sum = k.binary(BinaryFn::Add, real, whole);
    k.stage(&[]).store(y, &[(n, 13), (i, 1)], mixed).store(z, &[(n, 13), (i, 1)], sum);
    k.kernel.parallel = Some(n);
    p.kernel(k);
    check(p.program);
}

#[test]
fn transposes_and_reversals() {
    let mut p = ProgramBuilder::new(MAX);
    let (x, y, z) =
        (p.input(F32, batched(&[6, 11])), p.output(F32, batched(&[11, 6])), p.output(F32, batched(&[6, 11])));
    let mut k = KernelBuilder::new("k");
    let (n, i, j) = (k.outer(Dim::BATCH), k.outer(6), k.outer(11));
    let a = k.load(x, &[(n, 66), (i, 11), (j, 1)], F32);
    let back = k.load_at(x, 65, &[(n, 66), (i, -11), (j, -1)], F32);
    k.stage(&[]).store(y, &[(n, 66), (i, 1), (j, 6)], a).store(z, &[(n, 66), (i, 11), (j, 1)], back);
    k.kernel.parallel = Some(n);
    p.kernel(k);
    check(p.program);
}

#[test]
fn rounding_everywhere_and_conversions() {
    let mut p = ProgramBuilder::new(MAX);
    let x = p.input(F32, batched(&[23]));
    let mut k = KernelBuilder::new("k");
    let (n, i) = (k.outer(Dim::BATCH), k.outer(23));
    let a = k.load(x, &[(n, 23), (i, 1)], F32);
    k.stage(&[]);
    for f in
        [UnaryFn::Floor, UnaryFn::Ceil, UnaryFn::Trunc, UnaryFn::Round, UnaryFn::Sign, UnaryFn::Sqrt, UnaryFn::IsNan]
    {
        let y = k.unary(f, a);
        let dtype = k.kernel.expr(y).dtype;
        let out = p.output(dtype, batched(&[23]));
        k.store(out, &[(n, 23), (i, 1)], y);
    }
    for dtype in [I32, U32, U8] {
        let y = k.cast(a, dtype);
        let out = p.output(dtype, batched(&[23]));
        k.store(out, &[(n, 23), (i, 1)], y);
    }
    p.kernel(k);
    for domain in [(-3.0, 3.0), (-1e10, 1e10), (-1000.0, 1000.0)] {
        check_in(p.program.clone(), domain, 1e-6);
    }
}

#[test]
fn integers_divide_and_compare() {
    for dtype in [I32, U32, U8] {
        let mut p = ProgramBuilder::new(MAX);
        let (x, y) = (p.input(dtype, batched(&[9])), p.input(dtype, batched(&[9])));
        let mut k = KernelBuilder::new("k");
        let (n, i) = (k.outer(Dim::BATCH), k.outer(9));
        let (a, b) = (k.load(x, &[(n, 9), (i, 1)], dtype), k.load(y, &[(n, 9), (i, 1)], dtype));
        let four = k.constant(4.0, dtype);
        let a = k.binary(BinaryFn::Sub, a, four);
        k.stage(&[]);
        for f in [
            BinaryFn::Div,
            BinaryFn::Rem,
            BinaryFn::Min,
            BinaryFn::Max,
            BinaryFn::Mul,
            BinaryFn::Lt,
            BinaryFn::Ge,
            BinaryFn::Eq,
            BinaryFn::And,
        ] {
            let z = k.binary(f, a, b);
            let gives = k.kernel.expr(z).dtype;
            let out = p.output(gives, batched(&[9]));
            k.store(out, &[(n, 9), (i, 1)], z);
        }
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn nan_travels_through_minima_and_maxima() {
    for width in [3usize, 8, 21] {
        let mut p = ProgramBuilder::new(MAX);
        let w = width as i64;
        let (x, z) = (p.input(F32, batched(&[width])), p.input(F32, batched(&[width])));
        let mut k = KernelBuilder::new("k");
        let (n, i, j) = (k.outer(Dim::BATCH), k.axis(width), k.axis(width));
        // One element in about four is NaN.
        let sparse = |k: &mut KernelBuilder, buffer: u32, axis| {
            let a = k.load(buffer, &[(n, w), (axis, 1)], F32);
            let one = k.constant(1.0, F32);
            let nan = k.constant(f64::NAN, F32);
            let holds = k.binary(BinaryFn::Lt, a, one);
            k.select(holds, a, nan)
        };
        let a = sparse(&mut k, x, i);
        let b = k.load(z, &[(n, w), (i, 1)], F32);
        let half = k.constant(0.5, F32);
        k.stage(&[i]);
        for f in [BinaryFn::Min, BinaryFn::Max] {
            for (left, right) in [(a, b), (b, a), (a, half), (half, a)] {
                let value = k.binary(f, left, right);
                let out = p.output(F32, batched(&[width]));
                k.store(out, &[(n, w), (i, 1)], value);
            }
        }
        let a = sparse(&mut k, x, j);
        k.stage(&[j]);
        let (top, bottom) = (k.acc(ReduceFn::Max, a), k.acc(ReduceFn::Min, a));
        let (high, low) = (p.output(F32, batched(&[])), p.output(F32, batched(&[])));
        k.stage(&[]).store(high, &[(n, 1)], top).store(low, &[(n, 1)], bottom);
        p.kernel(k);
        check(p.program);
    }
}

#[test]
fn a_chain_of_kernels_waits_where_it_must() {
    let width = 50usize;
    let mut p = ProgramBuilder::new(MAX);
    let (x, y) = (p.input(F32, batched(&[width])), p.output(F32, batched(&[width])));
    let (t, u, s) =
        (p.arena(F32, batched(&[width])), p.arena(F32, batched(&[width])), p.arena(F32, Shape::fixed(&[width])));
    let w = width as i64;
    let pass = |from: u32, to: u32, reversed: bool, with: Option<u32>| {
        let mut k = KernelBuilder::new(&format!("pass{from}_{to}"));
        let (n, i) = (k.outer(Dim::BATCH), k.outer(width));
        let a = if reversed {
            k.load_at(from, w - 1, &[(n, w), (i, -1)], F32)
        } else {
            k.load(from, &[(n, w), (i, 1)], F32)
        };
        let mut v = k.unary(UnaryFn::Sin, a);
        if let Some(row) = with {
            let r = k.load(row, &[(i, 1)], F32);
            v = k.binary(BinaryFn::Add, v, r);
        }
        k.stage(&[]).store(to, &[(n, w), (i, 1)], v);
        k.kernel.parallel = Some(if reversed { i } else { n });
        k
    };
    let (first, second, third) = (pass(x, t, false, None), pass(t, u, true, None), pass(u, y, false, Some(s)));
    let mut k = KernelBuilder::new("sum");
    let (i, n) = (k.outer(width), k.axis(Dim::BATCH));
    let a = k.load(t, &[(n, w), (i, 1)], F32);
    k.stage(&[n]);
    let sum = k.acc(ReduceFn::Sum, a);
    k.stage(&[]).store(s, &[(i, 1)], sum);
    p.kernel(first);
    p.kernel(second);
    p.kernel(k);
    p.kernel(third);
    check(p.program);
}
