//! Scheduled graphs against the interpreter of graphs: random ones, and training steps of a small dense net and of a
//! small convolutional one.

use bakelite_compiler::backend::cuda;
use bakelite_compiler::compile;
use bakelite_compiler::grad::gradients;
use bakelite_compiler::ir::eval::{Tensor, evaluate};
use bakelite_compiler::ir::random::{self, Rng};
use bakelite_compiler::ir::{
    DType, Dim, Graph, Module, NodeId, Number, Op, PadAxis, ReduceFn, Shape, Site, Storage, StorageId, StorageKind,
    TensorType, WindowAxis,
};
use bakelite_compiler::pass::PassOptions;
use bakelite_compiler::schedule::program::Place;
use bakelite_compiler::schedule::verify::verify;
use bakelite_compiler::schedule::{Options, layout_storage, schedule};

use super::assert_close;
use super::calls::{call, compare};
use super::cuda_host::{HostModule, Order};

/// Whether the batch is nowhere but in front in inputs and outputs, as programs demand.
fn ports_lead_with_the_batch(entry: &Graph) -> bool {
    let outputs = entry.outputs.iter().map(|o| &entry.ty(o.node).shape);
    let mut ports = entry.inputs.iter().map(|i| &i.ty.shape).chain(outputs);
    ports.all(|shape| shape.iter().skip(1).all(|d| !d.batch))
}

#[test]
fn random_graphs_agree_with_the_interpreter() {
    // All graphs go into one text, since g++ takes longer for many small ones than for a large one: entry points get
    // names of their own, and the storage cells of all graphs stand in one list. The graphs stay as they are, so that
    // the interpreter judges the passes too; weights in panels would not look the same to it.
    let passes = PassOptions { panels: false, ..PassOptions::default() };
    let options = compile::Options { passes, ..compile::Options::default() };
    let mut joint = Module { max_batch: random::MAX_BATCH, ..Module::default() };
    let mut programs = Vec::new();
    let mut first_cells = Vec::new();
    for seed in 0..48 {
        let mut module = random::module(seed, 20);
        if !ports_lead_with_the_batch(&module.entries[0]) {
            continue;
        }
        let compiled = compile::compile(module.clone(), &options).unwrap_or_else(|bug| panic!("seed {seed}: {bug}"));
        let mut program = compiled.programs.into_iter().next().unwrap().into_inner();
        let mut entry = module.entries.remove(0);
        entry.name = format!("step{seed}");
        program.name = entry.name.clone();
        let first = joint.storage.len();
        for buffer in &mut program.buffers {
            if let Place::Storage(StorageId(id)) = &mut buffer.place {
                *id += first as u32;
            }
        }
        programs.push(verify(program).unwrap_or_else(|violations| panic!("{violations:#?}")));
        first_cells.push(first..first + module.storage.len());
        joint.storage.extend(module.storage);
        joint.entries.push(entry);
    }
    assert!(programs.len() >= 20, "too few random graphs can be scheduled");
    let layout = layout_storage(&joint.storage);
    let module = cuda::print(&programs.iter().collect::<Vec<_>>(), &layout);
    let Some(host) = HostModule::build(&module) else { return };
    for (seed, (entry, own)) in joint.entries.iter().zip(first_cells).enumerate() {
        for batch in [1, 2, random::MAX_BATCH] {
            let mut rng = Rng::new((seed * 100 + batch) as u64);
            let inputs = random::inputs(&mut rng, entry, batch);
            let cells = random::storage(&mut rng, &joint);
            let expected = evaluate(entry, batch, &inputs, &cells[own.clone()]).unwrap();
            let mut after = cells.clone();
            let order = Order::ALL[batch % Order::ALL.len()];
            let outputs = call(&host, entry, batch, &inputs, &mut after, &layout, order);
            let mut want = cells;
            for (id, value) in expected.assigns {
                want[own.start + id.0 as usize] = value;
            }
            let pairs = outputs.iter().zip(&expected.outputs).chain(after.iter().zip(&want));
            for (i, (got, want)) in pairs.enumerate() {
                let what = format!("{} result {i} at batch {batch}", entry.name);
                assert_close(&got.to_numbers(), &want.to_numbers(), random::TOLERANCE, &what);
            }
        }
    }
}

/// A graph under construction, with the cells that it reads.
struct Build {
    graph: Graph,
    cells: Vec<Storage>,
}

impl Build {
    fn new() -> Build {
        Build { graph: Graph::new("train_step"), cells: Vec::new() }
    }

    fn rows(&mut self, name: &str, dtype: DType, dims: &[usize]) -> NodeId {
        self.graph.input(name, TensorType::new(dtype, Shape::batched(dims)))
    }

    fn cell(&mut self, name: &str, dims: &[usize]) -> (StorageId, NodeId) {
        let (id, ty) = (StorageId(self.cells.len() as u32), TensorType::new(DType::F32, Shape::fixed(dims)));
        self.cells.push(Storage {
            name: name.into(),
            ty: ty.clone(),
            kind: StorageKind::Param,
            trainable: true,
            first: None,
            site: Site::path(name),
        });
        (id, self.graph.push(Op::Storage { id, ty }, &[]))
    }

