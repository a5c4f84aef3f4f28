//! The workloads of the benchmarks: the shapes, optimizer and losses that `peers/peers.py` gives to other frameworks.

use bakelite::{Input, Model, Options, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::diag::Diagnostics;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::{self as dsl, *};

use crate::runtime::Pipeline;

/// A network with its training task.
pub struct Workload {
    pub name: &'static str,
    pub batch: usize,
    /// The shape of one item.
    pub item: &'static [usize],
    pub target: Target,
    build: fn(&dsl::Tensor) -> dsl::Tensor,
}

/// What the network learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// So many numbers, by mean squared error.
    Numbers(usize),
    /// One of so many classes, from logits.
    Class(usize),
    /// Yes or no, from a logit.
    Question,
}

pub const ALL: &[Workload] = &[
    Workload { name: "tiny", batch: 8, item: &[4], target: Target::Numbers(4), build: tiny },
    Workload { name: "mlp", batch: 128, item: &[784], target: Target::Class(10), build: mlp },
    Workload { name: "imdb", batch: 512, item: &[10000], target: Target::Question, build: imdb },
    Workload { name: "conv", batch: 64, item: &[28, 28, 1], target: Target::Class(10), build: conv },
    Workload { name: "xcept", batch: 16, item: &[64, 64, 3], target: Target::Class(10), build: xcept },
    Workload { name: "autoenc", batch: 64, item: &[28, 28, 1], target: Target::Numbers(784), build: autoenc },
    Workload { name: "resnet", batch: 32, item: &[32, 32, 3], target: Target::Class(10), build: resnet },
];

/// The workload with a name.
pub fn named(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|w| w.name == name)
}

fn tiny(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Dense::new(32).activation(Tanh).apply(x);
    let x = Dense::new(32).activation(Tanh).apply(&x);
    Dense::new(4).apply(&x)
}

fn mlp(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Dense::new(512).activation(Relu).apply(x);
    Dense::new(10).apply(&x)
}

fn imdb(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Dense::new(16).activation(Relu).apply(x);
    let x = Dense::new(16).activation(Relu).apply(&x);
    Dense::new(1).apply(&x)
}

fn conv(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Conv2D::new(32, 3).activation(Relu).apply(x);
    let x = MaxPooling2D::new(2).apply(&x);
    let x = Conv2D::new(64, 3).activation(Relu).apply(&x);
    let x = MaxPooling2D::new(2).apply(&x);
    let x = Conv2D::new(64, 3).activation(Relu).apply(&x);
    let x = Flatten.apply(&x);
    let x = Dense::new(64).activation(Relu).apply(&x);
    Dense::new(10).apply(&x)
}

fn xcept(x: &dsl::Tensor) -> dsl::Tensor {
    let norm = |x: &dsl::Tensor| BatchNormalization::new().apply(x);
    let separable = |x: &dsl::Tensor, filters: usize| {
        norm(&SeparableConv2D::new(filters, 3).padding(Same).use_bias(false).apply(x))
    };
    let x = Conv2D::new(32, 3).strides(2).padding(Same).use_bias(false).apply(x);
    let mut h = Relu.apply(&norm(&x));
    for filters in [64, 128, 256] {
        let shortcut = norm(&Conv2D::new(filters, 1).strides(2).padding(Same).use_bias(false).apply(&h));
        let x = separable(&Relu.apply(&separable(&h, filters)), filters);
        h = Add.apply_many(&[&MaxPooling2D::new(3).strides(2).padding(Same).apply(&x), &shortcut]);
    }
    Dense::new(10).apply(&GlobalAveragePooling2D.apply(&h))
}

fn autoenc(x: &dsl::Tensor) -> dsl::Tensor {
    let conv = |filters| Conv2D::new(filters, 3).padding(Same);
    let x = conv(32).activation(Relu).apply(x);
    let x = conv(64).strides(2).activation(Relu).apply(&x);
    let x = conv(64).activation(Relu).apply(&x);
    let x = Conv2DTranspose::new(32, 3).strides(2).padding(Same).activation(Relu).apply(&x);
    Flatten.apply(&conv(1).activation(Sigmoid).apply(&x))
}

