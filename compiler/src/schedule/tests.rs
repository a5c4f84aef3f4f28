//! The schedule against the graph it came from: same results for every batch, on the two reference interpreters.

use super::program::{Place, Program};
use super::{Options, Verified, eval, schedule};
use crate::grad::gradients;
use crate::ir::eval::{Tensor, evaluate};
use crate::ir::random::Rng;
use crate::ir::{
    DType, Dim, Graph, Module, NodeId, Op, PadAxis, ReduceFn, Shape, Site, Storage, StorageId, StorageKind, TensorType,
    WindowAxis,
};

fn f32s(dims: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::fixed(dims))
}

fn rows(dims: &[usize]) -> TensorType {
    TensorType::new(DType::F32, Shape::batched(dims))
}

/// A model under test: cells that the graph reads by name.
#[derive(Default)]
struct Cells(Vec<Storage>);

impl Cells {
    fn read(&mut self, graph: &mut Graph, name: &str, dims: &[usize]) -> (StorageId, NodeId) {
        let id = StorageId(self.0.len() as u32);
        let ty = f32s(dims);
        let cell = Storage {
            name: name.into(),
            ty: ty.clone(),
            kind: StorageKind::Param,
            trainable: true,
            first: None,
            site: Site::path(name),
        };
        self.0.push(cell);
        (id, graph.push(Op::Storage { id, ty }, &[]))
    }
}

fn check(graph: &Graph, cells: &[Storage], max_batch: usize) -> Verified<Program> {
    check_with(graph, cells, max_batch, Options { fuse: false });
    check_with(graph, cells, max_batch, Options::default())
}

fn check_with(graph: &Graph, cells: &[Storage], max_batch: usize, options: Options) -> Verified<Program> {
    let program = schedule(graph, cells, max_batch, options).unwrap_or_else(|e| panic!("{e}"));
    for batch in [1, 2, max_batch] {
        let mut rng = Rng::new(batch as u64);
        let mut random = |ty: &TensorType| {
            let count = ty.shape.count(batch);
            let domain = if ty.dtype.is_float() { (-2.0, 2.0) } else { (0.0, 5.9) };
            Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &rng.floats(count, domain))
        };
        let inputs: Vec<Tensor> = graph.inputs.iter().map(|i| random(&i.ty)).collect();
        let storage: Vec<Tensor> = cells.iter().map(|c| random(&c.ty)).collect();
        let expected = evaluate(graph, batch, &inputs, &storage).unwrap();
        let (outputs, after) = eval::run(&program, batch, &inputs, &storage);
        let mut cells = storage;
        for (id, value) in expected.assigns {
            cells[id.0 as usize] = value;
        }
        for (got, want) in outputs.iter().zip(&expected.outputs).chain(after.iter().zip(&cells)) {
            assert_eq!(got.shape, want.shape);
            for (g, w) in got.to_numbers().iter().zip(want.to_numbers()) {
                assert!(
                    (g - w).abs() <= 1e-9 * w.abs().max(1.0) || g.is_nan() && w.is_nan(),
                    "{g} {w} at batch {batch}"
                );
            }
        }
    }
    program
}

/// Mean squared loss of a two-layer net with gradients and an in-place momentum update.
fn mlp_step() -> (Graph, Vec<Storage>) {
    let (mut g, mut cells) = (Graph::new("train_step"), Cells::default());
    let x = g.input("x", rows(&[6]));
    let t = g.input("t", rows(&[3]));
    let mut h = x;
    let mut params = Vec::new();
    for (i, (n, k)) in [(6, 5), (5, 3)].into_iter().enumerate() {
        let w = cells.read(&mut g, &format!("w{i}"), &[n, k]);
        let b = cells.read(&mut g, &format!("b{i}"), &[k]);
        params.extend([w, b]);
        let z = g.contract(h, w.1, &[], &[(1, 0)]);
        let bias = g.broadcast_like(b.1, z);
        let z = g.add(z, bias);
        h = if i == 0 { g.tanh(z) } else { z };
    }
    let d = g.sub(h, t);
    let d = g.square(d);
    let loss = g.mean(d, &[0, 1]);
    g.output("loss", loss);
    let wrt: Vec<NodeId> = params.iter().map(|p| p.1).collect();
    let grads = gradients(&mut g, loss, &wrt).unwrap();
    for ((id, p), d) in params.into_iter().zip(grads) {
        let name = format!("v{}", id.0);
        let dims = g.ty(p).shape.as_fixed().unwrap();
        let (v, old) = cells.read(&mut g, &name, &dims);
        let kept = g.mul_s(old, 0.9);
        let new = g.add(kept, d);
        g.assign(v, new);
        let step = g.mul_s(new, 0.1);
        let moved = g.sub(p, step);
        g.assign(id, moved);
    }
    (g, cells.0)
}

