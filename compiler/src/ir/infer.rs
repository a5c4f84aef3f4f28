//! The shape rule of every operation, called through [`Op::infer`].

use super::dtype::DType;
use super::op::{ContractAxes, Literal, Op, ReduceFn, SliceAxis, TypeError, WindowAxis};
use super::scan::Scan;
use super::shape::{Dim, Shape, TensorType};

pub(super) fn infer(op: &Op, args: &[&TensorType]) -> Result<TensorType, TypeError> {
    rule(op, args).map_err(|reason| TypeError { op: op.name(), reason })
}

type Rule<T> = Result<T, String>;

#[deny(clippy::wildcard_enum_match_arm)]
fn rule(op: &Op, args: &[&TensorType]) -> Rule<TensorType> {
    match op {
        Op::Input { ty, .. } | Op::Storage { ty, .. } => sized(ty.dtype, ty.shape.clone()),
        Op::Const { value, ty } => constant(value, ty),
        Op::Iota { axis, ty } => {
            axis_in(*axis, &ty.shape)?;
            if matches!(ty.dtype, DType::Bool) {
                return Err("an index is not a boolean".into());
            }
            sized(ty.dtype, ty.shape.clone())
        }
        Op::Unary(f) => {
            let (row, x) = (f.row(), args[0]);
            if !row.takes.accepts(x.dtype) {
                return Err(format!("{} does not take {}", row.name, x.dtype));
            }
            Ok(TensorType::new(row.gives.dtype(x.dtype), x.shape.clone()))
        }
        Op::Binary(f) => {
            let row = f.row();
            same(args[0], args[1])?;
            if !row.takes.accepts(args[0].dtype) {
                return Err(format!("{} does not take {}", row.name, args[0].dtype));
            }
            Ok(TensorType::new(row.gives.dtype(args[0].dtype), args[0].shape.clone()))
        }
        Op::Select => {
            same(args[1], args[2])?;
            if args[0].dtype != DType::Bool || args[0].shape != args[1].shape {
                return Err(format!("the condition is {}, needs bool{}", args[0], args[1].shape));
            }
            Ok(args[1].clone())
        }
        Op::Cast(to) => Ok(TensorType::new(*to, args[0].shape.clone())),
        Op::Reduce { f, axes } => {
            increasing(axes, args[0].shape.rank())?;
            if *f == ReduceFn::Sum {
                number(args[0].dtype)?;
            }
            Ok(TensorType::new(args[0].dtype, args[0].shape.without(axes)))
        }
        Op::Contract(axes) => contract(axes, args[0], args[1]),
        Op::Reshape(shape) => {
            reshape_groups(&args[0].shape, shape)?;
            sized(args[0].dtype, shape.clone())
        }
        Op::Permute(perm) => {
            let x = args[0];
            let mut seen = vec![false; x.shape.rank()];
            if perm.len() != seen.len()
                || perm.iter().any(|&a| a >= seen.len() || std::mem::replace(&mut seen[a], true))
            {
                return Err(format!("{perm:?} is no permutation of the axes of {}", x.shape));
            }
            Ok(TensorType::new(x.dtype, Shape(perm.iter().map(|&a| x.shape[a]).collect())))
        }
        Op::Broadcast { axes, shape } => {
            let x = args[0];
            increasing(axes, shape.rank())?;
            if axes.len() != x.shape.rank() {
                return Err(format!("{} axes named for {}", axes.len(), x.shape));
            }
            for (i, &a) in axes.iter().enumerate() {
                if x.shape[i] != shape[a] && x.shape[i] != Dim::ONE {
                    return Err(format!("axis {i} of {} does not stretch to axis {a} of {shape}", x.shape));
                }
            }
            sized(x.dtype, shape.clone())
        }
        Op::Slice(axes) => slice(axes, args[0]),
        Op::Pad { axes, .. } => {
            let x = args[0];
            if axes.len() != x.shape.rank() {
                return Err(format!("{} axes named for {}", axes.len(), x.shape));
            }
            let mut dims = Vec::new();
            for (p, &d) in axes.iter().zip(x.shape.iter()) {
                dims.push(match d.as_fixed() {
                    Some(_) if p.low > MAX_ELEMENTS || p.high > MAX_ELEMENTS || p.interior >= MAX_STEP => {
                        return Err("the padding is too large".into());
                    }
                    Some(n) => Dim::fixed(p.apply(n)),
                    None if *p == Default::default() => d,
                    None => return Err("the batch axis cannot be padded".into()),
                });
            }
            sized(x.dtype, Shape(dims))
        }
        Op::Concat { axis } => {
            let first = args[0];
            axis_in(*axis, &first.shape)?;
            if first.shape[*axis].batch {
                return Err("the batch axis cannot be joined".into());
            }
            let mut scale = 0;
            for x in args {
                let alike = x.dtype == first.dtype && x.shape.without(&[*axis]) == first.shape.without(&[*axis]);
                if !alike || x.shape.rank() != first.shape.rank() || x.shape[*axis].batch != first.shape[*axis].batch {
                    return Err(format!("{first} and {x} do not join along axis {axis}"));
                }
                scale += x.shape[*axis].scale;
            }
            let mut dims = first.shape.0.clone();
            dims[*axis].scale = scale;
            sized(first.dtype, Shape(dims))
        }
        Op::Window(axes) => Ok(TensorType::new(args[0].dtype, windowed(axes, &args[0].shape)?)),
        Op::Fold { axes, shape } => {
            let expected = windowed(axes, shape)?;
            if args[0].shape != expected {
                return Err(format!("windows over {shape} are {expected}, got {}", args[0].shape));
            }
            number(args[0].dtype)?;
            Ok(TensorType::new(args[0].dtype, shape.clone()))
        }
        Op::Gather { axis, batch } => {
            let (data, indices) = (args[0], args[1]);
            let shape = gathered(*axis, *batch, &data.shape, indices)?;
            if data.shape[*axis].scale == 0 {
                return Err("nothing to gather from".into());
            }
            sized(data.dtype, shape)
        }
        Op::ScatterAdd { axis, batch, shape } => {
            let (indices, updates) = (args[0], args[1]);
            let expected = gathered(*axis, *batch, shape, indices)?;
            if updates.shape != expected {
                return Err(format!("updates are {}, need {expected}", updates.shape));
            }
            number(updates.dtype)?;
            sized(updates.dtype, shape.clone())
        }
        Op::Scan { scan, result } => looped(scan, *result, args),
    }
}

