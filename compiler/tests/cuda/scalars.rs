//! Every scalar function and every conversion on every type that it takes, against the scalar table.

use bakelite_compiler::ir::{BinaryFn, DType, Dim, Shape, UnaryFn};
use bakelite_compiler::schedule::program::{Expr, ExprId, Kernel, Place};

use super::cuda_host::HostModule;
use super::programs::{self, Build, at, buffer, kernel, set};
use super::{assert_close, decode, encode, noise, print, run_all_orders};

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

/// Writes a function of loaded operands into a kernel.
type Apply = Box<dyn Fn(&mut Kernel, &[ExprId]) -> ExprId>;

/// One kernel of a sweep: a function of one or two operands, and what it should give.
struct Case {
    name: String,
    operands: Vec<(DType, Vec<f64>)>,
    gives: DType,
    want: Vec<f64>,
    apply: Apply,
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
            let apply: Apply = Box::new(move |e, x| Build::unary(e, f, x[0]));
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
            let apply: Apply = Box::new(move |e, x| Build::binary(e, f, x[0], x[1]));
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
            let apply: Apply = Box::new(move |e, x| e.push(Expr::Cast(x[0]), to));
            cases.push(Case { name: format!("{from}_to_{to}"), operands: vec![(from, xs)], gives: to, want, apply });
        }
    }
    sweep("casts", cases);
}
