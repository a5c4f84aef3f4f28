//! Rules of views.

use crate::ir::{BinaryFn, Dim, Graph, Literal, Node, NodeId, Number, Op, PadAxis, SliceAxis, TensorType, WindowAxis};

/// The operand of a node and what views it.
fn view(g: &Graph, id: NodeId) -> Option<(&Op, NodeId)> {
    match g.node(id) {
        Node { op, args, .. } if op.is_view() => args.first().map(|x| (op, *x)),
        _ => None,
    }
}

/// A view that shows its operand as it is.
pub fn whole_view(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (op, x) = view(g, id)?;
    let same = g.ty(x) == g.ty(id);
    let whole = match op {
        Op::Reshape(_) | Op::Broadcast { .. } => same,
        Op::Permute(perm) => perm.iter().enumerate().all(|(i, &a)| i == a),
        Op::Slice(axes) => same && axes.iter().all(|s| s.start == 0 && (s.step == 1 || s.count.scale == 1)),
        Op::Pad { axes, .. } => same && axes.iter().all(|p| p.low == 0 && p.high == 0),
        Op::Concat { .. } => g.node(id).args.len() == 1,
        Op::Window(axes) => axes.is_empty(),
        _ => false,
    };
    whole.then_some(x)
}

/// A view of equal elements is equal elements.
pub fn view_of_splat(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let node = g.node(id);
    let (op, _) = view(g, id)?;
    let literals: Option<Vec<&Literal>> = node.args.iter().map(|a| splat(g, *a)).collect();
    let literals = literals?;
    let value = literals[0];
    let same = match op {
        Op::Pad { value: padding, .. } => *value == Literal::Splat(*padding),
        _ => literals.iter().all(|l| *l == value),
    };
    let op = Op::Const { value: value.clone(), ty: node.ty.clone() };
    same.then(|| g.push(op, &[]))
}

/// The literal of a constant whose elements are equal.
fn splat(g: &Graph, id: NodeId) -> Option<&Literal> {
    match &g.node(id).op {
        Op::Const { value: value @ (Literal::Splat(_) | Literal::Size(_)), .. } => Some(value),
        _ => None,
    }
}

/// Two reshapes are one, where one is possible.
pub fn reshape_of_reshape(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Reshape(shape), x) = view(g, id)? else { return None };
    let (Op::Reshape(_), y) = view(g, x)? else { return None };
    if g.ty(y).shape == *shape {
        return Some(y);
    }
    g.try_push(Op::Reshape(shape.clone()), &[y]).ok()
}

/// Two permutations are one.
pub fn permute_of_permute(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Permute(outer), x) = view(g, id)? else { return None };
    let (Op::Permute(inner), y) = view(g, x)? else { return None };
    let perm: Vec<usize> = outer.iter().map(|&a| inner[a]).collect();
    Some(g.permute(y, &perm))
}

/// Two broadcasts are one.
pub fn broadcast_of_broadcast(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Broadcast { axes: outer, shape }, x) = view(g, id)? else { return None };
    let (Op::Broadcast { axes: inner, .. }, y) = view(g, x)? else { return None };
    let axes = inner.iter().map(|&a| outer[a]).collect();
    let op = Op::Broadcast { axes, shape: shape.clone() };
    Some(g.push(op, &[y]))
}

/// A broadcast of a reshape that only inserts axes of extent 1 is a broadcast.
pub fn broadcast_of_unsqueezed(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Broadcast { axes: outer, shape }, x) = view(g, id)? else { return None };
    let (Op::Reshape(wide), y) = view(g, x)? else { return None };
    let narrow = &g.ty(y).shape;
    let mut places = Vec::new();
    for (a, &dim) in wide.iter().enumerate() {
        if places.len() < narrow.rank() && narrow[places.len()] == dim {
            places.push(outer[a]);
        } else if dim != Dim::ONE {
            return None;
        }
    }
    if places.len() < narrow.rank() {
        return None;
    }
    let op = Op::Broadcast { axes: places, shape: shape.clone() };
    Some(g.push(op, &[y]))
}

