//! Calls of scheduled entry points on tensors, compared with the interpreter of graphs.

use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::{Graph, NodeId};
use bakelite_compiler::schedule::program::StorageLayout;

use super::cuda_host::{HostModule, Order};
use super::{assert_close, decode, encode};

/// How far one call in `f32` may be from the interpreter, relative to 1 or to the value if that is larger.
const TOLERANCE: f64 = 1e-4;

/// Calls an entry point on tensors: storage is updated, the outputs are returned.
pub fn call(
    host: &HostModule,
    entry: &Graph,
    batch: usize,
    inputs: &[Tensor],
    cells: &mut [Tensor],
    layout: &StorageLayout,
    order: Order,
) -> Vec<Tensor> {
    let bytes_of = |t: &Tensor| encode(t.dtype, &t.to_numbers());
    let inputs: Vec<Vec<u8>> = inputs.iter().map(bytes_of).collect();
    let mut storage = vec![0; layout.bytes];
    let range = |i: usize, t: &Tensor| {
        let bytes = t.values.len() * t.dtype.size();
        layout.offsets[i]..layout.offsets[i] + bytes
    };
    for (i, cell) in cells.iter().enumerate() {
        storage[range(i, cell)].copy_from_slice(&bytes_of(cell));
    }
    let outputs = host
        .run(&entry.name, &inputs, &mut storage, batch, order)
        .unwrap_or_else(|e| panic!("{} at batch {batch}: {e}", entry.name));
    for (i, cell) in cells.iter_mut().enumerate() {
        let numbers = decode(cell.dtype, &storage[range(i, cell)]);
        *cell = Tensor::from_numbers(cell.dtype, &cell.shape, &numbers);
    }
    let tensor = |(bytes, node): (&Vec<u8>, NodeId)| {
        let ty = entry.ty(node);
        Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &decode(ty.dtype, bytes))
    };
    outputs.iter().zip(entry.outputs.iter().map(|o| o.node)).map(tensor).collect()
}

/// Compares one call with the interpreter, and gives the cells afterwards as the interpreter has them.
pub fn compare(
    host: &HostModule,
    entry: &Graph,
    batch: usize,
    inputs: &[Tensor],
    cells: &[Tensor],
    layout: &StorageLayout,
    order: Order,
) -> Vec<Tensor> {
    let expected = evaluate(entry, batch, inputs, cells).unwrap();
    let mut want = cells.to_vec();
    for (id, value) in expected.assigns {
        want[id.0 as usize] = value;
    }
    let mut got = cells.to_vec();
    let outputs = call(host, entry, batch, inputs, &mut got, layout, order);
    for (i, (got, want)) in outputs.iter().zip(&expected.outputs).enumerate() {
        let what = format!("{} output {i} at batch {batch}", entry.name);
        assert_close(&got.to_numbers(), &want.to_numbers(), TOLERANCE, &what);
    }
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let what = format!("{} cell {i} at batch {batch}", entry.name);
        assert_close(&got.to_numbers(), &want.to_numbers(), TOLERANCE, &what);
    }
    want
}
