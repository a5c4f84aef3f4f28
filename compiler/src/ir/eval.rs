//! The reference interpreter: what a graph means, computed the plainest way.
//!
//! Every runtime is tested against it. Floating types are computed in `f64` and never rounded to `f32`, so that its
//! own error is far below that of what it judges; integers are exact and wrap to their type after each operation.
//! Scalar functions come from the rows of [`super::scalar`] and from nowhere else: rows' `int` on integers, `eval`
//! on floats and booleans.

use std::rc::Rc;

use super::dtype::DType;
use super::graph::{Graph, NodeId};
use super::op::{ContractAxes, Literal, Op, PadAxis, StorageId, WindowAxis};
use super::scalar::{BinaryFn, UnaryFn};

mod scan;

/// The elements of a [`Tensor`], row-major. Floating types are `Float`; integers and booleans are `Int`.
#[derive(Clone, PartialEq, Debug)]
pub enum Values {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::Float(v) => v.len(),
            Values::Int(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A value of the interpreter.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub values: Values,
}

macro_rules! constructors {
    ($($name:ident $t:ty, $dtype:ident, $values:ident $to:ty;)+) => { $(
        #[doc = concat!("A tensor of `", stringify!($t), "` in row-major order.\n\n# Panics\nIf the shape does not hold that many elements.")]
        pub fn $name(shape: &[usize], values: &[$t]) -> Tensor {
            let values = Values::$values(values.iter().map(|&x| <$to>::from(x)).collect());
            Tensor::new(DType::$dtype, shape, values)
        }
    )+ };
}

impl Tensor {
    /// A tensor of the given elements.
    ///
    /// # Panics
    /// If the elements do not fit the shape or the type.
    pub fn new(dtype: DType, shape: &[usize], values: Values) -> Tensor {
        let tensor = Tensor { dtype, shape: shape.to_vec(), values };
        assert!(tensor.is_consistent(), "{} values for {dtype}{shape:?}", tensor.values.len());
        tensor
    }

    constructors! {
        f32 f32, F32, Float f64;
        f64 f64, F64, Float f64;
        i32 i32, I32, Int i64;
        u32 u32, U32, Int i64;
        u8 u8, U8, Int i64;
        bool bool, Bool, Int i64;
    }

    /// A tensor of any type from numbers, converted as literals of a graph are.
    ///
    /// # Panics
    /// If the shape does not hold that many elements.
    pub fn from_numbers(dtype: DType, shape: &[usize], numbers: &[f64]) -> Tensor {
        let values = if dtype.is_float() {
            Values::Float(numbers.to_vec())
        } else {
            Values::Int(numbers.iter().map(|&x| integer(x, dtype)).collect())
        };
        Tensor::new(dtype, shape, values)
    }

    /// A tensor with every element equal.
    pub fn splat(dtype: DType, shape: &[usize], number: f64) -> Tensor {
        let count = shape.iter().product();
        let values = if dtype.is_float() {
            Values::Float(vec![number; count])
        } else {
            Values::Int(vec![integer(number, dtype); count])
        };
        Tensor { dtype, shape: shape.to_vec(), values }
    }

    /// The elements as numbers, whatever the type.
    pub fn to_numbers(&self) -> Vec<f64> {
        match &self.values {
            Values::Float(v) => v.clone(),
            Values::Int(v) => v.iter().map(|&x| x as f64).collect(),
        }
    }

    /// The elements rounded to `f32`, as a compiled model holds them.
    pub fn to_f32(&self) -> Vec<f32> {
        self.to_numbers().into_iter().map(|x| x as f32).collect()
    }

    fn is_consistent(&self) -> bool {
        let count = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        count == Some(self.values.len()) && matches!(self.values, Values::Float(_)) == self.dtype.is_float()
    }
}

/// What a call gives back.
#[derive(Clone, PartialEq, Debug)]
pub struct Evaluated {
    /// In the order of [`Graph::outputs`].
    pub outputs: Vec<Tensor>,
    /// In the order of [`Graph::assigns`].
    pub assigns: Vec<(StorageId, Tensor)>,
}

/// Why a call does not fit its graph.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EvalError {
    #[error("`{entry}` takes {expected} inputs, got {got}")]
    InputCount { entry: String, expected: usize, got: usize },
    #[error("{what} is {expected}, got {got}")]
    WrongType { what: String, expected: String, got: String },
    #[error("storage cell {0} has no value")]
    NoStorage(u32),
}

