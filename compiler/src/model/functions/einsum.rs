//! Products of tensors whose axes are named by letters, and the products that are special cases.

use super::Built;
use crate::ir::{Dim, Graph, NodeId, ReduceFn, Shape};

/// The name of an axis: a letter, or the number of one that an ellipsis stands for, counted from the back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Elided(usize),
    Letter(char),
}

/// A tensor with the names of its axes.
#[derive(Clone)]
struct Term {
    x: NodeId,
    labels: Vec<Label>,
}

/// The labels of one part of an equation, for a tensor of a rank where that is known.
fn labels(part: &str, rank: Option<usize>, elided: usize) -> Built<Vec<Label>> {
    let letters = part.replace("...", "").chars().count();
    let elided = match rank {
        Some(rank) if part.contains("...") => {
            rank.checked_sub(letters).ok_or_else(|| format!("`{part}` names more than {rank} axes"))?
        }
        Some(rank) if rank != letters => return Err(format!("`{part}` names {letters} axes of {rank}")),
        _ => elided,
    };
    let mut found = Vec::new();
    let (front, back) = part.split_once("...").map_or((part, None), |(front, back)| (front, Some(back)));
    let letter = |c: char| match c.is_ascii_alphabetic() {
        true => Ok(Label::Letter(c)),
        false => Err(format!("`{}` is no letter", c.escape_debug())),
    };
    for c in front.chars() {
        found.push(letter(c)?);
    }
    if let Some(back) = back {
        found.extend((0..elided).rev().map(Label::Elided));
        for c in back.chars() {
            found.push(letter(c)?);
        }
    }
    Ok(found)
}

impl Graph {
    /// NumPy's `einsum` of any number of tensors of one element type.
    pub(crate) fn einsum(&mut self, equation: &str, tensors: &[NodeId]) -> Built {
        let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (inputs, output) = equation.split_once("->").map_or((equation.as_str(), None), |(i, o)| (i, Some(o)));
        let parts: Vec<&str> = inputs.split(',').collect();
        if parts.len() != tensors.len() {
            return Err(format!("`{equation}` names {} tensors, not {}", parts.len(), tensors.len()));
        }
        let mut terms = Vec::new();
        for (part, &x) in parts.iter().zip(tensors) {
            terms.push(Term { x, labels: labels(part, Some(self.rank_of(x)), 0)? });
        }
        let all: Vec<Label> = terms.iter().flat_map(|term| term.labels.iter().copied()).collect();
        let elided = all.iter().filter_map(|l| if let Label::Elided(i) = l { Some(i + 1) } else { None }).max();
        let output = match output {
            Some(output) => labels(output, None, elided.unwrap_or(0))?,
            // Without an arrow: the ellipsis, then the letters that stand once, by the alphabet.
            None => {
                let mut once: Vec<Label> =
                    all.iter().copied().filter(|l| all.iter().filter(|o| *o == l).count() == 1).collect();
                once.retain(|l| matches!(l, Label::Letter(_)));
                once.sort_unstable();
                (0..elided.unwrap_or(0)).rev().map(Label::Elided).chain(once).collect()
            }
        };
        if let Some(label) = output.iter().enumerate().find(|(i, l)| output[..*i].contains(l) || !all.contains(l)) {
            return Err(format!("`{equation}`: {:?} of the result is no axis of its own", label.1));
        }
        self.stretchable(&mut terms)?;
        for term in &mut terms {
            self.diagonals(term)?;
        }
        let mut terms = terms.into_iter();
        let mut product = terms.next().ok_or("it is given no tensor")?;
        loop {
            let rest: Vec<Label> = terms.clone().flat_map(|term| term.labels).collect();
            let Some(mut next) = terms.next() else { break };
            let later: Vec<Label> = terms.clone().flat_map(|term| term.labels).chain(output.iter().copied()).collect();
            let needed: Vec<Label> = rest.into_iter().chain(output.iter().copied()).collect();
            self.summed(&mut product, |l| needed.contains(l));
            let own = product.labels.clone();
            self.summed(&mut next, |l| own.contains(l) || later.contains(l));
            product = self.multiplied(product, next, |l| later.contains(l));
        }
        self.summed(&mut product, |l| output.contains(l));
        // Axes of extent 1 that stretching took out come back, if the result has them.
        for label in &output {
            if !product.labels.contains(label) {
                product.x = self.expand(product.x, 0);
                product.labels.insert(0, *label);
            }
        }
        let order: Vec<usize> =
            output.iter().filter_map(|label| product.labels.iter().position(|l| l == label)).collect();
        Ok(self.permute(product.x, &order))
    }

