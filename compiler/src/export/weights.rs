//! Weights and optimizer state as Keras numbers them.

use super::h5::{Node, Values};
use crate::diag::{Code, Problem};
use crate::ir::DType;
use crate::model::optimizer::saved::{Kept, Role};
use crate::model::saved::{Filed, Saved, Variable, extents};

/// The bytes of `model.weights.h5`.
pub(super) fn weights(saved: &Saved, from: &bakelite::Model) -> Result<Vec<u8>, Problem> {
    let failed = |why: String| Problem::new(Code::Build, why);
    let missing = |e: bakelite::Error| match e {
        bakelite::Error::OutOfMemory { .. } => failed(e.to_string()),
        e => failed(e.to_string()).help("give the model that was compiled from this description"),
    };
    let mut root = Node::default();
    root.at("vars");
    for object in &saved.objects {
        let node = root.at(&object.path).at("vars");
        node.attribute("name", object.name.rsplit('/').next().unwrap_or(&object.name));
        for (number, variable) in object.numbered().enumerate() {
            let (shape, values) = variable_of(variable, from).map_err(missing)?;
            node.tensor(number.to_string(), &shape, values);
        }
    }
    if let Some(state) = saved.optimizer.as_ref().filter(|_| from.param(ITERATIONS).is_ok()) {
        let node = root.at("optimizer/vars");
        for (number, kept) in state.iter().enumerate() {
            let (shape, values) = kept_of(kept, from).map_err(missing)?;
            node.tensor(number.to_string(), &shape, values);
        }
        // Keras saves the optimizer inside another one with it, and by itself.
        let inner = state.iter().position(|kept| matches!(&kept.role, Role::Cell(cell, _) if cell == ITERATIONS));
        let inner = inner.filter(|at| *at > 0).map_or(&[][..], |at| &state[at..]);
        for (number, kept) in inner.iter().enumerate() {
            let (shape, values) = kept_of(kept, from).map_err(missing)?;
            root.at("optimizer/inner_optimizer/vars").tensor(number.to_string(), &shape, values);
        }
    }
    root.bytes().map_err(|why| failed(format!("the weights cannot be written as HDF5: {why}")))
}

/// The cell that every compiled model with an optimizer has.
const ITERATIONS: &str = "optimizer/iterations";

fn variable_of(variable: &Variable, from: &bakelite::Model) -> Result<(Vec<usize>, Values), bakelite::Error> {
    let shape = extents(&variable.ty);
    let mut values: Vec<f32> = from.param(&variable.cell)?.to_vec()?;
    match &variable.filed {
        Filed::Plain | Filed::Within => {}
        Filed::Int8 => return Ok((shape, Values::Int8(values.iter().map(|x| *x as i8).collect()))),
        Filed::Adapted { a, b, factor } => {
            let (a, b): (Vec<f32>, Vec<f32>) = (from.param(a)?.to_vec()?, from.param(b)?.to_vec()?);
            adapt(&mut values, (&a, &b), *factor, shape.last().copied().unwrap_or(1));
        }
    }
    // Keras counts batches in an integer, when a normalisation is adapted.
    let counts = variable.cell.ends_with("/count") && shape.is_empty();
    let values = if counts { Values::Int(values.iter().map(|x| *x as i32).collect()) } else { Values::Float(values) };
    Ok((shape, values))
}

/// Adds a product of matrices, the second of which has rows of so many numbers.
fn adapt(kernel: &mut [f32], (a, b): (&[f32], &[f32]), factor: f64, features: usize) {
    let rank = b.len() / features.max(1);
    for (row, thin) in kernel.chunks_mut(features.max(1)).zip(a.chunks(rank.max(1))) {
        for (column, x) in row.iter_mut().enumerate() {
            let product = thin.iter().zip(b.iter().skip(column).step_by(features));
            let sum: f64 = product.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            *x += (factor * sum) as f32;
        }
    }
}

fn kept_of(kept: &Kept, from: &bakelite::Model) -> Result<(Vec<usize>, Values), bakelite::Error> {
    let shape = extents(&kept.ty);
    let size = shape.iter().product();
    let (cell, start) = match &kept.role {
        Role::Placeholder => return Ok((shape, Values::Int(vec![0]))),
        Role::Cell(cell, start) | Role::Scalar(cell, start) => (cell, *start),
    };
    let values = match (from.param(cell), kept.ty.dtype) {
        (Ok(param), DType::U32) => {
            let steps: Vec<u32> = param.to_vec()?;
            Values::Int(steps.into_iter().map(|n| n.min(i32::MAX as u32) as i32).collect())
        }
        (Ok(param), _) => Values::Float(param.to_vec()?),
        (Err(_), _) => Values::Float(vec![start as f32; size]),
    };
    Ok((shape, values))
}