/// What becomes of a value that an operation computed of its operands, before anything reads it.
pub type Rounding<'a> = dyn FnMut(&Op, &[&Tensor], Tensor) -> Tensor + 'a;

/// Runs an entry point on inputs in their declared order and storage in the order of its module.
pub fn evaluate(graph: &Graph, batch: usize, inputs: &[Tensor], storage: &[Tensor]) -> Result<Evaluated, EvalError> {
    evaluate_rounded(graph, batch, inputs, storage, &mut |_, _, value| value)
}

/// [`evaluate`] with an arithmetic that rounds.
pub fn evaluate_rounded(
    graph: &Graph,
    batch: usize,
    inputs: &[Tensor],
    storage: &[Tensor],
    rounding: &mut Rounding<'_>,
) -> Result<Evaluated, EvalError> {
    if inputs.len() != graph.inputs.len() {
        let (entry, expected) = (graph.name.clone(), graph.inputs.len());
        return Err(EvalError::InputCount { entry, expected, got: inputs.len() });
    }
    for (decl, given) in graph.inputs.iter().zip(inputs) {
        check(|| format!("input `{}`", decl.name), decl.ty.dtype, &decl.ty.shape.at(batch), given)?;
    }
    let inputs: Vec<Rc<Tensor>> = inputs.iter().cloned().map(Rc::new).collect();
    let storage: Vec<Rc<Tensor>> = storage.iter().cloned().map(Rc::new).collect();
    let Executed { outputs, assigns } = execute(graph, batch, &inputs, &storage, rounding)?;
    Ok(Evaluated {
        outputs: outputs.into_iter().map(Rc::unwrap_or_clone).collect(),
        assigns: assigns.into_iter().map(|(target, value)| (target, Rc::unwrap_or_clone(value))).collect(),
    })
}

/// [`Evaluated`], where equal values may be one.
struct Executed {
    outputs: Vec<Rc<Tensor>>,
    assigns: Vec<(StorageId, Rc<Tensor>)>,
}

/// Runs an entry point or the body of a loop on inputs that fit.
fn execute(
    graph: &Graph,
    batch: usize,
    inputs: &[Rc<Tensor>],
    storage: &[Rc<Tensor>],
    rounding: &mut Rounding<'_>,
) -> Result<Executed, EvalError> {
    let mut uses = graph.use_counts();
    let live = graph.live();
    let mut values: Vec<Option<Rc<Tensor>>> = vec![None; uses.len()];
    let loops = graph.loops(graph.ids().filter(|id| live[id.index()]));
    let mut results: Vec<Vec<Rc<Tensor>>> = vec![Vec::new(); loops.list.len()];
    for id in graph.ids().filter(|id| live[id.index()]) {
        let node = graph.node(id);
        let args: Vec<Rc<Tensor>> = node.args.iter().map(|a| values[a.index()].clone().expect("live")).collect();
        let shape = node.ty.shape.at(batch);
        let value = match &node.op {
            Op::Input { index, .. } => inputs[*index].clone(),
            Op::Storage { id, ty } => {
                let cell = storage.get(id.0 as usize).ok_or(EvalError::NoStorage(id.0))?;
                check(|| format!("storage cell {}", id.0), ty.dtype, &shape, cell)?;
                cell.clone()
            }
            Op::Scan { scan, result } => {
                let results = &mut results[loops.of(id).expect("of a loop")];
                if results.is_empty() {
                    *results = scan::run(scan, batch, &args, rounding)?;
                }
                results[*result].clone()
            }
            op => {
                let args: Vec<&Tensor> = args.iter().map(Rc::as_ref).collect();
                let values = apply(op, node.ty.dtype, &shape, &args, batch);
                Rc::new(rounding(op, &args, Tensor { dtype: node.ty.dtype, shape, values }))
            }
        };
        debug_assert!(value.is_consistent(), "{id} {:?}", node.op);
        values[id.index()] = Some(value);
        for a in &node.args {
            uses[a.index()] -= 1;
            if uses[a.index()] == 0 {
                values[a.index()] = None;
            }
        }
    }
    let value = |id: NodeId| values[id.index()].clone().expect("live");
    Ok(Executed {
        outputs: graph.outputs.iter().map(|o| value(o.node)).collect(),
        assigns: graph.assigns.iter().map(|a| (a.target, value(a.node))).collect(),
    })
}

