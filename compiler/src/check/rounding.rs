//! How far a result computed in `f32` may be from the interpreter's.
//!
//! No fixed number can say: it depends on how much a model magnifies roundings. So the model says it itself. The
//! interpreter runs it again in an arithmetic whose every operation is off by as much as `f32` may be, in a random
//! direction: by the unit roundoff of its result, a sum by that of the sum of its terms' magnitudes and of the root of
//! their number. How far results move then is what rounding can do to them; decisions that hang on a rounding flip in
//! some of the runs. What `f32` computes exactly - whole numbers, comparisons, bits, anything that only moves numbers - is
//! exact there too.

use crate::ir::eval::{EvalError, Evaluated, Tensor, Values, apply_constant, evaluate_rounded};
use crate::ir::random::Rng;
use crate::ir::{BinaryFn, Graph, Op, ReduceFn, StorageId, UnaryFn};

/// The unit roundoff of `f32`.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;
/// Roundings that a function of one or two operands may be off by.
const FUNCTION: f64 = 3.0;
/// Runs before a result is compared, and before it is called different.
const RUNS: [usize; 2] = [2, 12];
/// An element may be off by this many times what it moved at most, ...
const OWN: f64 = 8.0;
/// ... and this many times what most elements beside it moved at most.
const BESIDE: f64 = 6.0;
/// Numbers below the smallest normal one have fewer digits.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// A call of an entry point in the interpreter, and what rounding does to it.
pub struct Expected<'a> {
    graph: &'a Graph,
    batch: usize,
    inputs: &'a [Tensor],
    storage: &'a [Tensor],
    /// Outputs, then all cells as they are afterwards.
    results: Vec<Tensor>,
    rounded: Vec<Vec<Tensor>>,
    rng: Rng,
}

/// One element that is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Off {
    /// Which of the results.
    pub result: usize,
    pub element: usize,
    pub got: f64,
    pub want: f64,
    /// How far from each other they may be.
    pub allowed: f64,
}

impl<'a> Expected<'a> {
    pub fn new(
        graph: &'a Graph,
        batch: usize,
        inputs: &'a [Tensor],
        storage: &'a [Tensor],
    ) -> Result<Expected<'a>, EvalError> {
        let results = results(evaluate_rounded(graph, batch, inputs, storage, &mut |_, _, value| value)?, storage);
        let mut expected =
            Expected { graph, batch, inputs, storage, results, rounded: Vec::new(), rng: Rng::new(batch as u64) };
        expected.run_to(RUNS[0])?;
        Ok(expected)
    }

    fn run_to(&mut self, runs: usize) -> Result<(), EvalError> {
        while self.rounded.len() < runs {
            let Expected { graph, batch, inputs, storage, .. } = *self;
            let rng = &mut self.rng;
            let called =
                evaluate_rounded(graph, batch, inputs, storage, &mut |op, args, value| rounded(rng, op, args, value))?;
            self.rounded.push(results(called, storage));
        }
        Ok(())
    }

    /// The first element that is further off than rounding explains, and the largest part of what is allowed that any is
    /// off by.
    pub fn compare(&mut self, got: &[Tensor]) -> Result<(Option<Off>, f64), EvalError> {
        let (off, worst) = self.judge(got);
        if off.is_none() || self.rounded.len() >= RUNS[1] {
            return Ok((off, worst));
        }
        self.run_to(RUNS[1])?;
        Ok(self.judge(got))
    }

    fn judge(&self, got: &[Tensor]) -> (Option<Off>, f64) {
        let (mut first, mut worst) = (None, 0.0f64);
        for (result, (got, want)) in got.iter().zip(&self.results).enumerate() {
            let allowed = self.allowed(result);
            let numbers = got.to_numbers().into_iter().zip(want.to_numbers()).zip(allowed);
            for (element, ((got, want), allowed)) in numbers.enumerate() {
                // What an `f32` cannot hold is not asked of it.
                let want = if self.results[result].dtype.is_float() { want as f32 as f64 } else { want };
                if got == want || got.is_nan() && want.is_nan() {
                    continue;
                }
                let part = (got - want).abs() / allowed;
                if part <= 1.0 {
                    worst = worst.max(part);
                } else {
                    first = first.or(Some(Off { result, element, got, want, allowed }));
                }
            }
        }
        (first, worst)
    }

    /// How far each element of a result may be off.
    fn allowed(&self, result: usize) -> Vec<f64> {
        let want = &self.results[result];
        let numbers = want.to_numbers();
        let mut moved = vec![0.0f64; numbers.len()];
        for run in &self.rounded {
            for ((moved, want), other) in moved.iter_mut().zip(&numbers).zip(run[result].to_numbers()) {
                // What may overflow or become NaN may be anything.
                let by = (other - want).abs();
                let by = if by.is_nan() && other.is_nan() != want.is_nan() { f64::INFINITY } else { by };
                *moved = moved.max(by);
            }
        }
        let mut sorted: Vec<f64> = moved.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let beside = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(0.0);
        let float = want.dtype.is_float();
        let each = |(moved, want): (f64, &f64)| match float {
            true => OWN * moved + BESIDE * beside + FUNCTION * UNIT * want.abs() + SMALLEST,
            false => OWN * moved,
        };
        moved.into_iter().zip(&numbers).map(each).collect()
    }
}