#[test]
fn training_step_fuses_updates_into_contractions() {
    let (graph, cells) = mlp_step();
    let program = check(&graph, &cells, 7);
    let contractions: Vec<_> = program.kernels.iter().filter(|k| k.contract.is_some()).collect();
    assert_eq!(contractions.len(), 5, "{:#?}", program.kernels.iter().map(|k| &k.name).collect::<Vec<_>>());
    // Weight gradients are never stored: their kernels store the velocity and the weight instead.
    let to_cells = |k: &&&super::program::Kernel| {
        let stores = &k.stages[1].stores;
        stores.len() == 2 && stores.iter().all(|s| matches!(program.buffer(s.access.buffer).place, Place::Storage(_)))
    };
    assert_eq!(contractions.iter().filter(to_cells).count(), 2);
    assert!(program.kernels.len() <= 8, "{:#?}", program.kernels.iter().map(|k| &k.name).collect::<Vec<_>>());
}

/// Where cells are kept in another layout than the gradient, what is assigned are views, and the weight's new value
/// reads the velocity's cell instead of its new value. The velocity can join only after the weight.
#[test]
fn updates_in_another_layout_are_one_kernel() {
    let (mut g, mut cells) = (Graph::new("train_step"), Cells::default());
    let x = g.input("x", rows(&[6]));
    let d = g.input("d", rows(&[5]));
    let (v, w) = (cells.read(&mut g, "v", &[5, 6]), cells.read(&mut g, "w", &[5, 6]));
    let gradient = g.contract(x, d, &[], &[(0, 0)]);
    let old = g.permute(v.1, &[1, 0]);
    let kept = g.mul_s(old, 0.9);
    let new = g.add(kept, gradient);
    let stored = g.permute(new, &[1, 0]);
    g.assign(v.0, stored);
    let weight = g.permute(w.1, &[1, 0]);
    let moved = g.sub(weight, new);
    let stored = g.permute(moved, &[1, 0]);
    g.assign(w.0, stored);
    assert_eq!(check(&g, &cells.0, 5).kernels.len(), 1);
}

#[test]
fn softmax_is_one_kernel() {
    let mut g = Graph::new("predict");
    let x = g.input("x", rows(&[10]));
    let y = g.softmax(x, 1);
    g.output("y", y);
    let program = check(&g, &[], 9);
    assert_eq!(program.kernels.len(), 1);
    assert_eq!(program.kernels[0].stages.len(), 3);
}

#[test]
fn convolution_pooling_and_their_gradients() {
    let (mut g, mut cells) = (Graph::new("train_step"), Cells::default());
    let x = g.input("x", rows(&[7, 6, 2]));
    let (id, w) = cells.read(&mut g, "kernel", &[3, 3, 2, 4]);
    let axes = |size, stride| [1, 2].map(|axis| WindowAxis { axis, size, stride, dilation: 1 }).to_vec();
    let pads = vec![
        PadAxis::default(),
        PadAxis { low: 1, high: 1, interior: 0 },
        PadAxis { low: 1, high: 1, interior: 0 },
        PadAxis::default(),
    ];
    let padded = g.push(Op::Pad { axes: pads, value: crate::ir::Number(0.0) }, &[x]);
    let windows = g.push(Op::Window(axes(3, 1)), &[padded]);
    let z = g.contract(windows, w, &[], &[(4, 0), (5, 1), (3, 2)]);
    let h = g.relu(z);
    let pools = g.push(Op::Window(axes(2, 2)), &[h]);
    let pooled = g.reduce(ReduceFn::Max, pools, &[4, 5]);
    let flat = g.reshape(pooled, Shape(vec![Dim::BATCH, Dim::fixed(3 * 3 * 4)]));
    let s = g.square(flat);
    let loss = g.mean(s, &[0, 1]);
    g.output("loss", loss);
    let grads = gradients(&mut g, loss, &[w, x]).unwrap();
    let step = g.mul_s(grads[0], 0.1);
    let new = g.sub(w, step);
    g.assign(id, new);
    g.output("dx", grads[1]);
    check(&g, &cells.0, 5);
}

#[test]
fn views_and_indices() {
    let mut g = Graph::new("predict");
    let x = g.input("x", rows(&[4, 6]));
    let e = g.exp(x);
    let r = g.reshape(e, Shape(vec![Dim::BATCH, Dim::fixed(3), Dim::fixed(8)]));
    let p = g.permute(r, &[0, 2, 1]);
    let q = g.reshape(p, Shape(vec![Dim::BATCH, Dim::fixed(4), Dim::fixed(6)]));
    g.output("shuffled", q);
    let s = g.slice_axis(x, 2, 1, 4);
    let c = g.concat(&[s, x], 2);
    g.output("joined", c);
    check(&g, &[], 6);
}

