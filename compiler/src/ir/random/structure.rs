//! Structural operations at random, and chains of them that are asked for.

use super::meet::{Chain, Kind, kinds};
use super::{Bounds, Generator, MAX_BATCH, TRIES, measure};
use crate::ir::{
    ContractAxes, DType, Dim, NodeId, Number, Op, PadAxis, ReduceFn, Shape, SliceAxis, TensorType, UnaryFn, WindowAxis,
};

impl Generator {
    /// An operation of two operands at most that is no scalar function.
    pub(super) fn structural(&mut self) -> Option<NodeId> {
        match self.rng.below(13) {
            0 | 1 => self.reading(Kind::Reduce),
            2 | 3 => {
                let x = self.any_float()?;
                self.contract(x)
            }
            4 => self.reading(Kind::Merge),
            5 => self.reading(Kind::Permute),
            6 => self.reading(Kind::Broadcast),
            7 => self.reading(Kind::Slice),
            8 => self.reading(Kind::Pad),
            9 => self.reading(Kind::Concat),
            10 => self.reading(Kind::Window),
            11 => self.fold(),
            _ => self.index(),
        }
    }

    fn reading(&mut self, kind: Kind) -> Option<NodeId> {
        let x = self.any()?;
        self.make(kind, x)
    }

    /// An operation that reads a node, of about this kind.
    fn make(&mut self, kind: Kind, x: NodeId) -> Option<NodeId> {
        match kind {
            Kind::Map => self.push(Op::Unary(UnaryFn::Neg), &[x], self.bounds(x).negated()),
            Kind::Merge | Kind::Split => self.reshape(x),
            Kind::Permute => self.permute(x),
            Kind::Broadcast => self.broadcast(x),
            Kind::Slice | Kind::Reverse => self.slice(x),
            Kind::Pad => self.pad(x),
            Kind::Concat => self.concat(x),
            Kind::Window => self.window(x),
            Kind::Fold => self.fold_of(x),
            Kind::Reduce => self.reduce(x),
            Kind::Contract => self.contract(x),
            Kind::Gather => {
                let indices = self.indices()?;
                self.gather(x, indices)
            }
            Kind::Pick => {
                let data = self.find(|t, _| t.shape.rank() > 0)?;
                self.gather(data, x)
            }
            Kind::Scatter => self.scatter(x),
            Kind::Step | Kind::Carry | Kind::Held | Kind::Stack | Kind::Final => None,
        }
    }

    /// An operation of exactly this kind that reads a node and nothing else between.
    fn link(&mut self, kind: Kind, x: NodeId) -> Option<NodeId> {
        (0..TRIES).find_map(|_| {
            let made = self.make(kind, x)?;
            let args = &self.graph.node(made).args;
            let reads = |i: usize| args[i] == x && kinds(&self.graph, made, i).contains(&kind);
            (0..args.len()).any(reads).then_some(made)
        })
    }

    /// A chain of operations, each of which reads the one before, and an output that depends on it.
    pub(super) fn chain(&mut self, chain: Chain) -> bool {
        let made = (0..TRIES).find_map(|_| {
            self.enter_site();
            let x = self.start(chain)?;
            let (mut depth, mut least) = (0i32, 0i32);
            for kind in chain {
                depth += matches!(kind, Kind::Step | Kind::Carry | Kind::Held) as i32;
                depth -= matches!(kind, Kind::Stack | Kind::Final) as i32;
                least = least.min(depth);
            }
            self.enter(x, least.unsigned_abs() as usize, &chain)
        });
        made.is_some_and(|(end, _)| {
            self.output(end);
            true
        })
    }

    /// What a chain begins with: of a type that all of it can take, and with several axes.
    fn start(&mut self, chain: Chain) -> Option<NodeId> {
        let dtype = if chain.contains(&Kind::Pick) && !chain.contains(&Kind::Contract) || chain[0] == Kind::Pick {
            DType::I32
        } else {
            DType::F32
        };
        let least = 1 + self.rng.below(3);
        if self.rng.one_in(4) {
            return self.find(|t, _| t.dtype == dtype && t.shape.rank() >= least);
        }
        let mut dims: Vec<Dim> = (0..least).map(|_| Dim::fixed(self.rng.pick(&[1, 2, 2, 3, 4, 4, 6]))).collect();
        if self.rng.one_in(2) {
            dims.insert(0, Dim::BATCH);
        }
        self.leaf_of(TensorType::new(dtype, Shape(dims)))
    }

