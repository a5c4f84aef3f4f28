//! Every scalar function on every type that it takes: on its domain, with its gradient, and on awkward numbers.

use bakelite_compiler::ir::{BinaryFn, DType, Op, UnaryFn};

use crate::row::{Domain, Row, Tolerance, batched};

/// Odd, longer than a vector, and not a multiple of one.
const WIDTH: usize = 37;

/// Types that compiled models compute in.
const DTYPES: [DType; 5] = [DType::F32, DType::I32, DType::U32, DType::U8, DType::Bool];

/// Where functions have edges. Large numbers are missing: a sine of them is noise.
const AWKWARD: &[f64] =
    &[0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, 1e-30, -1e-30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
const AWKWARD_INTEGERS: &[f64] =
    &[0.0, 1.0, 2.0, 31.0, 32.0, 33.0, 127.0, 128.0, 255.0, -1.0, 2147483647.0, -2147483648.0];

/// Functions that are exact in `f32` where their operands are.
fn tolerance(exact: bool) -> Tolerance {
    if exact { Tolerance::Exact } else { Tolerance::ROUNDING }
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for &f in UnaryFn::ALL {
        let row = f.row();
        let exact = matches!(f, UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu | UnaryFn::Square) || row.grad.is_none();
        for dtype in DTYPES.into_iter().filter(|d| row.takes.accepts(*d)) {
            let domain = match dtype.is_float() {
                true => Domain::Between(row.domain.0, row.domain.1),
                // Bits of numbers that are not tiny, infinite or NaN.
                false if f == UnaryFn::FromBits => Domain::Between(0x3000_0000 as f64, 0x5000_0000 as f64),
                false => Domain::all_of(dtype),
            };
            let apply = move |domain: Domain, name: String, tolerance| {
                let inputs = vec![(batched(dtype, &[WIDTH]), domain)];
                Row::new(name, inputs, move |g, x| g.push(Op::Unary(f), x)).tolerance(tolerance)
            };
            // Square is exact to one rounding only.
            let near = tolerance(exact && f != UnaryFn::Square || !dtype.is_float());
            let row_of_domain = apply(domain, format!("{} {dtype}", row.name), near);
            rows.push(if row.grad.is_none() { row_of_domain.without_differences() } else { row_of_domain });
            if f != UnaryFn::FromBits && dtype != DType::Bool {
                let numbers = if dtype.is_float() { AWKWARD } else { AWKWARD_INTEGERS };
                let name = format!("{} {dtype} awkward", row.name);
                rows.push(apply(Domain::OneOf(numbers), name, near).without_differences());
            }
        }
    }
    for &f in BinaryFn::ALL {
        let row = f.row();
        for dtype in DTYPES.into_iter().filter(|d| row.takes.accepts(*d)) {
            let domains = row.domain.map(|(low, high)| match dtype.is_float() {
                true => Domain::Between(low, high),
                false => Domain::all_of(dtype),
            });
            let exact = !dtype.is_float() || matches!(f, BinaryFn::Min | BinaryFn::Max) || row.grad.is_none();
            // A remainder near a multiple of the divisor may fall on either side.
            let near = if f == BinaryFn::Rem && dtype.is_float() { Tolerance::COMPOSED } else { tolerance(exact) };
            let apply = move |[a, b]: [Domain; 2], name: String, tolerance| {
                let inputs = vec![(batched(dtype, &[WIDTH]), a), (batched(dtype, &[WIDTH]), b)];
                Row::new(name, inputs, move |g, x| g.push(Op::Binary(f), x)).tolerance(tolerance)
            };
            let row_of_domain = apply(domains, format!("{} {dtype}", row.name), near);
            // The gradient of `gradient_of` is not that of its value.
            let smooth = row.grad.is_some() && f != BinaryFn::GradientOf;
            rows.push(if smooth { row_of_domain } else { row_of_domain.without_differences() });
            if dtype != DType::Bool {
                let numbers = if dtype.is_float() { AWKWARD } else { AWKWARD_INTEGERS };
                let (a, b) = (Domain::OneOf(numbers), Domain::OneOf(numbers));
                rows.push(apply([a, b], format!("{} {dtype} awkward", row.name), near).without_differences());
            }
        }
    }
    rows.extend(selects_and_casts());
    rows
}

fn selects_and_casts() -> Vec<Row> {
    let mut rows = Vec::new();
    for dtype in DTYPES {
        let x = || (batched(dtype, &[WIDTH]), Domain::all_of(dtype));
        let condition = (batched(DType::Bool, &[WIDTH]), Domain::Between(0.0, 1.0));
        let select = Row::new(format!("select {dtype}"), vec![condition, x(), x()], |g, x| g.select(x[0], x[1], x[2]));
        rows.push(select.tolerance(Tolerance::Exact));
        for to in DTYPES {
            let domain = match (dtype, to) {
                (DType::F32, DType::U8) => Domain::Between(-300.0, 600.0),
                (DType::F32, _) => Domain::Between(-5e9, 5e9),
                // What a float holds exactly.
                (DType::I32, DType::F32) => Domain::Between(-16777216.0, 16777216.0),
                (DType::U32, DType::F32) => Domain::Between(0.0, 16777216.0),
                _ => Domain::all_of(dtype),
            };
            if dtype != to {
                let inputs = vec![(batched(dtype, &[WIDTH]), domain)];
                let row = Row::new(format!("cast {dtype} to {to}"), inputs, move |g, x| g.cast(x[0], to));
                rows.push(row.tolerance(Tolerance::Exact).without_differences());
            }
        }
    }
    let nans = vec![(batched(DType::F32, &[WIDTH]), Domain::OneOf(AWKWARD))];
    for to in [DType::I32, DType::U32, DType::U8, DType::Bool] {
        let inputs = nans.clone();
        let row = Row::new(format!("cast f32 to {to} awkward"), inputs, move |g, x| g.cast(x[0], to));
        rows.push(row.tolerance(Tolerance::Exact));
    }
    rows
}