/// Two slices are one.
pub fn slice_of_slice(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Slice(outer), x) = view(g, id)? else { return None };
    let (Op::Slice(inner), y) = view(g, x)? else { return None };
    if g.ty(id).shape.iter().any(|d| d.scale == 0) {
        return None;
    }
    let compose = |(o, i): (&SliceAxis, &SliceAxis)| {
        let start = (i.start as isize + o.start as isize * i.step) as usize;
        let step = if o.count.scale == 1 && !o.count.batch { 1 } else { o.step * i.step };
        SliceAxis { start, step, count: o.count }
    };
    let axes = outer.iter().zip(inner).map(compose).collect();
    g.try_push(Op::Slice(axes), &[y]).ok()
}

/// A slice out of one operand of a concatenation is a slice of that operand.
pub fn slice_of_concat(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Slice(axes), x) = view(g, id)? else { return None };
    let Node { op: Op::Concat { axis }, args: parts, .. } = g.node(x) else { return None };
    let s = axes[*axis];
    if s.count.scale == 0 {
        return None;
    }
    let last = (s.start as isize + (s.count.scale as isize - 1) * s.step) as usize;
    let (low, high) = (s.start.min(last), s.start.max(last));
    let mut begin = 0;
    for &part in parts {
        let end = begin + g.ty(part).shape[*axis].scale;
        if (begin..end).contains(&low) && high < end {
            let mut axes = axes.clone();
            axes[*axis].start -= begin;
            return Some(g.push(Op::Slice(axes), &[part]));
        }
        begin = end;
    }
    None
}

/// Concatenations along one axis are one.
pub fn concat_of_concat(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Concat { axis }, args, .. } = g.node(id) else { return None };
    let axis = *axis;
    let parts = |x: NodeId| match g.node(x) {
        Node { op: Op::Concat { axis: inner }, args, .. } if *inner == axis => Some(args.clone()),
        _ => None,
    };
    if args.iter().all(|x| parts(*x).is_none()) {
        return None;
    }
    let flat: Vec<NodeId> = args.iter().flat_map(|x| parts(*x).unwrap_or_else(|| vec![*x])).collect();
    Some(g.concat(&flat, axis))
}

/// Paddings with one value, without gaps on the outside, are one.
pub fn pad_of_pad(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Pad { axes: outer, value }, x) = view(g, id)? else { return None };
    let (Op::Pad { axes: inner, value: inner_value }, y) = view(g, x)? else { return None };
    if value != inner_value || outer.iter().any(|p| p.interior > 0) {
        return None;
    }
    let join = |(o, i): (&PadAxis, &PadAxis)| PadAxis { low: o.low + i.low, high: o.high + i.high, ..*i };
    let op = Op::Pad { axes: outer.iter().zip(inner).map(join).collect(), value: *value };
    Some(g.push(op, &[y]))
}

/// Neighbours that are padded with zeros to each other's place and added are a concatenation: the gradients of the
/// slices that split a tensor.
pub fn sum_of_neighbours(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (BinaryFn::Add, x, y) = super::binary(g, id)? else { return None };
    let (Op::Pad { axes: left, value }, p) = view(g, x)? else { return None };
    let (Op::Pad { axes: right, value: other }, q) = view(g, y)? else { return None };
    if value.0 != 0.0 || other.0 != 0.0 || left.iter().chain(right).any(|pad| pad.interior > 0) {
        return None;
    }
    let mut differ = (0..left.len()).filter(|&i| left[i] != right[i]);
    let (axis, None) = (differ.next()?, differ.next()) else { return None };
    let extent = |x: NodeId| g.ty(x).shape[axis].scale;
    let (mut around, mut parts) = (left.clone(), [p, q]);
    if left[axis].low + extent(p) == right[axis].low {
        around[axis].high = right[axis].high;
    } else if right[axis].low + extent(q) == left[axis].low {
        around[axis].low = right[axis].low;
        parts = [q, p];
    } else {
        return None;
    }
    let joined = g.concat(&parts, axis);
    let plain = around.iter().all(|pad| *pad == PadAxis::default());
    Some(if plain { joined } else { g.push(Op::Pad { axes: around, value: Number(0.0) }, &[joined]) })
}