/// Outputs, then all cells as they are afterwards.
fn results(called: Evaluated, storage: &[Tensor]) -> Vec<Tensor> {
    let mut cells = storage.to_vec();
    for (StorageId(cell), value) in called.assigns {
        cells[cell as usize] = value;
    }
    called.outputs.into_iter().chain(cells).collect()
}

/// Whether `f32` holds a number as it is.
fn held(x: f64) -> bool {
    x as f32 as f64 == x
}

fn all(x: &Tensor, holds: impl Fn(f64) -> bool) -> bool {
    match &x.values {
        Values::Float(v) => v.iter().all(|x| holds(*x)),
        Values::Int(v) => v.iter().all(|x| holds(*x as f64)),
    }
}

fn magnitudes(x: &Tensor) -> Tensor {
    let values = match &x.values {
        Values::Float(v) => Values::Float(v.iter().map(|x| x.abs()).collect()),
        Values::Int(v) => Values::Int(v.clone()),
    };
    Tensor { dtype: x.dtype, shape: x.shape.clone(), values }
}

/// A value with the roundings of one operation.
fn rounded(rng: &mut Rng, op: &Op, args: &[&Tensor], mut value: Tensor) -> Tensor {
    if !value.dtype.is_float() {
        return value;
    }
    let sum = |terms: usize| {
        let sizes: Vec<Tensor> = args.iter().map(|x| magnitudes(x)).collect();
        let sizes: Vec<&Tensor> =
            sizes.iter().zip(args).map(|(s, x)| if x.dtype.is_float() { s } else { *x }).collect();
        let total = apply_constant(op, value.dtype, &value.shape, &sizes);
        // Sums of whole numbers that stay small are exact.
        let whole = |x: f64| x.fract() == 0.0;
        let exact = args.iter().all(|x| all(x, whole)) && all(&total, |x| x <= (1u64 << 24) as f64);
        let by = (terms.max(1) as f64).sqrt();
        (!exact).then(|| total.to_numbers().into_iter().map(|size| by * size).collect::<Vec<f64>>())
    };
    let count = |x: &Tensor| x.values.len();
    let per_result = |x: &Tensor| count(x) / count(&value).max(1);
    let errors: Option<Vec<f64>> = match op {
        Op::Reduce { f: ReduceFn::Sum, .. } => sum(per_result(args[0])),
        Op::Contract(axes) => sum(axes.sum.iter().map(|p| args[0].shape[p.0]).product()),
        Op::Fold { axes, .. } => sum(axes.iter().map(|w| w.size).product()),
        Op::ScatterAdd { .. } => sum(count(args[0])),
        Op::Unary(UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu | UnaryFn::StopGradient) => None,
        Op::Unary(f) if f.row().grad.is_none() => None,
        Op::Binary(BinaryFn::Min | BinaryFn::Max | BinaryFn::GradientOf) => None,
        Op::Unary(_) | Op::Binary(_) => {
            let arithmetic = matches!(
                op,
                Op::Binary(BinaryFn::Add | BinaryFn::Sub | BinaryFn::Mul | BinaryFn::Div | BinaryFn::Rem)
                    | Op::Unary(UnaryFn::Sqrt | UnaryFn::Square)
            );
            let by = if arithmetic { 1.0 } else { FUNCTION };
            // An exact result of numbers that are held is what `f32` computes.
            let given: Vec<Vec<f64>> = args.iter().map(|x| x.to_numbers()).collect();
            let each = |(i, x): (usize, f64)| {
                let exact = held(x) && given.iter().all(|x| held(x[i]));
                if exact { 0.0 } else { by * x.abs() }
            };
            Some(value.to_numbers().into_iter().enumerate().map(each).collect())
        }
        Op::Cast(_) | Op::Const { .. } | Op::Iota { .. } => {
            Some(value.to_numbers().into_iter().map(|x| if held(x) { 0.0 } else { x.abs() }).collect())
        }
        _ => None,
    };
    let Some(errors) = errors else { return value };
    if let Values::Float(v) = &mut value.values {
        // A number that is everywhere is off alike everywhere.
        let one = matches!(op, Op::Const { .. }).then(|| sign(rng));
        for (x, error) in v.iter_mut().zip(errors) {
            if error > 0.0 && error.is_finite() {
                *x += one.unwrap_or_else(|| sign(rng)) * error * UNIT;
            }
        }
    }
    value
}

fn sign(rng: &mut Rng) -> f64 {
    if rng.one_in(2) { 1.0 } else { -1.0 }
}