fn resnet(x: &dsl::Tensor) -> dsl::Tensor {
    let conv = |filters, stride| Conv2D::new(filters, 3).strides(stride).padding(Same).use_bias(false);
    let x = conv(32, 1).apply(x);
    let mut h = Relu.apply(&BatchNormalization::new().apply(&x));
    for (filters, stride) in [(32, 1), (64, 2), (128, 2)] {
        let shortcut = match stride {
            1 => h.clone(),
            _ => Conv2D::new(filters, 1).strides(stride).use_bias(false).apply(&h),
        };
        let x = BatchNormalization::new().apply(&conv(filters, stride).apply(&h));
        let x = conv(filters, 1).apply(&Relu.apply(&x));
        let x = BatchNormalization::new().apply(&x);
        h = Relu.apply(&Add.apply_many(&[&x, &shortcut]));
    }
    Dense::new(10).apply(&GlobalAveragePooling2D.apply(&h))
}

impl Workload {
    /// The network in the DSL, compiled for training with RMSprop.
    pub fn model(&self) -> dsl::Model {
        let m = dsl::Model::new(self.name);
        m.max_batch(self.batch);
        let x = m.input("x", self.item.to_vec(), F32);
        m.output(&(self.build)(&x));
        let losses: Losses = match self.target {
            Target::Numbers(_) => MeanSquaredError.into(),
            Target::Class(_) => SparseCategoricalCrossentropy::from_logits().into(),
            Target::Question => BinaryCrossentropy::from_logits().into(),
        };
        m.compile(RMSprop::new(1e-3), losses, ());
        m
    }

    /// The network as machine code, with fresh weights and a batch of data.
    pub fn prepare(&'static self, pipeline: Pipeline, threads: usize) -> Result<Ready, String> {
        let module = self.model().lower().map_err(|e: Diagnostics| e.to_string())?;
        let compiled = match pipeline {
            Pipeline::Optimised => compile(module, &Default::default()).map_err(|e| e.to_string())?,
            Pipeline::Eager | Pipeline::Fused => pipeline.compile(&module)?,
        };
        let code = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
        let open = || {
            let mut model = Model::open_with(code, Options::new().threads(threads))?;
            model.init(1)?;
            let (train, predict) = (model.entry("train_step")?, model.entry("predict")?);
            Ok::<_, bakelite::Error>((model, train, predict))
        };
        let (model, train, predict) = open().map_err(|e| e.to_string())?;
        let results =
            self.batch * model.entries().iter().find(|e| e.name == "predict").map_or(0, |e| e.outputs[0].len(1));
        let count = self.batch * self.item.iter().product::<usize>();
        Ok(Ready {
            workload: self,
            model,
            train,
            predict,
            x: numbers(1, count),
            y: Labels::of(self),
            results: vec![0.0; results],
        })
    }
}

/// Targets of one batch.
enum Labels {
    Numbers(Vec<f32>),
    Classes(Vec<i32>),
}

impl Labels {
    fn of(w: &Workload) -> Labels {
        match w.target {
            Target::Numbers(n) => Labels::Numbers(numbers(2, w.batch * n)),
            Target::Class(n) => Labels::Classes((0..w.batch).map(|i| (i * 7 % n) as i32).collect()),
            Target::Question => Labels::Numbers((0..w.batch).map(|i| (i * 7 % 2) as f32).collect()),
        }
    }
}

/// Repeatable numbers between -1 and 1.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = bakelite_compiler::ir::random::Rng::new(seed);
    (0..count).map(|_| rng.float((-1.0, 1.0)) as f32).collect()
}

/// A workload that can be run.
pub struct Ready {
    workload: &'static Workload,
    model: Model,
    train: bakelite::EntryId,
    predict: bakelite::EntryId,
    x: Vec<f32>,
    y: Labels,
    results: Vec<f32>,
}

impl Ready {
    /// One training step on the batch; returns the loss.
    pub fn train(&mut self) -> Result<f32, bakelite::Error> {
        let mut loss = [0.0];
        let y = match &self.y {
            Labels::Numbers(y) => Input::new(y),
            Labels::Classes(y) => Input::new(y),
        };
        let batch = self.workload.batch;
        self.model.call(self.train, &[Input::new(&self.x), y], &mut [Output::new(&mut loss)], batch)?;
        Ok(loss[0])
    }

    /// Predicts the first rows of the batch; returns the first result.
    pub fn predict(&mut self, rows: usize) -> Result<f32, bakelite::Error> {
        let (item, per_row) = (self.x.len() / self.workload.batch, self.results.len() / self.workload.batch);
        let inputs = [Input::new(&self.x[..rows * item])];
        self.model.call(self.predict, &inputs, &mut [Output::new(&mut self.results[..rows * per_row])], rows)?;
        Ok(self.results[0])
    }

    /// Floating-point operations of a training step.
    pub fn flops(&self) -> u64 {
        let entries = self.model.entries().iter().filter(|e| e.name == "train_step");
        entries.map(|e| e.flops_fixed + e.flops_row * self.workload.batch as u64).sum()
    }
}