    /// Follows a chain inside so many loops: the last node, and what of the chain is left for those around.
    pub(super) fn enter<'k>(&mut self, x: NodeId, loops: usize, chain: &'k [Kind]) -> Option<(NodeId, &'k [Kind])> {
        if loops > 0 {
            let (end, rest) = self.looped(Some((x, Kind::Held)), loops - 1, chain)?;
            return self.enter(end, 0, rest);
        }
        let (mut x, mut rest) = (x, chain);
        while let [kind, after @ ..] = rest {
            match kind {
                Kind::Stack | Kind::Final => break,
                Kind::Step | Kind::Carry | Kind::Held => (x, rest) = self.looped(Some((x, *kind)), 0, after)?,
                _ => (x, rest) = (self.link(*kind, x)?, after),
            }
        }
        Some((x, rest))
    }

    fn axes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).filter(|_| self.rng.one_in(2)).collect()
    }

    fn reduce(&mut self, x: NodeId) -> Option<NodeId> {
        let dims = self.dims(x);
        let (f, axes) = (self.rng.pick(&ReduceFn::ALL), self.axes(dims.len()));
        let count = axes.iter().map(|&a| dims[a].at(MAX_BATCH)).product();
        let b = self.bounds(x);
        let bounds = match f {
            ReduceFn::Sum if self.ty(x).dtype.is_float() => b.times(count),
            ReduceFn::Sum => Bounds::of_type(self.ty(x).dtype),
            ReduceFn::Max | ReduceFn::Min => b,
        };
        self.push(Op::Reduce { f, axes }, &[x], bounds)
    }

    /// Axes of the left operand are matched, summed or free; the right operand is made to fit, its axes shuffled.
    fn contract(&mut self, x: NodeId) -> Option<NodeId> {
        let dims = self.dims(x);
        let (mut batch, mut sum, mut right) = (Vec::new(), Vec::new(), Vec::new());
        for (a, &dim) in dims.iter().enumerate() {
            match self.rng.below(4) {
                0 => batch.push((a, dim)),
                1 | 2 => sum.push((a, dim)),
                _ => {}
            }
        }
        for i in 0..self.rng.below(3) {
            right.push((usize::MAX - i, Dim::fixed(1 + self.rng.below(4))));
        }
        right.extend(batch.iter().chain(&sum));
        for i in (1..right.len()).rev() {
            right.swap(i, self.rng.below(i + 1));
        }
        let ty = TensorType::new(DType::F32, Shape(right.iter().map(|r| r.1).collect()));
        let y = self.of_type(&ty, false)?;
        let place = |a: usize| right.iter().position(|r| r.0 == a).map(|b| (a, b));
        let pairs = |axes: &[(usize, Dim)]| axes.iter().filter_map(|p| place(p.0)).collect::<Vec<_>>();
        let count: usize = sum.iter().map(|p| p.1.at(MAX_BATCH)).product();
        let axes = ContractAxes { batch: pairs(&batch), sum: pairs(&sum) };
        let bounds = measure(self.bounds(x), self.bounds(y), |x, y| x * y, false).times(count);
        self.push(Op::Contract(axes), &[x, y], bounds)
    }

    fn reshape(&mut self, x: NodeId) -> Option<NodeId> {
        let mut dims = self.dims(x);
        for _ in 0..1 + self.rng.below(3) {
            let at = self.rng.below(dims.len() + 1);
            if at + 1 < dims.len() && self.rng.one_in(2) {
                let right = dims.remove(at + 1);
                dims[at] = dims[at].times(right)?;
            } else if at < dims.len() && self.rng.one_in(2) {
                let scale = dims[at].scale;
                let inner = self.rng.pick(&[2, 3, scale]);
                if inner > 0 && scale.is_multiple_of(inner) {
                    dims[at].scale = scale / inner;
                    dims.insert(at + 1, Dim::fixed(inner));
                }
            } else {
                dims.insert(at, Dim::ONE);
            }
        }
        self.push(Op::Reshape(Shape(dims)), &[x], self.bounds(x))
    }

    fn permute(&mut self, x: NodeId) -> Option<NodeId> {
        let mut perm: Vec<usize> = (0..self.dims(x).len()).collect();
        for i in (1..perm.len()).rev() {
            perm.swap(i, self.rng.below(i + 1));
        }
        self.push(Op::Permute(perm), &[x], self.bounds(x))
    }

    fn broadcast(&mut self, x: NodeId) -> Option<NodeId> {
        let from = self.dims(x);
        let (mut axes, mut dims) = (Vec::new(), Vec::new());
        for &dim in &from {
            if self.rng.one_in(3) {
                dims.push(if self.rng.one_in(3) { Dim::BATCH } else { Dim::fixed(1 + self.rng.below(4)) });
            }
            axes.push(dims.len());
            let stretch = dim == Dim::ONE && self.rng.one_in(2);
            dims.push(if stretch { Dim::fixed(1 + self.rng.below(4)) } else { dim });
        }
        if self.rng.one_in(2) {
            dims.push(Dim::fixed(1 + self.rng.below(4)));
        }
        self.push(Op::Broadcast { axes, shape: Shape(dims) }, &[x], self.bounds(x))
    }

    fn slice(&mut self, x: NodeId) -> Option<NodeId> {
        let mut axes = Vec::new();
        for dim in self.dims(x) {
            axes.push(match dim.as_fixed() {
                Some(n) if n > 0 && self.rng.one_in(2) => {
                    let (step, count) = (1 + self.rng.below(3), 1 + self.rng.below(n));
                    let count = count.min((n - 1) / step + 1);
                    let reach = (count - 1) * step;
                    let start = self.rng.below(n - reach);
                    let (start, step) =
                        if self.rng.one_in(3) { (start + reach, -(step as isize)) } else { (start, step as isize) };
                    SliceAxis { start, step, count: Dim::fixed(count) }
                }
                _ => SliceAxis { start: 0, step: 1, count: dim },
            });
        }
        self.push(Op::Slice(axes), &[x], self.bounds(x))
    }

    fn pad(&mut self, x: NodeId) -> Option<NodeId> {
        let ty = self.ty(x);
        let mut axes = Vec::new();
        for dim in ty.shape.iter() {
            let mut amount = |n| if self.rng.one_in(2) { self.rng.below(n) } else { 0 };
            let pad = PadAxis { low: amount(3), high: amount(3), interior: amount(3) };
            axes.push(if dim.batch { PadAxis::default() } else { pad });
        }
        let value = if self.rng.one_in(2) { 0.0 } else { self.rng.leaf(ty.dtype) };
        let bounds = self.bounds(x).join(Bounds::exact((value, value)));
        self.push(Op::Pad { axes, value: Number(value) }, &[x], bounds)
    }

    fn concat(&mut self, x: NodeId) -> Option<NodeId> {
        let ty = self.ty(x);
        let axis = self.rng.below(ty.shape.rank());
        let (mut args, mut bounds) = (vec![x], self.bounds(x));
        for _ in 0..self.rng.below(3) {
            let mut like = ty.clone();
            if let Some(dim) = like.shape.0.get_mut(axis) {
                dim.scale = 1 + self.rng.below(3);
            }
            let part = self.of_type(&like, false)?;
            bounds = bounds.join(self.bounds(part));
            args.push(part);
        }
        self.push(Op::Concat { axis }, &args, bounds)
    }

    fn window_axes(&mut self, dims: &[Dim]) -> Vec<WindowAxis> {
        let mut axes = Vec::new();
        for (axis, dim) in dims.iter().enumerate() {
            if dim.as_fixed().is_some_and(|n| n > 0) && self.rng.one_in(2) {
                let (size, stride) = (1 + self.rng.below(3), 1 + self.rng.below(3));
                axes.push(WindowAxis { axis, size, stride, dilation: 1 + self.rng.below(2) });
            }
        }
        axes
    }

    fn window(&mut self, x: NodeId) -> Option<NodeId> {
        let axes = self.window_axes(&self.dims(x));
        self.push(Op::Window(axes), &[x], self.bounds(x))
    }

    /// Any tensor that windows could be, summed into a random one.
    fn fold(&mut self) -> Option<NodeId> {
        let dtype = self.rng.pick(&[DType::F32, DType::F32, DType::I32]);
        let shape = self.shape();
        let axes = self.window_axes(&shape);
        let windows = Op::Window(axes.clone()).infer(&[&TensorType::new(dtype, shape.clone())]).ok()?;
        let x = self.of_type(&windows, false)?;
        self.folded(x, axes, shape)
    }

    /// A tensor read as windows: its last axes are their elements.
    fn fold_of(&mut self, x: NodeId) -> Option<NodeId> {
        let mut dims = self.dims(x);
        let windowed = 1 + self.rng.below(2);
        let sizes = dims.split_off(dims.len().checked_sub(windowed)?);
        let mut fixed: Vec<usize> = (0..dims.len()).filter(|a| !dims[*a].batch && dims[*a].scale > 0).collect();
        while fixed.len() > windowed {
            fixed.remove(self.rng.below(fixed.len()));
        }
        let mut axes = Vec::new();
        for (size, &axis) in sizes.iter().zip(&fixed) {
            let (stride, dilation) = (1 + self.rng.below(3), 1 + self.rng.below(2));
            let window = WindowAxis { axis, size: size.as_fixed().filter(|n| *n > 0)?, stride, dilation };
            dims[axis] = Dim::fixed((dims[axis].scale - 1) * stride + window.span() + self.rng.below(stride));
            axes.push(window);
        }
        if axes.len() < windowed {
            return None;
        }
        self.folded(x, axes, Shape(dims))
    }

    fn folded(&mut self, x: NodeId, axes: Vec<WindowAxis>, shape: Shape) -> Option<NodeId> {
        let dtype = self.ty(x).dtype;
        let hits = axes.iter().map(|w| w.size).product();
        let bounds = if dtype.is_float() { self.bounds(x).times(hits) } else { Bounds::of_type(dtype) };
        self.push(Op::Fold { axes, shape }, &[x], bounds)
    }

    fn indices(&mut self) -> Option<NodeId> {
        let fits = |t: &TensorType| matches!(t.dtype, DType::I32 | DType::U32 | DType::U8) && t.shape.rank() < 3;
        match self.rng.one_in(3) {
            true => {
                let shape = Shape((0..self.rng.below(3)).map(|_| Dim::fixed(1 + self.rng.below(3))).collect());
                self.leaf_of(TensorType::new(DType::I32, shape))
            }
            false => self.find(|t, _| fits(t)),
        }
    }

    fn gather(&mut self, data: NodeId, indices: NodeId) -> Option<NodeId> {
        let (ty, own) = (self.ty(data), self.ty(indices).shape);
        let axis = self.rng.below(ty.shape.rank());
        let alike = ty.shape[..axis.min(ty.shape.rank())].iter().zip(own.iter()).take_while(|(a, b)| a == b).count();
        let batch = if alike > 0 { self.rng.below(alike + 1) } else { 0 };
        self.push(Op::Gather { axis, batch }, &[data, indices], self.bounds(data))
    }

    /// Gathers, and half of the time scatters what was gathered.
    fn index(&mut self) -> Option<NodeId> {
        let data = self.find(|t, _| t.shape.rank() > 0)?;
        let indices = self.indices()?;
        let picked = self.gather(data, indices)?;
        if self.rng.one_in(2) {
            return Some(picked);
        }
        let Op::Gather { axis, batch } = self.graph.node(picked).op else { return None };
        let ty = self.ty(data);
        let hits = self.ty(indices).shape.count(MAX_BATCH);
        let bounds = if ty.dtype.is_float() { self.bounds(data).times(hits) } else { Bounds::of_type(ty.dtype) };
        self.push(Op::ScatterAdd { axis, batch, shape: ty.shape }, &[indices, picked], bounds)
    }

    /// A tensor scattered along one of its axes, or along one that takes the place of some.
    fn scatter(&mut self, x: NodeId) -> Option<NodeId> {
        let ty = self.ty(x);
        let axis = self.rng.below(ty.shape.rank() + 1);
        let places = self.rng.below(ty.shape.rank() - axis + 1);
        let batch = if axis > 0 && self.rng.one_in(2) { self.rng.below(axis + 1) } else { 0 };
        let mut shape = ty.shape[..axis].to_vec();
        shape.push(Dim::fixed(1 + self.rng.below(4)));
        shape.extend(&ty.shape[axis + places..]);
        let own = ty.shape[..batch].iter().chain(&ty.shape[axis..axis + places]).copied().collect();
        let indices = self.of_type(&TensorType::new(DType::I32, Shape(own)), false)?;
        let hits = self.ty(indices).shape.count(MAX_BATCH);
        let bounds = if ty.dtype.is_float() { self.bounds(x).times(hits) } else { Bounds::of_type(ty.dtype) };
        self.push(Op::ScatterAdd { axis, batch, shape: Shape(shape) }, &[indices, x], bounds)
    }
}
