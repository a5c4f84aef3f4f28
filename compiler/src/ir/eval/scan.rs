//! Loops in the interpreter.

use std::rc::Rc;

use super::{EvalError, Rounding, Tensor, Values, execute};
use crate::ir::scan::Scan;

/// Runs a loop and gives all its results. `args` have the types that inference accepted.
pub(super) fn run(
    scan: &Scan,
    batch: usize,
    args: &[Rc<Tensor>],
    rounding: &mut Rounding<'_>,
) -> Result<Vec<Rc<Tensor>>, EvalError> {
    let (initial, inputs) = args.split_at(scan.carries.len());
    let (sequences, invariants) = inputs.split_at(scan.sequences);
    let mut carries = initial.to_vec();
    let types = (scan.carries.len()..scan.results()).filter_map(|result| scan.result_type(result));
    let mut stacked: Vec<Tensor> = types.map(|ty| Tensor::splat(ty.dtype, &ty.shape.at(batch), 0.0)).collect();
    for step in 0..scan.length {
        let at = if scan.reverse { scan.length - 1 - step } else { step };
        let slices = sequences.iter().map(|x| Rc::new(slice(x, at)));
        let inputs: Vec<Rc<Tensor>> = slices.chain(invariants.iter().cloned()).collect();
        let done = execute(&scan.body, batch, &inputs, &carries, rounding)?;
        for (whole, part) in stacked.iter_mut().zip(&done.outputs) {
            put(whole, at, part);
        }
        for (target, value) in done.assigns {
            carries[target.0 as usize] = value;
        }
    }
    carries.extend(stacked.into_iter().map(Rc::new));
    Ok(carries)
}

/// The part of a tensor at an index of its first axis.
fn slice(x: &Tensor, at: usize) -> Tensor {
    let shape = x.shape[1..].to_vec();
    let count: usize = shape.iter().product();
    let range = at * count..(at + 1) * count;
    let values = match &x.values {
        Values::Float(v) => Values::Float(v[range].to_vec()),
        Values::Int(v) => Values::Int(v[range].to_vec()),
    };
    Tensor { dtype: x.dtype, shape, values }
}

/// Writes the part at an index of the first axis.
fn put(whole: &mut Tensor, at: usize, part: &Tensor) {
    let start = at * part.values.len();
    match (&mut whole.values, &part.values) {
        (Values::Float(to), Values::Float(from)) => to[start..start + from.len()].copy_from_slice(from),
        (Values::Int(to), Values::Int(from)) => to[start..start + from.len()].copy_from_slice(from),
        _ => unreachable!("an output and its stack have one type"),
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::eval::{Tensor, evaluate};
    use crate::ir::{DType, Graph, Over, Shape, Stepped, TensorType};

    /// Running sums of a sequence times a factor: the final sum and all sums.
    fn sums(reverse: bool) -> Vec<Vec<f64>> {
        let mut g = Graph::new("sums");
        let x = g.dense(TensorType::new(DType::F32, Shape::fixed(&[4])), [1.0, 2.0, 3.0, 4.0]);
        let zero = g.scalar(DType::F32, 0.0);
        let factor = g.scalar(DType::F32, 10.0);
        let over = Over { length: 4, reverse, carries: &[zero, factor], sequences: &[x], invariants: &[factor] };
        let looped = g.scan(over, |g, step| {
            let term = g.mul(step.slices[0], step.invariants[0]);
            let sum = g.add(step.carries[0], term);
            Stepped { carries: vec![sum, step.carries[1]], outputs: vec![sum] }
        });
        for (i, node) in looped.carries.iter().chain(&looped.stacked).enumerate() {
            g.output(format!("{i}"), *node);
        }
        evaluate(&g, 1, &[], &[]).unwrap().outputs.iter().map(Tensor::to_numbers).collect()
    }

    #[test]
    fn carries_run_and_outputs_stack() {
        assert_eq!(sums(false), [vec![100.0], vec![10.0], vec![10.0, 30.0, 60.0, 100.0]]);
        assert_eq!(sums(true), [vec![100.0], vec![10.0], vec![100.0, 90.0, 70.0, 40.0]]);
    }

    #[test]
    fn loops_nest_and_depend_on_the_batch() {
        let mut g = Graph::new("nested");
        let x = g.input("x", TensorType::new(DType::F32, Shape::batched(&[3, 2])));
        let steps = g.permute(x, &[1, 2, 0]);
        let zero = g.splat_of(0.0, TensorType::new(DType::F32, Shape::batched(&[])));
        let over = Over { length: 3, carries: &[zero], sequences: &[steps], ..Over::default() };
        let looped = g.scan(over, |g, outer| {
            let over = Over { length: 2, carries: &outer.carries, sequences: &outer.slices, ..Over::default() };
            let inner = g.scan(over, |g, inner| {
                let sum = g.add(inner.carries[0], inner.slices[0]);
                Stepped { carries: vec![sum], outputs: vec![] }
            });
            Stepped { carries: inner.carries.clone(), outputs: inner.carries }
        });
        g.output("sums", looped.stacked[0]);
        let x = Tensor::f32(&[2, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.5, 0.0, 0.25, 0.0, 0.125, 0.0]);
        let out = evaluate(&g, 2, &[x], &[]).unwrap().outputs.remove(0);
        assert_eq!((out.shape.clone(), out.to_numbers()), (vec![3, 2], vec![3.0, 0.5, 10.0, 0.75, 21.0, 0.875]));
    }
}