    /// Takes out axes of extent 1 that meet larger ones.
    fn stretchable(&mut self, terms: &mut [Term]) -> Built<()> {
        let mut extents: Vec<(Label, Dim)> = Vec::new();
        for term in terms.iter() {
            for (label, dim) in term.labels.iter().zip(self.shape_of(term.x).iter()) {
                match extents.iter_mut().find(|(l, _)| l == label) {
                    None => extents.push((*label, *dim)),
                    Some((_, known)) if known == dim || *dim == Dim::ONE => {}
                    Some((_, known)) if *known == Dim::ONE => *known = *dim,
                    Some((_, known)) => return Err(format!("one axis has the extents {known} and {dim}")),
                }
            }
        }
        for term in terms {
            for axis in (0..term.labels.len()).rev() {
                let wanted = extents.iter().find(|(l, _)| *l == term.labels[axis]).map(|e| e.1);
                if self.ty(term.x).shape[axis] == Dim::ONE && wanted != Some(Dim::ONE) {
                    term.x = self.squeeze(term.x, axis);
                    term.labels.remove(axis);
                }
            }
        }
        Ok(())
    }

    /// Takes the diagonal of axes with one name.
    fn diagonals(&mut self, term: &mut Term) -> Built<()> {
        while let Some((a, b)) =
            (0..term.labels.len()).find_map(|b| Some((term.labels[..b].iter().position(|l| *l == term.labels[b])?, b)))
        {
            term.x = self.diagonal(term.x, 0, a, b)?;
            let label = term.labels[a];
            term.labels.remove(b);
            term.labels.remove(a);
            term.labels.push(label);
        }
        Ok(())
    }

    /// Sums over the axes that nobody needs.
    fn summed(&mut self, term: &mut Term, needed: impl Fn(&Label) -> bool) {
        let axes: Vec<usize> = (0..term.labels.len()).filter(|&i| !needed(&term.labels[i])).collect();
        term.x = self.sum(term.x, &axes);
        term.labels.retain(|label| needed(label));
    }

    fn multiplied(&mut self, a: Term, b: Term, kept: impl Fn(&Label) -> bool) -> Term {
        let place = |labels: &[Label], label: &Label| labels.iter().position(|l| l == label);
        let shared: Vec<(usize, usize, Label)> =
            a.labels.iter().enumerate().filter_map(|(i, l)| Some((i, place(&b.labels, l)?, *l))).collect();
        let pairs = |keep: bool| -> Vec<(usize, usize)> {
            shared.iter().filter(|(.., l)| kept(l) == keep).map(|&(i, j, _)| (i, j)).collect()
        };
        let (batch, sum) = (pairs(true), pairs(false));
        let own = |labels: &[Label]| -> Vec<Label> {
            labels.iter().copied().filter(|l| !shared.iter().any(|(.., s)| s == l)).collect()
        };
        let matched: Vec<Label> = batch.iter().map(|(i, _)| a.labels[*i]).collect();
        let labels = [matched, own(&a.labels), own(&b.labels)].concat();
        Term { x: self.any_contract(a.x, b.x, &batch, &sum), labels }
    }

    /// The contraction for any type of numbers: that of integers is a sum of products.
    fn any_contract(&mut self, a: NodeId, b: NodeId, batch: &[(usize, usize)], sum: &[(usize, usize)]) -> NodeId {
        if self.ty(a).dtype.is_float() {
            return self.contract(a, b, batch, sum);
        }
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        let free = |rank: usize, side: fn(&(usize, usize)) -> usize| -> Vec<usize> {
            (0..rank).filter(|axis| !batch.iter().chain(sum).any(|pair| side(pair) == *axis)).collect()
        };
        let (of_a, of_b) = (free(left.rank(), |p| p.0), free(right.rank(), |p| p.1));
        // [matched, free of a, free of b, summed]
        let order_a: Vec<usize> =
            batch.iter().map(|p| p.0).chain(of_a.iter().copied()).chain(sum.iter().map(|p| p.0)).collect();
        let order_b: Vec<usize> =
            batch.iter().map(|p| p.1).chain(of_b.iter().copied()).chain(sum.iter().map(|p| p.1)).collect();
        let shape = Shape(
            batch
                .iter()
                .map(|p| left[p.0])
                .chain(of_a.iter().map(|&i| left[i]))
                .chain(of_b.iter().map(|&i| right[i]))
                .chain(sum.iter().map(|p| left[p.0]))
                .collect(),
        );
        let (n, m, k) = (batch.len(), of_a.len(), of_b.len());
        let gone_a: Vec<usize> = (n + m..n + m + k).collect();
        let gone_b: Vec<usize> = (n..n + m).collect();
        let (a, b) = (self.permute(a, &order_a), self.permute(b, &order_b));
        let (a, b) = (self.unreduce(a, &gone_a, &shape), self.unreduce(b, &gone_b, &shape));
        let product = self.mul(a, b);
        let last: Vec<usize> = (n + m + k..shape.rank()).collect();
        self.reduce(ReduceFn::Sum, product, &last)
    }