/// The largest number of elements of one tensor at batch 1, so that byte sizes and offsets never overflow. An empty
/// axis counts as one element, so that strides do not overflow either.
const MAX_ELEMENTS: usize = 1 << 40;

/// The largest step of a slice, and the largest size, stride and dilation of a window.
const MAX_STEP: usize = 1 << 20;

fn sized(dtype: DType, shape: Shape) -> Rule<TensorType> {
    let extent = |d: &Dim| Dim { scale: d.scale.max(1), ..*d };
    match shape.iter().try_fold(Dim::ONE, |n, d| n.times(extent(d))) {
        Some(n) if n.scale <= MAX_ELEMENTS => Ok(TensorType::new(dtype, shape)),
        Some(_) => Err(format!("{shape} has too many elements")),
        None if shape.iter().filter(|d| d.batch).count() > 1 => Err(format!("{shape} depends on the batch twice")),
        None => Err(format!("{shape} has too many elements")),
    }
}

fn constant(value: &Literal, ty: &TensorType) -> Rule<TensorType> {
    match value {
        Literal::Dense(v) => match ty.shape.elements().and_then(|n| n.as_fixed()) {
            Some(n) if n == v.len() => {}
            _ => return Err(format!("{} numbers for {}", v.len(), ty.shape)),
        },
        Literal::Splat(_) => {}
        Literal::Size(_) if matches!(ty.dtype, DType::Bool | DType::U8) => {
            return Err(format!("an extent does not fit {}", ty.dtype));
        }
        Literal::Size(_) => {}
    }
    sized(ty.dtype, ty.shape.clone())
}

fn axis_in(axis: usize, shape: &Shape) -> Rule<()> {
    if axis < shape.rank() { Ok(()) } else { Err(format!("axis {axis} of {shape}")) }
}

fn increasing(axes: &[usize], rank: usize) -> Rule<()> {
    if axes.windows(2).all(|w| w[0] < w[1]) && axes.last().is_none_or(|&a| a < rank) {
        Ok(())
    } else {
        Err(format!("axes {axes:?} of rank {rank}"))
    }
}