    /// `x w + b`
    fn dense(&mut self, name: &str, x: NodeId, units: usize, params: &mut Vec<(StorageId, NodeId)>) -> NodeId {
        let width = self.graph.ty(x).shape[1].scale;
        let w = self.cell(&format!("{name}/kernel"), &[width, units]);
        let b = self.cell(&format!("{name}/bias"), &[units]);
        params.extend([w, b]);
        let g = &mut self.graph;
        let z = g.contract(x, w.1, &[], &[(1, 0)]);
        let bias = g.broadcast_like(b.1, z);
        g.add(z, bias)
    }

    /// Mean cross-entropy of logits against integer labels.
    fn cross_entropy(&mut self, logits: NodeId, labels: NodeId) -> NodeId {
        let g = &mut self.graph;
        let shape = g.ty(logits).shape.clone();
        let classes = g.iota(1, DType::I32, shape.clone());
        let wide = g.broadcast(labels, &[0], shape.clone());
        let hit = g.eq(classes, wide);
        let hot = g.cast(hit, DType::F32);
        let chosen = g.mul(logits, hot);
        let chosen = g.sum(chosen, &[1]);
        let total = g.log_sum_exp(logits, 1);
        let losses = g.sub(total, chosen);
        g.mean(losses, &[0])
    }

    /// Momentum on every parameter.
    fn train(&mut self, loss: NodeId, params: Vec<(StorageId, NodeId)>) {
        self.graph.output("loss", loss);
        let nodes: Vec<NodeId> = params.iter().map(|p| p.1).collect();
        let grads = gradients(&mut self.graph, loss, &nodes).unwrap();
        for ((id, param), grad) in params.into_iter().zip(grads) {
            let dims = self.graph.ty(param).shape.as_fixed().unwrap();
            let (slot, old) = self.cell(&format!("velocity{}", id.0), &dims);
            let g = &mut self.graph;
            let kept = g.mul_s(old, 0.9);
            let new = g.add(kept, grad);
            g.assign(slot, new);
            let step = g.mul_s(new, 0.05);
            let moved = g.sub(param, step);
            g.assign(id, moved);
        }
    }
}

/// Runs ten steps at changing batch sizes, each from the state of the interpreter.
fn check_training(built: Build, max_batch: usize, classes: usize) {
    let program = schedule(&built.graph, &built.cells, max_batch, Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let layout = layout_storage(&built.cells);
    let module = cuda::print(&[&program], &layout);
    let Some(host) = HostModule::build(&module) else { return };
    let mut rng = Rng::new(1);
    let mut draw = |ty: &TensorType, batch: usize, domain: (f64, f64)| {
        Tensor::from_numbers(ty.dtype, &ty.shape.at(batch), &rng.floats(ty.shape.count(batch), domain))
    };
    let mut cells: Vec<Tensor> = built.cells.iter().map(|c| draw(&c.ty, 1, (-0.3, 0.3))).collect();
    for step in 0..10 {
        let batch = [max_batch, 1, 7, max_batch - 1][step % 4];
        let inputs: Vec<Tensor> = built
            .graph
            .inputs
            .iter()
            .map(|i| draw(&i.ty, batch, if i.ty.dtype == DType::I32 { (0.0, classes as f64) } else { (-1.0, 1.0) }))
            .collect();
        let order = Order::ALL[step % Order::ALL.len()];
        cells = compare(&host, &built.graph, batch, &inputs, &cells, &layout, order);
    }
}

#[test]
fn dense_net_trains_like_the_interpreter() {
    let mut b = Build::new();
    let x = b.rows("x", DType::F32, &[30]);
    let labels = b.rows("y", DType::I32, &[]);
    let mut params = Vec::new();
    let h = b.dense("hidden", x, 64, &mut params);
    let h = b.graph.relu(h);
    let logits = b.dense("logits", h, 10, &mut params);
    let loss = b.cross_entropy(logits, labels);
    b.train(loss, params);
    check_training(b, 40, 10);
}

#[test]
fn convolutional_net_trains_like_the_interpreter() {
    let mut b = Build::new();
    let x = b.rows("image", DType::F32, &[9, 8, 2]);
    let labels = b.rows("label", DType::I32, &[]);
    let mut params = Vec::new();
    let w = b.cell("conv/kernel", &[3, 3, 2, 4]);
    let bias = b.cell("conv/bias", &[4]);
    params.extend([w, bias]);
    let g = &mut b.graph;
    let same = PadAxis { low: 1, high: 1, interior: 0 };
    let pads = vec![PadAxis::default(), same, same, PadAxis::default()];
    let padded = g.push(Op::Pad { axes: pads, value: Number(0.0) }, &[x]);
    let axes = |size, stride| [1, 2].map(|axis| WindowAxis { axis, size, stride, dilation: 1 }).to_vec();
    let windows = g.push(Op::Window(axes(3, 1)), &[padded]);
    let z = g.contract(windows, w.1, &[], &[(4, 0), (5, 1), (3, 2)]);
    let wide = g.broadcast_like(bias.1, z);
    let z = g.add(z, wide);
    let h = g.relu(z);
    let pools = g.push(Op::Window(axes(2, 2)), &[h]);
    let pooled = g.reduce(ReduceFn::Max, pools, &[4, 5]);
    let flat = g.reshape(pooled, Shape(vec![Dim::BATCH, Dim::fixed(4 * 4 * 4)]));
    let logits = b.dense("logits", flat, 10, &mut params);
    let loss = b.cross_entropy(logits, labels);
    b.train(loss, params);
    check_training(b, 12, 10);
}
