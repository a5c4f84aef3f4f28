//! Axes as arguments of layers.

use serde::{Deserialize, Serialize};

use super::layer::resolve_axis;
use crate::diag::{Code, Problem};
use crate::ir::Shape;

/// One axis or several, counted with the batch as 0 or from the back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Axes {
    One(isize),
    Several(Vec<isize>),
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Axes {
        Axes::One(axis)
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Axes {
        Axes::Several(axes.to_vec())
    }
}

impl Axes {
    /// The axes of a shape, in order, each once; the batch is none of them.
    pub(crate) fn resolve(&self, kind: &str, shape: &Shape) -> Result<Vec<usize>, Problem> {
        let list = match self {
            Axes::One(axis) => std::slice::from_ref(axis),
            Axes::Several(axes) => axes.as_slice(),
        };
        let mut axes = list.iter().map(|&a| resolve_axis(kind, a, shape)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        if axes.is_empty() {
            return Err(Problem::new(Code::Axis, format!("{kind} along no axis")));
        }
        if let Some(twice) = axes.windows(2).find(|w| w[0] == w[1]) {
            return Err(Problem::new(Code::Axis, format!("{kind} along axis {} twice", twice[0])));
        }
        match axes.iter().find(|a| shape[**a].batch) {
            None => Ok(axes),
            Some(_) => Err(Problem::new(Code::Axis, format!("{kind} along the batch"))
                .help("items are independent of each other; name other axes, usually -1")),
        }
    }
}