fn same(x: &TensorType, y: &TensorType) -> Rule<()> {
    if x == y { Ok(()) } else { Err(format!("operands differ: {x} and {y}")) }
}

fn number(dtype: DType) -> Rule<()> {
    if matches!(dtype, DType::Bool) { Err("booleans do not add".into()) } else { Ok(()) }
}

fn contract(axes: &ContractAxes, x: &TensorType, y: &TensorType) -> Rule<TensorType> {
    if x.dtype != y.dtype || !x.dtype.is_float() {
        return Err(format!("multiplies floats of one type, got {x} and {y}"));
    }
    let (mut left, mut right) = (vec![false; x.shape.rank()], vec![false; y.shape.rank()]);
    for &(a, b) in axes.batch.iter().chain(&axes.sum) {
        axis_in(a, &x.shape)?;
        axis_in(b, &y.shape)?;
        if std::mem::replace(&mut left[a], true) || std::mem::replace(&mut right[b], true) {
            return Err(format!("axis {a} or {b} is named twice"));
        }
        if x.shape[a] != y.shape[b] {
            return Err(format!("axis {a} of {} does not match axis {b} of {}", x.shape, y.shape));
        }
    }
    let dims = axes.batch.iter().map(|p| x.shape[p.0]);
    let dims = dims.chain(axes.left_free(left.len()).into_iter().map(|a| x.shape[a]));
    let dims = dims.chain(axes.right_free(right.len()).into_iter().map(|b| y.shape[b]));
    sized(x.dtype, Shape(dims.collect()))
}

fn slice(axes: &[SliceAxis], x: &TensorType) -> Rule<TensorType> {
    if axes.len() != x.shape.rank() {
        return Err(format!("{} axes named for {}", axes.len(), x.shape));
    }
    for (i, (s, &d)) in axes.iter().zip(x.shape.iter()).enumerate() {
        let good = s.step.unsigned_abs() <= MAX_STEP
            && if d.batch {
                s.count == d && s.start == 0 && s.step == 1
            } else {
                let last = s.start as i128 + (s.count.scale as i128 - 1) * s.step as i128;
                let inside = (0..d.scale as i128).contains(&last) && s.start < d.scale;
                !s.count.batch && s.step != 0 && (s.count.scale == 0 && s.start <= d.scale || inside)
            };
        if !good {
            return Err(format!(
                "axis {i} of {} has no elements {} step {} count {}",
                x.shape, s.start, s.step, s.count
            ));
        }
    }
    Ok(TensorType::new(x.dtype, Shape(axes.iter().map(|s| s.count).collect())))
}

fn windowed(axes: &[WindowAxis], shape: &Shape) -> Rule<Shape> {
    increasing(&axes.iter().map(|w| w.axis).collect::<Vec<_>>(), shape.rank())?;
    let mut dims = shape.0.clone();
    for w in axes {
        let Some(n) = dims[w.axis].as_fixed() else {
            return Err("the batch axis cannot be windowed".into());
        };
        if [w.size, w.stride, w.dilation].iter().any(|n| !(1..=MAX_STEP).contains(n)) {
            return Err(format!("window of size {}, stride {}, dilation {}", w.size, w.stride, w.dilation));
        }
        if w.positions(n) == 0 {
            return Err(format!("a window spanning {} does not fit an extent of {n}", w.span()));
        }
        dims[w.axis] = Dim::fixed(w.positions(n));
    }
    dims.extend(axes.iter().map(|w| Dim::fixed(w.size)));
    sized(DType::U8, Shape(dims)).map(|t| t.shape)
}

/// The shape of what is picked along an axis of `data`.
fn gathered(axis: usize, batch: usize, data: &Shape, indices: &TensorType) -> Rule<Shape> {
    axis_in(axis, data)?;
    if !matches!(indices.dtype, DType::I32 | DType::U32 | DType::U8) {
        return Err(format!("indices are {}, need integers", indices.dtype));
    }
    if data[axis].batch {
        return Err("the batch axis is not indexed".into());
    }
    if batch > axis || indices.shape.get(..batch) != Some(&data[..batch]) {
        return Err(format!("the first {batch} axes of {data} and of the indices {indices} do not match"));
    }
    let dims = data[..axis].iter().chain(&indices.shape[batch..]).chain(&data[axis + 1..]);
    sized(DType::U8, Shape(dims.copied().collect())).map(|t| t.shape)
}