    /// NumPy's `matmul`: the product of matrices, of stacks of them, and of rows and columns.
    pub(crate) fn matrix_product(&mut self, a: NodeId, b: NodeId) -> Built {
        match (self.rank_of(a), self.rank_of(b)) {
            (0, _) | (_, 0) => Err("a scalar is no matrix".into()),
            (1, 1) => self.einsum("i,i->", &[a, b]),
            (_, 1) => self.einsum("...i,i->...", &[a, b]),
            (1, _) => self.einsum("i,...ij->...j", &[a, b]),
            _ => self.einsum("...ij,...jk->...ik", &[a, b]),
        }
    }

    /// NumPy's `dot`: over the last axis of the first and the last but one of the second, without stacks.
    pub(crate) fn dot(&mut self, a: NodeId, b: NodeId) -> Built {
        let (left, right) = (self.rank_of(a), self.rank_of(b));
        if left == 0 || right == 0 {
            let shape = if left == 0 { self.shape_of(b) } else { self.shape_of(a) };
            let (a, b) = (self.broadcast_to(a, &shape), self.broadcast_to(b, &shape));
            return Ok(self.mul(a, b));
        }
        self.tensor_dot(a, b, &[(left - 1, right.saturating_sub(2))])
    }

    /// Sums products over pairs of axes; the others follow each other.
    pub(crate) fn tensor_dot(&mut self, a: NodeId, b: NodeId, pairs: &[(usize, usize)]) -> Built {
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        match pairs.iter().find(|p| left[p.0] != right[p.1]) {
            Some((i, j)) => Err(format!("axis {i} of {left} and axis {j} of {right} differ")),
            None => Ok(self.any_contract(a, b, &[], pairs)),
        }
    }

    /// Every product of an element of one and of the other.
    pub(crate) fn outer(&mut self, a: NodeId, b: NodeId) -> Built {
        let (a, b) = (self.ravel(a)?, self.ravel(b)?);
        self.einsum("i,j->ij", &[a, b])
    }

    /// The Kronecker product.
    pub(crate) fn kron(&mut self, a: NodeId, b: NodeId) -> Built {
        let rank = self.rank_of(a).max(self.rank_of(b));
        let lead = |g: &mut Graph, x: NodeId| {
            let dims = vec![Dim::ONE; rank - g.rank_of(x)].into_iter().chain(g.shape_of(x).0).collect();
            g.reshape(x, Shape(dims))
        };
        let (a, b) = (lead(self, a), lead(self, b));
        let (left, right) = (self.shape_of(a), self.shape_of(b));
        let wide = Shape(left.iter().zip(right.iter()).flat_map(|(&m, &n)| [m, n]).collect());
        let evens: Vec<usize> = (0..rank).map(|i| 2 * i).collect();
        let odds: Vec<usize> = (0..rank).map(|i| 2 * i + 1).collect();
        let (a, b) = (self.broadcast(a, &evens, wide.clone()), self.broadcast(b, &odds, wide));
        let product = self.mul(a, b);
        let merged = left.iter().zip(right.iter()).map(|(m, n)| m.times(*n)).collect::<Option<Vec<Dim>>>();
        Ok(self.reshape(product, Shape(merged.ok_or("it would have too many elements")?)))
    }

    /// The cross product of vectors along the last axis, of 3 elements each or of 2; that of two vectors of 2 elements is
    /// a number.
    pub(crate) fn cross(&mut self, a: NodeId, b: NodeId) -> Built {
        let (mut pair, mut flat) = ([a, b], [false; 2]);
        for (x, flat) in pair.iter_mut().zip(&mut flat) {
            let axis = self.rank_of(*x).checked_sub(1).ok_or("a scalar is no vector")?;
            *flat = match self.extent_of(*x, axis)? {
                3 => false,
                2 => true,
                n => return Err(format!("vectors of {n} elements have no cross product")),
            };
            if *flat {
                let mut edges = vec![(0, 0); axis + 1];
                edges[axis] = (0, 1);
                *x = self.padded(*x, &edges, super::PadMode::Constant(0.0))?;
            }
        }
        let (left, right) = (self.shape_of(pair[0]), self.shape_of(pair[1]));
        let shape = crate::model::merge::broadcast_shape(&left, &right)
            .ok_or_else(|| format!("{left} and {right} do not stretch to one shape"))?;
        let [a, b] = pair.map(|x| self.broadcast_to(x, &shape));
        let axis = shape.rank() - 1;
        let turned = |g: &mut Graph, x: NodeId, by: i64| g.rolled(x, -by, axis);
        let (a1, b2) = (turned(self, a, 1)?, turned(self, b, 2)?);
        let (a2, b1) = (turned(self, a, 2)?, turned(self, b, 1)?);
        let (p, q) = (self.mul(a1, b2), self.mul(a2, b1));
        let y = self.sub(p, q);
        Ok(match flat {
            [true, true] => {
                let y = self.slice_axis(y, axis, 2, 3);
                self.squeeze(y, axis)
            }
            _ => y,
        })
    }
}
