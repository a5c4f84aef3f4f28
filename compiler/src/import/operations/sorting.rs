//! Sorting, and what is told by order.

use super::{Call, Class};
use crate::ir::{DType, NodeId, ReduceFn};

pub(super) const CLASSES: &[Class] = &[
    ("Sort", |c| {
        let (x, axis) = c.sorted_axis(1)?;
        c.graph.sort(x, axis).map(|y| vec![y])
    }),
    ("Argsort", |c| {
        let (x, axis) = c.sorted_axis(1)?;
        c.graph.argsort(x, axis, false).map(|y| vec![y])
    }),
    // Which of the elements on either side of the one at `kth` comes first is left open; here all are sorted.
    ("Argpartition", |c| {
        let (x, axis) = c.sorted_axis(2)?;
        c.graph.argsort(x, axis, false).map(|y| vec![y])
    }),
    ("TopK", |c| {
        let x = c.number_x()?;
        let k: usize = c.value(1, "k")?.ok_or("`k` is missing")?;
        c.graph.top_k(x, k).map(Vec::from)
    }),
    ("InTopK", |c| {
        let k: usize = c.value(2, "k")?.ok_or("`k` is missing")?;
        let (targets, predictions) = (c.tensor(0, "targets")?, c.tensor(1, "predictions")?);
        let predictions = c.real(predictions);
        c.graph.in_top_k(targets, predictions, k).map(|y| vec![y])
    }),
    ("SearchSorted", |c| {
        let side: String = c.value(2, "side")?.unwrap_or_else(|| "left".into());
        let right = match side.as_str() {
            "left" => false,
            "right" => true,
            other => return Err(format!("the side `{}`", other.escape_debug())),
        };
        let [sorted, values] = c.pair([(0, "sorted_sequence"), (1, "values")], false)?;
        c.graph.search_sorted(sorted, values, right).map(|y| vec![y])
    }),
    ("Digitize", |c| {
        let falling = c
            .constant(1, "bins")?
            .is_some_and(|bins| bins.values.first().zip(bins.values.last()).is_some_and(|(first, last)| first > last));
        let [x, bins] = c.pair([(0, "x"), (1, "bins")], false)?;
        if c.constant(1, "bins")?.is_none() {
            return Err("`bins` is a tensor, which is not supported".into());
        }
        if !falling {
            return c.graph.search_sorted(bins, x, true).map(|y| vec![y]);
        }
        let count = c.graph.extent_of(bins, 0)?;
        let rising = c.graph.reversed(bins, &[0]);
        let place = c.graph.search_sorted(rising, x, true)?;
        Ok(vec![c.graph.s_sub(count as f64, place)])
    }),
    ("IsIn", |c| {
        let [x, among] = c.pair([(0, "x1"), (1, "x2")], false)?;
        let among = c.graph.ravel(among)?;
        let axis = c.shape(x).rank();
        let mut wide = c.shape(x);
        wide.0.push(c.shape(among)[0]);
        let (mine, other) = (c.graph.unreduce(x, &[axis], &wide), c.graph.broadcast(among, &[axis], wide));
        let hit = c.graph.eq(mine, other);
        let hit = c.graph.cast(hit, DType::U8);
        let hit = c.graph.reduce(ReduceFn::Max, hit, &[axis]);
        let hit = c.graph.cast(hit, DType::Bool);
        Ok(vec![if c.flag(3, "invert")? { c.graph.not(hit) } else { hit }])
    }),
];

impl Call<'_> {
    /// The first tensor and the axis that it is sorted along: by default the last; without one, all its elements.
    fn sorted_axis(&mut self, place: usize) -> Result<(NodeId, usize), String> {
        let x = self.x()?;
        let named = match self.argument(place, "axis") {
            Some(super::Argument::Plain(serde_json::Value::Null)) => None,
            _ => Some(self.axis_at(place, "axis", -1, self.shape(x).rank())?),
        };
        match named {
            Some(axis) => Ok((x, axis)),
            None => Ok((self.graph.ravel(x)?, 0)),
        }
    }
}