fn check(what: impl Fn() -> String, dtype: DType, shape: &[usize], given: &Tensor) -> Result<(), EvalError> {
    if given.dtype == dtype && given.shape == shape && given.is_consistent() {
        return Ok(());
    }
    let got = format!("{}{:?} of {} values", given.dtype, given.shape, given.values.len());
    Err(EvalError::WrongType { what: what(), expected: format!("{dtype}{shape:?}"), got })
}

/// A number as an element of an integer type or boolean: truncated and saturated, NaN is 0.
fn integer(x: f64, to: DType) -> i64 {
    match to {
        DType::I32 => x as i32 as i64,
        DType::U32 => x as u32 as i64,
        DType::U8 => x as u8 as i64,
        DType::Bool => (x != 0.0) as i64,
        DType::F32 | DType::F64 => x as i64,
    }
}

/// Computes one operation on tensors that do not depend on the batch. The operands have the types that inference
/// accepted; elementwise operations also take operands of any other shape that they all share with the result. Loops,
/// inputs and storage are no such operations.
pub(crate) fn apply_constant(op: &Op, dtype: DType, shape: &[usize], args: &[&Tensor]) -> Tensor {
    Tensor { dtype, shape: shape.to_vec(), values: apply(op, dtype, shape, args, 1) }
}