/// Windows of one element are a strided slice, as in a 1x1 convolution.
pub fn window_of_one(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let (Op::Window(axes), x) = view(g, id)? else { return None };
    if axes.iter().any(|w| w.size > 1) {
        return None;
    }
    let shape = g.ty(id).shape.clone();
    let mut slice: Vec<SliceAxis> =
        g.ty(x).shape.iter().zip(shape.iter()).map(|(_, &count)| SliceAxis { start: 0, step: 1, count }).collect();
    for w in axes {
        slice[w.axis].step = if slice[w.axis].count == Dim::ONE { 1 } else { w.stride as isize };
    }
    let picked = g.push(Op::Slice(slice), &[x]);
    Some(g.reshape(picked, shape))
}

/// A fold of windows of one element puts zeros between its operand's elements.
pub fn fold_of_one(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Fold { axes, shape }, args, .. } = g.node(id) else { return None };
    if axes.iter().any(|w| w.size > 1) {
        return None;
    }
    let (shape, x, rank) = (shape.clone(), args[0], shape.rank());
    let mut pads = vec![PadAxis::default(); rank];
    let mut dims = shape.clone();
    for w in axes {
        let (extent, positions) = (shape[w.axis].scale, w.positions(shape[w.axis].scale));
        let interior = if positions > 1 { w.stride - 1 } else { 0 };
        let reach = (positions - 1) * w.stride;
        pads[w.axis] = PadAxis { low: 0, high: extent - 1 - reach, interior };
        dims.0[w.axis] = Dim::fixed(positions);
    }
    let flat = g.reshape(x, dims);
    Some(g.push(Op::Pad { axes: pads, value: Number(0.0) }, &[flat]))
}

/// Windows side by side are folded by joining each position with its window, and zeros behind the last one.
pub fn fold_of_tiles(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op: Op::Fold { axes, shape }, args, .. } = g.node(id) else { return None };
    let tiles = |w: &WindowAxis| w.stride == w.size && (w.dilation == 1 || w.size == 1);
    if !axes.iter().all(tiles) {
        return None;
    }
    let (axes, shape, x) = (axes.clone(), shape.clone(), args[0]);
    let (mut order, mut joined) = (Vec::new(), shape.clone());
    let mut pads = vec![PadAxis::default(); shape.rank()];
    for axis in 0..shape.rank() {
        order.push(axis);
        if let Some(i) = axes.iter().position(|w| w.axis == axis) {
            order.push(shape.rank() + i);
            let covered = axes[i].positions(shape[axis].scale) * axes[i].size;
            pads[axis].high = shape[axis].scale - covered;
            joined.0[axis] = Dim::fixed(covered);
        }
    }
    let x = g.permute(x, &order);
    let x = g.try_push(Op::Reshape(joined), &[x]).ok()?;
    match pads.iter().all(|p| *p == PadAxis::default()) {
        true => Some(x),
        false => g.try_push(Op::Pad { axes: pads, value: Number(0.0) }, &[x]).ok(),
    }
}

/// A function of operands that repeat in one way is computed before they repeat.
pub fn function_of_broadcasts(g: &mut Graph, id: NodeId) -> Option<NodeId> {
    let Node { op, args, .. } = g.node(id).clone();
    if !op.is_elementwise() {
        return None;
    }
    let broadcast = |x: &NodeId| match view(g, *x) {
        Some((Op::Broadcast { axes, .. }, y)) => Some((axes.clone(), y)),
        _ => None,
    };
    let operands: Vec<_> = args.iter().map(|x| (broadcast(x), splat(g, *x).cloned(), g.ty(*x).dtype)).collect();
    let (axes, small) = operands.iter().find_map(|o| o.0.clone())?;
    let (shape, full) = (g.ty(small).shape.clone(), g.ty(id).shape.clone());
    let mut inner = Vec::new();
    for (broadcast, value, dtype) in operands {
        inner.push(match (broadcast, value) {
            (Some((a, y)), _) if a == axes && g.ty(y).shape == shape => y,
            (_, Some(value)) => g.push(Op::Const { value, ty: TensorType::new(dtype, shape.clone()) }, &[]),
            _ => return None,
        });
    }
    let value = g.push(op, &inner);
    Some(g.broadcast(value, &axes, full))
}