#[test]
fn gather_and_scatter() {
    let (mut g, mut cells) = (Graph::new("train_step"), Cells::default());
    let ids = g.input("ids", TensorType::new(DType::I32, Shape::batched(&[4])));
    let (id, table) = cells.read(&mut g, "embeddings", &[6, 3]);
    let rows = g.push(Op::Gather { axis: 0, batch: 0 }, &[table, ids]);
    let sq = g.square(rows);
    let loss = g.mean(sq, &[0, 1, 2]);
    g.output("loss", loss);
    let grads = gradients(&mut g, loss, &[table]).unwrap();
    let new = g.sub(table, grads[0]);
    g.assign(id, new);
    check(&g, &cells.0, 5);
}

#[test]
fn swapped_cells_take_a_detour() {
    let (mut g, mut cells) = (Graph::new("swap"), Cells::default());
    let (a, x) = cells.read(&mut g, "a", &[3]);
    let (b, y) = cells.read(&mut g, "b", &[3]);
    g.assign(a, y);
    g.assign(b, x);
    check(&g, &cells.0, 2);
}

#[test]
fn panels_stay_contiguous() {
    let (mut g, mut cells) = (Graph::new("train_step"), Cells::default());
    let x = g.input("x", rows(&[6]));
    let (id, w) = cells.read(&mut g, "kernel", &[6, 96]);
    let (slot, v) = cells.read(&mut g, "velocity", &[6, 96]);
    let z = g.contract(x, w, &[], &[(1, 0)]);
    let h = g.relu(z);
    let loss = g.mean(h, &[0, 1]);
    g.output("loss", loss);
    let grads = gradients(&mut g, loss, &[w]).unwrap();
    let kept = g.mul_s(v, 0.9);
    let new = g.add(kept, grads[0]);
    g.assign(slot, new);
    let moved = g.sub(w, new);
    g.assign(id, moved);
    let mut module = Module { name: "m".into(), max_batch: 5, storage: cells.0, entries: vec![g], ..Module::default() };
    crate::pass::panels::run(&mut module);
    assert_eq!(module.panels.len(), 2);
    let program = check(&module.entries[0], &module.storage, 5);
    let update = program.kernels.iter().find(|k| k.stages.iter().any(|s| s.stores.len() == 2)).unwrap();
    assert!(update.contract.is_some(), "{}", update.name);
}

#[test]
fn split_reductions_agree() {
    let mut g = Graph::new("stats");
    let x = g.input("x", rows(&[9, 8, 5]));
    let sums = g.sum(x, &[0, 1, 2]);
    g.output("sums", sums);
    let options = crate::pass::PassOptions::default();
    let g = crate::pass::split::run(&g, &mut crate::pass::Ctx::new(&options, 64));
    let program = check(&g, &[], 64);
    assert_eq!(program.kernels.len(), 2);
}

#[test]
fn equal_parts_are_joined_where_they_are_computed() {
    let (mut g, mut cells) = (Graph::new("gates"), Cells::default());
    let x = g.input("x", rows(&[6]));
    let (id, carry) = cells.read(&mut g, "carry", &[6]);
    let wide = g.broadcast_to(carry, &Shape::batched(&[6]));
    let gate = g.exp(x);
    let parts = [g.mul(gate, wide), g.add(gate, x), g.mul(x, x)];
    let joined = g.concat(&parts, 1);
    g.output("joined", joined);
    g.output("gate", gate);
    assert_eq!(check(&g, &cells.0, 5).kernels.len(), 1);

    // Parts of other sizes, parts along the first axis, and parts that are overwritten afterwards.
    let half = g.slice_axis(gate, 1, 0, 3);
    let uneven = g.concat(&[gate, half], 1);
    g.output("uneven", uneven);
    let ahead = g.concat(&[carry, carry], 0);
    g.output("ahead", ahead);
    let twice = g.mul_s(carry, 2.0);
    g.assign(id, twice);
    check(&g, &cells.0, 5);
}

#[test]
fn kernels_of_independent_work_stay_small() {
    let mut g = Graph::new("many");
    let x = g.input("x", f32s(&[7]));
    let sum = g.sum(x, &[0]);
    for i in 0..200 {
        let moved = g.add_s(sum, i as f64 / 100.0);
        let y = g.exp(moved);
        g.output(format!("y{i}"), y);
    }
    let program = check(&g, &[], 2);
    let stores = |k: &super::program::Kernel| k.stages.iter().map(|s| s.stores.len()).sum::<usize>();
    let most = program.kernels.iter().map(stores).max().unwrap();
    assert!((2..=50).contains(&most), "{most} stores in one kernel");
}