/// Computes one operation. The operands have the types that inference accepted.
#[deny(clippy::wildcard_enum_match_arm)]
fn apply(op: &Op, dtype: DType, shape: &[usize], args: &[&Tensor], batch: usize) -> Values {
    match op {
        Op::Input { .. } | Op::Storage { .. } | Op::Scan { .. } => unreachable!("the caller sees to these"),
        Op::Const { value, .. } => match value {
            Literal::Splat(x) => Tensor::splat(dtype, shape, x.0).values,
            Literal::Size(dim) => Tensor::splat(dtype, shape, dim.at(batch) as f64).values,
            Literal::Dense(v) => {
                let numbers: Vec<f64> = v.iter().map(|x| x.0).collect();
                Tensor::from_numbers(dtype, shape, &numbers).values
            }
        },
        Op::Iota { axis, .. } => {
            let inner: usize = shape[axis + 1..].iter().product();
            let index = |i: usize| i / inner % shape[*axis];
            let count = shape.iter().product();
            if dtype.is_float() {
                Values::Float((0..count).map(|i| index(i) as f64).collect())
            } else {
                Values::Int((0..count).map(|i| dtype.wrap(index(i) as i64)).collect())
            }
        }
        Op::Unary(f) => unary(*f, dtype, args[0]),
        Op::Binary(f) => binary(*f, dtype, args[0], args[1]),
        Op::Select => {
            let Values::Int(c) = &args[0].values else { unreachable!("a condition is boolean") };
            fn pick<T: Copy>(c: &[i64], a: &[T], b: &[T]) -> Vec<T> {
                c.iter().zip(a.iter().zip(b)).map(|(&c, (&a, &b))| if c != 0 { a } else { b }).collect()
            }
            match (&args[1].values, &args[2].values) {
                (Values::Float(a), Values::Float(b)) => Values::Float(pick(c, a, b)),
                (Values::Int(a), Values::Int(b)) => Values::Int(pick(c, a, b)),
                _ => unreachable!("operands have one type"),
            }
        }
        Op::Cast(to) => match (&args[0].values, to.is_float()) {
            (Values::Float(v), true) => Values::Float(v.clone()),
            (Values::Float(v), false) => Values::Int(v.iter().map(|&x| integer(x, *to)).collect()),
            (Values::Int(v), true) => Values::Float(v.iter().map(|&x| x as f64).collect()),
            (Values::Int(v), false) => Values::Int(v.iter().map(|&x| to.wrap(x)).collect()),
        },
        Op::Reduce { f, axes } => {
            let x = args[0];
            let kept: Vec<usize> = (0..x.shape.len()).filter(|a| !axes.contains(a)).collect();
            let mut to = vec![0; x.shape.len()];
            for (&axis, stride) in kept.iter().zip(strides(shape)) {
                to[axis] = stride;
            }
            let (row, neutral) = (f.combine().row(), f.neutral(dtype));
            match &x.values {
                Values::Float(v) => {
                    let mut out = vec![neutral; count(shape)];
                    walk(&x.shape, 0, &to, |i, o| out[o] = (row.eval)(out[o], v[i]));
                    Values::Float(out)
                }
                Values::Int(v) => {
                    let combine = |x, y| row.int.map_or(0, |int| dtype.wrap(int(x, y)));
                    let mut out = vec![neutral as i64; count(shape)];
                    walk(&x.shape, 0, &to, |i, o| out[o] = combine(out[o], v[i]));
                    Values::Int(out)
                }
            }
        }
        Op::Contract(axes) => Values::Float(contract(axes, args[0], args[1])),
        Op::Reshape(_) => args[0].values.clone(),
        Op::Permute(perm) => {
            let from = strides(&args[0].shape);
            view(args[0], shape, 0, &perm.iter().map(|&a| from[a]).collect::<Vec<_>>())
        }
        Op::Broadcast { axes, .. } => {
            let mut from = vec![0; shape.len()];
            for ((&axis, stride), &extent) in axes.iter().zip(strides(&args[0].shape)).zip(&args[0].shape) {
                from[axis] = if extent == 1 { 0 } else { stride };
            }
            view(args[0], shape, 0, &from)
        }
        Op::Slice(axes) => {
            let from = strides(&args[0].shape);
            let start = axes.iter().zip(&from).map(|(s, f)| s.start as isize * f).sum();
            view(args[0], shape, start, &axes.iter().zip(&from).map(|(s, f)| s.step * f).collect::<Vec<_>>())
        }
        Op::Pad { axes, value } => {
            let mut out = Tensor::splat(dtype, shape, value.0).values;
            let (start, to) = padded(axes, shape);
            place(args[0], start, &to, &mut out);
            out
        }
        Op::Concat { axis } => {
            let mut out = Tensor::splat(dtype, shape, 0.0).values;
            let to = strides(shape);
            let mut start = 0;
            for x in args {
                place(x, start, &to, &mut out);
                start += x.shape[*axis] as isize * to[*axis];
            }
            out
        }
        Op::Window(axes) => view(args[0], shape, 0, &window_strides(axes, &args[0].shape)),
        Op::Fold { axes, .. } => {
            let to = window_strides(axes, shape);
            match &args[0].values {
                Values::Float(v) => {
                    let mut out = vec![0.0; count(shape)];
                    walk(&args[0].shape, 0, &to, |i, o| out[o] += v[i]);
                    Values::Float(out)
                }
                Values::Int(v) => {
                    let mut out = vec![0; count(shape)];
                    walk(&args[0].shape, 0, &to, |i, o| out[o] = dtype.wrap(out[o] + v[i]));
                    Values::Int(out)
                }
            }
        }
        Op::Gather { axis, batch } => {
            let (data, indices) = (args[0], indices(args[1]));
            let last = data.shape[*axis] as i64 - 1;
            let rows = Rows::new(*axis, *batch, &data.shape, indices.len());
            fn read<T: Copy>(rows: &Rows, v: &[T], at: impl Fn(usize) -> usize) -> Vec<T> {
                rows.iter().flat_map(|(o, k)| &v[rows.data(o, at(rows.index(o, k)))]).copied().collect()
            }
            let at = |k: usize| indices[k].clamp(0, last) as usize;
            match &data.values {
                Values::Float(v) => Values::Float(read(&rows, v, at)),
                Values::Int(v) => Values::Int(read(&rows, v, at)),
            }
        }
        Op::ScatterAdd { axis, batch, .. } => {
            let (indices, updates) = (indices(args[0]), args[1]);
            let rows = Rows::new(*axis, *batch, shape, indices.len());
            let index = |o: usize, k: usize| indices[rows.index(o, k)];
            let hits = || rows.iter().filter(|&(o, k)| (0..shape[*axis] as i64).contains(&index(o, k)));
            match &updates.values {
                Values::Float(v) => {
                    let mut out = vec![0.0; count(shape)];
                    for (o, k) in hits() {
                        let to = &mut out[rows.data(o, index(o, k) as usize)];
                        to.iter_mut().zip(&v[rows.picked(o, k)]).for_each(|(x, u)| *x += u);
                    }
                    Values::Float(out)
                }
                Values::Int(v) => {
                    let mut out = vec![0; count(shape)];
                    for (o, k) in hits() {
                        let to = &mut out[rows.data(o, index(o, k) as usize)];
                        to.iter_mut().zip(&v[rows.picked(o, k)]).for_each(|(x, u)| *x = dtype.wrap(*x + u));
                    }
                    Values::Int(out)
                }
            }
        }
    }
}