fn looped(scan: &Scan, result: usize, args: &[&TensorType]) -> Rule<TensorType> {
    scan.check()?;
    if scan.length > MAX_ELEMENTS {
        return Err("the loop has too many steps".into());
    }
    if args.len() != scan.operands() {
        return Err(format!("the loop takes {} operands, got {}", scan.operands(), args.len()));
    }
    if let Some((i, (ty, arg))) = scan.operand_types().zip(args).enumerate().find(|(_, (ty, arg))| ty != **arg) {
        return Err(format!("operand {i} is {arg}, the loop needs {ty}"));
    }
    let Some(ty) = scan.result_type(result) else {
        return Err(format!("the loop has {} results", scan.results()));
    };
    sized(ty.dtype, ty.shape)
}

/// Axes of one shape and the axes of another that hold the same elements.
pub type AxisGroup = (std::ops::Range<usize>, std::ops::Range<usize>);

/// Splits two shapes of equal size into the smallest groups of axes that hold equally many elements, as pairs of
/// ranges. A batch extent in a group of several axes on either side must lead it, so that strides stay constant.
pub fn reshape_groups(from: &Shape, to: &Shape) -> Result<Vec<AxisGroup>, String> {
    let differ = || format!("{from} and {to} hold different numbers of elements");
    if from.elements() != to.elements() || from.elements().is_none() {
        return Err(differ());
    }
    if from.elements().is_some_and(|n| n.scale == 0) {
        return Ok(vec![(0..from.rank(), 0..to.rank())]);
    }
    // The batch counts as a large prime, so that products are equal exactly when the extents are.
    let weight = |d: Dim| d.scale as u128 * if d.batch { (1 << 61) - 1 } else { 1 };
    let (mut groups, mut i, mut j) = (Vec::new(), 0, 0);
    while i < from.rank() || j < to.rank() {
        let (start_i, start_j) = (i, j);
        let (mut p, mut q) = (1, 1);
        loop {
            if i < from.rank() && p <= q {
                p *= weight(from[i]);
                i += 1;
            } else if j < to.rank() {
                q *= weight(to[j]);
                j += 1;
            }
            let fresh = i == start_i && i < from.rank() || j == start_j && j < to.rank();
            if p == q && !fresh {
                break;
            }
        }
        let leads = |dims: &[Dim]| dims.iter().skip_while(|d| **d == Dim::ONE).skip(1).all(|d| !d.batch);
        let trivial = |dims: &[Dim]| dims.iter().filter(|d| **d != Dim::ONE).count() <= 1;
        let (left, right) = (&from[start_i..i], &to[start_j..j]);
        if !(leads(left) && leads(right) || trivial(left) && trivial(right)) {
            return Err(format!(
                "{from} to {to} merges or splits the batch behind another axis; permute it to the front"
            ));
        }
        groups.push((start_i..i, start_j..j));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &[(usize, bool)]) -> Shape {
        Shape(text.iter().map(|&(scale, batch)| Dim { scale, batch }).collect())
    }

    #[test]
    fn reshape_groups_are_minimal() {
        let from = dims(&[(1, true), (4, false), (6, false)]);
        let to = dims(&[(1, true), (24, false)]);
        assert_eq!(reshape_groups(&from, &to).unwrap(), vec![(0..1, 0..1), (1..3, 1..2)]);
        let merged = dims(&[(4, true), (6, false)]);
        assert_eq!(reshape_groups(&from, &merged).unwrap(), vec![(0..2, 0..1), (2..3, 1..2)]);
        assert_eq!(reshape_groups(&merged, &from).unwrap(), vec![(0..1, 0..2), (1..2, 2..3)]);
        assert!(reshape_groups(&dims(&[(4, false), (1, true)]), &dims(&[(4, true)])).is_err());
        assert!(reshape_groups(&dims(&[(4, false)]), &dims(&[(5, false)])).is_err());
        assert_eq!(
            reshape_groups(&dims(&[(1, false), (6, false)]), &dims(&[(2, false), (3, false)])).unwrap().len(),
            1
        );
        assert_eq!(reshape_groups(&dims(&[]), &dims(&[(1, false)])).unwrap(), vec![(0..0, 0..1)]);
    }
}