fn unary(f: UnaryFn, result: DType, x: &Tensor) -> Values {
    let row = f.row();
    match (&x.values, row.int) {
        (Values::Int(v), Some(int)) if x.dtype.is_int() => {
            Values::Int(v.iter().map(|&x| result.wrap(int(x))).collect())
        }
        _ => from_floats(result, x.to_numbers().into_iter().map(row.eval)),
    }
}

fn binary(f: BinaryFn, result: DType, x: &Tensor, y: &Tensor) -> Values {
    let row = f.row();
    match (&x.values, &y.values, row.int) {
        (Values::Int(x_values), Values::Int(y_values), Some(int)) if x.dtype.is_int() => {
            Values::Int(x_values.iter().zip(y_values).map(|(&x, &y)| result.wrap(int(x, y))).collect())
        }
        (Values::Float(x), Values::Float(y), _) => {
            from_floats(result, x.iter().zip(y).map(|(&x, &y)| (row.eval)(x, y)))
        }
        _ => from_floats(result, x.to_numbers().into_iter().zip(y.to_numbers()).map(|(x, y)| (row.eval)(x, y))),
    }
}

/// Results of a row's `eval` in the representation of the result type.
fn from_floats(dtype: DType, values: impl Iterator<Item = f64>) -> Values {
    if dtype.is_float() { Values::Float(values.collect()) } else { Values::Int(values.map(|x| x as i64).collect()) }
}

/// Both operands are brought to `[batch, free, sum]`; then every result element is one dot product.
fn contract(axes: &ContractAxes, x: &Tensor, y: &Tensor) -> Vec<f64> {
    let side = |t: &Tensor, batch: Vec<usize>, free: Vec<usize>, sum: Vec<usize>| {
        let order = [batch, free, sum].concat();
        let from = strides(&t.shape);
        let shape: Vec<usize> = order.iter().map(|&a| t.shape[a]).collect();
        match view(t, &shape, 0, &order.iter().map(|&a| from[a]).collect::<Vec<_>>()) {
            Values::Float(v) => v,
            Values::Int(_) => unreachable!("contractions are of floats"),
        }
    };
    let lefts = |pairs: &[(usize, usize)]| pairs.iter().map(|p| p.0).collect::<Vec<_>>();
    let rights = |pairs: &[(usize, usize)]| pairs.iter().map(|p| p.1).collect::<Vec<_>>();
    let (left_free, right_free) = (axes.left_free(x.shape.len()), axes.right_free(y.shape.len()));
    let extent = |t: &Tensor, axes: &[usize]| axes.iter().map(|&a| t.shape[a]).product::<usize>();
    let (b, k) = (extent(x, &lefts(&axes.batch)), extent(x, &lefts(&axes.sum)));
    let (m, n) = (extent(x, &left_free), extent(y, &right_free));
    let left = side(x, lefts(&axes.batch), left_free, lefts(&axes.sum));
    let right = side(y, rights(&axes.batch), right_free, rights(&axes.sum));
    let mut out = Vec::with_capacity(b * m * n);
    for batch in 0..b {
        for i in 0..m {
            let row = &left[(batch * m + i) * k..][..k];
            for j in 0..n {
                let column = &right[(batch * n + j) * k..][..k];
                out.push(row.iter().zip(column).map(|(x, y)| x * y).sum());
            }
        }
    }
    out
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Row-major strides in elements.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i] as isize;
    }
    out
}

/// Visits every element of a shape in row-major order with its number and its strided offset.
fn walk(shape: &[usize], start: isize, strides: &[isize], mut visit: impl FnMut(usize, usize)) {
    let total = count(shape);
    let Some((&inner, outer)) = shape.split_last() else {
        return visit(0, start as usize);
    };
    let (step, mut index, mut base, mut i) = (strides[outer.len()], vec![0; outer.len()], start, 0);
    while i < total {
        for k in 0..inner {
            visit(i + k, (base + k as isize * step) as usize);
        }
        i += inner;
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            base += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            base -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// The elements at strided offsets, in the row-major order of the result.
fn view(x: &Tensor, shape: &[usize], start: isize, strides: &[isize]) -> Values {
    fn read<T: Copy>(v: &[T], shape: &[usize], start: isize, strides: &[isize]) -> Vec<T> {
        let mut out = Vec::with_capacity(count(shape));
        walk(shape, start, strides, |_, o| out.push(v[o]));
        out
    }
    match &x.values {
        Values::Float(v) => Values::Float(read(v, shape, start, strides)),
        Values::Int(v) => Values::Int(read(v, shape, start, strides)),
    }
}

/// Writes the elements to strided offsets.
fn place(x: &Tensor, start: isize, strides: &[isize], out: &mut Values) {
    match (&x.values, out) {
        (Values::Float(v), Values::Float(out)) => walk(&x.shape, start, strides, |i, o| out[o] = v[i]),
        (Values::Int(v), Values::Int(out)) => walk(&x.shape, start, strides, |i, o| out[o] = v[i]),
        _ => unreachable!("operand and result have one type"),
    }
}

/// Where the elements of an operand lie in the padded shape: the first one's offset, and strides.
fn padded(axes: &[PadAxis], shape: &[usize]) -> (isize, Vec<isize>) {
    let to = strides(shape);
    let start = axes.iter().zip(&to).map(|(p, t)| p.low as isize * t).sum();
    (start, axes.iter().zip(&to).map(|(p, t)| (p.interior as isize + 1) * t).collect())
}

/// Strides of the windowed view into the unwindowed tensor: positions in place, window elements appended.
fn window_strides(axes: &[WindowAxis], shape: &[usize]) -> Vec<isize> {
    let from = strides(shape);
    let mut out = from.clone();
    for w in axes {
        out[w.axis] = w.stride as isize * from[w.axis];
        out.push(w.dilation as isize * from[w.axis]);
    }
    out
}

fn indices(x: &Tensor) -> &[i64] {
    match &x.values {
        Values::Int(v) => v,
        Values::Float(_) => unreachable!("indices are integers"),
    }
}

/// The contiguous runs that indexing along an axis moves: `outer` groups, `picks` indices, runs of `inner` elements.
struct Rows {
    outer: usize,
    extent: usize,
    picks: usize,
    inner: usize,
    /// Groups that have the same indices.
    sharing: usize,
}

impl Rows {
    fn new(axis: usize, batch: usize, data: &[usize], indices: usize) -> Rows {
        let (outer, inner) = (count(&data[..axis]), count(&data[axis + 1..]));
        let picks = indices / count(&data[..batch]).max(1);
        Rows { outer, extent: data[axis], picks, inner, sharing: count(&data[batch..axis]).max(1) }
    }

    /// The place of a pick's index among all indices.
    fn index(&self, outer: usize, pick: usize) -> usize {
        outer / self.sharing * self.picks + pick
    }

    /// Every (group, pick), in row-major order.
    fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let picks = self.picks;
        (0..self.outer).flat_map(move |o| (0..picks).map(move |k| (o, k)))
    }

    /// The run at an index of the indexed tensor.
    fn data(&self, outer: usize, index: usize) -> std::ops::Range<usize> {
        let start = (outer * self.extent + index) * self.inner;
        start..start + self.inner
    }

    /// The run of a pick in the tensor of picked runs.
    fn picked(&self, outer: usize, pick: usize) -> std::ops::Range<usize> {
        let start = (outer * self.picks + pick) * self.inner;
        start..start + self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Dim, Number, ReduceFn, Shape, SliceAxis, TensorType};

    fn fixed(dtype: DType, dims: &[usize]) -> TensorType {
        TensorType::new(dtype, Shape::fixed(dims))
    }

    /// The elements of an operation on constant operands.
    fn run(op: Op, args: &[&Tensor]) -> Vec<f64> {
        let mut g = Graph::new("test");
        let ids: Vec<NodeId> = args.iter().map(|a| g.dense(fixed(a.dtype, &a.shape), a.to_numbers())).collect();
        let out = g.push(op, &ids);
        g.output("out", out);
        let out = evaluate(&g, 1, &[], &[]).unwrap().outputs.remove(0);
        assert_eq!(out.shape, g.ty(g.outputs[0].node).shape.at(1));
        out.to_numbers()
    }

    fn count_up(shape: &[usize]) -> Tensor {
        let numbers: Vec<f64> = (0..count(shape)).map(|x| x as f64).collect();
        Tensor::from_numbers(DType::F32, shape, &numbers)
    }

    #[test]
    fn casts() {
        let x = Tensor::f64(&[6], &[-1.9, 2.9, f64::NAN, 1e20, -1e20, 0.0]);
        assert_eq!(run(Op::Cast(DType::I32), &[&x]), [-1.0, 2.0, 0.0, i32::MAX as f64, i32::MIN as f64, 0.0]);
        assert_eq!(run(Op::Cast(DType::U8), &[&x]), [0.0, 2.0, 0.0, 255.0, 0.0, 0.0]);
        assert_eq!(run(Op::Cast(DType::Bool), &[&x]), [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        let i = Tensor::i32(&[3], &[-1, 256, 3]);
        assert_eq!(run(Op::Cast(DType::U8), &[&i]), [255.0, 0.0, 3.0]);
        assert_eq!(run(Op::Cast(DType::U32), &[&i]), [u32::MAX as f64, 256.0, 3.0]);
        assert_eq!(run(Op::Cast(DType::Bool), &[&i]), [1.0, 1.0, 1.0]);
        assert_eq!(run(Op::Cast(DType::F32), &[&Tensor::bool(&[2], &[true, false])]), [1.0, 0.0]);
    }

    #[test]
    fn integers_wrap_and_booleans_are_logic() {
        let (x, y) = (Tensor::u8(&[2], &[200, 7]), Tensor::u8(&[2], &[100, 0]));
        assert_eq!(run(Op::Binary(BinaryFn::Add), &[&x, &y]), [44.0, 7.0]);
        assert_eq!(run(Op::Binary(BinaryFn::Sub), &[&y, &x]), [156.0, 249.0]);
        assert_eq!(run(Op::Binary(BinaryFn::Div), &[&x, &y]), [2.0, 0.0]);
        assert_eq!(run(Op::Unary(UnaryFn::Not), &[&x]), [55.0, 248.0]);
        assert_eq!(run(Op::Binary(BinaryFn::Gt), &[&x, &y]), [1.0, 1.0]);
        let least = Tensor::i32(&[1], &[i32::MIN]);
        assert_eq!(run(Op::Unary(UnaryFn::Neg), &[&least]), [i32::MIN as f64]);
        let (a, b) = (Tensor::bool(&[2], &[true, false]), Tensor::bool(&[2], &[true, true]));
        assert_eq!(run(Op::Unary(UnaryFn::Not), &[&a]), [0.0, 1.0]);
        assert_eq!(run(Op::Binary(BinaryFn::Xor), &[&a, &b]), [0.0, 1.0]);
        let bits = Tensor::u32(&[1], &[0x3fc0_0000]);
        assert_eq!(run(Op::Unary(UnaryFn::FromBits), &[&bits]), [1.5]);
        let multiplied = Tensor::u32(&[1], &[u32::MAX]);
        assert_eq!(run(Op::Binary(BinaryFn::Mul), &[&multiplied, &multiplied]), [1.0]);
    }

    #[test]
    fn reductions() {
        let x = count_up(&[2, 3]);
        assert_eq!(run(Op::Reduce { f: ReduceFn::Sum, axes: vec![0] }, &[&x]), [3.0, 5.0, 7.0]);
        assert_eq!(run(Op::Reduce { f: ReduceFn::Max, axes: vec![1] }, &[&x]), [2.0, 5.0]);
        assert_eq!(run(Op::Reduce { f: ReduceFn::Min, axes: vec![0, 1] }, &[&x]), [0.0]);
        let nan = Tensor::f64(&[2], &[f64::NAN, 1.0]);
        assert!(run(Op::Reduce { f: ReduceFn::Max, axes: vec![0] }, &[&nan])[0].is_nan());
        assert_eq!(run(Op::Reduce { f: ReduceFn::Max, axes: vec![0] }, &[&count_up(&[0])]), [f64::NEG_INFINITY]);
        assert_eq!(run(Op::Reduce { f: ReduceFn::Max, axes: vec![0] }, &[&Tensor::i32(&[2], &[-3, -2])]), [-2.0]);
    }

    #[test]
    fn contractions() {
        let (x, y) = (count_up(&[2, 3]), count_up(&[3, 2]));
        let product = ContractAxes { batch: vec![], sum: vec![(1, 0)] };
        assert_eq!(run(Op::Contract(product), &[&x, &y]), [10.0, 13.0, 28.0, 40.0]);
        let matched = ContractAxes { batch: vec![(1, 0)], sum: vec![(0, 1)] };
        assert_eq!(run(Op::Contract(matched), &[&x, &y]), [3.0, 14.0, 33.0]);
    }

    #[test]
    fn views() {
        let x = count_up(&[2, 3]);
        assert_eq!(run(Op::Permute(vec![1, 0]), &[&x]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let stretch = Op::Broadcast { axes: vec![0, 1], shape: Shape::fixed(&[2, 2, 2]) };
        assert_eq!(run(stretch, &[&count_up(&[2, 1])]), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
        let axis = |start, step, count| SliceAxis { start, step, count: Dim::fixed(count) };
        assert_eq!(run(Op::Slice(vec![axis(1, 1, 1), axis(2, -2, 2)]), &[&x]), [5.0, 3.0]);
        let pads = vec![PadAxis { low: 1, high: 0, interior: 0 }, PadAxis { low: 0, high: 1, interior: 1 }];
        let padded = run(Op::Pad { axes: pads, value: Number(9.0) }, &[&count_up(&[1, 2])]);
        assert_eq!(padded, [9.0, 9.0, 9.0, 9.0, 0.0, 9.0, 1.0, 9.0]);
        assert_eq!(run(Op::Concat { axis: 1 }, &[&count_up(&[2, 1]), &x]), [0.0, 0.0, 1.0, 2.0, 1.0, 3.0, 4.0, 5.0]);
        let ty = fixed(DType::U8, &[2, 2]);
        assert_eq!(run(Op::Iota { axis: 0, ty }, &[]), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn windows() {
        let w = vec![WindowAxis { axis: 0, size: 2, stride: 2, dilation: 2 }];
        let windows = run(Op::Window(w.clone()), &[&count_up(&[5])]);
        assert_eq!(windows, [0.0, 2.0, 2.0, 4.0]);
        let fold = Op::Fold { axes: w, shape: Shape::fixed(&[5]) };
        assert_eq!(run(fold, &[&Tensor::f64(&[2, 2], &windows)]), [0.0, 0.0, 4.0, 0.0, 4.0]);
    }

    #[test]
    fn indices_clamp_in_gather_and_are_skipped_in_scatter() {
        let i = Tensor::i32(&[3], &[-1, 1, 9]);
        assert_eq!(run(Op::Gather { axis: 1, batch: 0 }, &[&count_up(&[2, 2]), &i]), [0.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
        let scatter = Op::ScatterAdd { axis: 1, batch: 0, shape: Shape::fixed(&[2, 2]) };
        assert_eq!(run(scatter, &[&i, &count_up(&[2, 3])]), [0.0, 1.0, 0.0, 4.0]);
    }

    #[test]
    fn batch_storage_and_assignments() {
        let mut g = Graph::new("step");
        let ty = TensorType::new(DType::F32, Shape::batched(&[2]));
        let x = g.input("x", ty.clone());
        let n = g.size(Dim { scale: 2, batch: true }, DType::F32);
        let cell = g.push(Op::Storage { id: StorageId(0), ty: TensorType::scalar(DType::F32) }, &[]);
        let total = g.sum_all(x);
        let mean = g.div(total, n);
        let next = g.add(cell, mean);
        g.output("mean", mean);
        g.assign(StorageId(0), next);
        let (x, w) = (count_up(&[3, 2]), Tensor::f32(&[], &[1.0]));
        let out = evaluate(&g, 3, std::slice::from_ref(&x), std::slice::from_ref(&w)).unwrap();
        assert_eq!((out.outputs[0].to_f32(), out.assigns[0].1.to_f32()), (vec![2.5], vec![3.5]));

        let failure = |batch, inputs: &[Tensor], cells: &[Tensor]| evaluate(&g, batch, inputs, cells).unwrap_err();
        let (x, w) = (std::slice::from_ref(&x), std::slice::from_ref(&w));
        assert_eq!(failure(3, &[], w).to_string(), "`step` takes 1 inputs, got 0");
        assert_eq!(failure(2, x, w).to_string(), "input `x` is f32[2, 2], got f32[3, 2] of 6 values");
        assert_eq!(failure(3, x, &[]).to_string(), "storage cell 0 has no value");
        assert!(matches!(failure(3, x, x), EvalError::WrongType { .. }));
    }
}
