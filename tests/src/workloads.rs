//! The workloads of the benchmarks: the shapes, optimizer and losses that `peers/peers.py` gives to other frameworks.

use bakelite::{Input, Model, Options, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{Compiled, compile};
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
    /// Items are words out of so many; numbers where there is none.
    pub words: Option<usize>,
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
    /// The pixels of an image of the input's shape, by mean squared error.
    Image,
}

use Target::{Class, Image, Numbers, Question};

#[rustfmt::skip]
pub const ALL: &[Workload] = &[
    Workload { name: "tiny", batch: 8, item: &[4], words: None, target: Numbers(4), build: tiny },
    Workload { name: "mlp", batch: 128, item: &[784], words: None, target: Class(10), build: mlp },
    Workload { name: "imdb", batch: 512, item: &[10000], words: None, target: Question, build: imdb },
    Workload { name: "conv", batch: 64, item: &[28, 28, 1], words: None, target: Class(10), build: conv },
    Workload { name: "lstm", batch: 128, item: &[60, 57], words: None, target: Class(57), build: lstm },
    Workload { name: "gru", batch: 128, item: &[120, 14], words: None, target: Numbers(1), build: gru },
    Workload { name: "bilstm", batch: 64, item: &[100], words: Some(10000), target: Question, build: bilstm },
    Workload { name: "encoder", batch: 16, item: &[64, 128], words: None, target: Class(10), build: encoder },
    Workload { name: "text", batch: 128, item: &[500], words: Some(10000), target: Question, build: text },
    Workload { name: "autoenc", batch: 64, item: &[28, 28, 1], words: None, target: Image, build: autoenc },
    Workload { name: "xcept", batch: 16, item: &[64, 64, 3], words: None, target: Class(10), build: xcept },
    Workload { name: "resnet", batch: 32, item: &[32, 32, 3], words: None, target: Class(10), build: resnet },
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

fn lstm(x: &dsl::Tensor) -> dsl::Tensor {
    Dense::new(57).apply(&LSTM::new(128).apply(x))
}

fn gru(x: &dsl::Tensor) -> dsl::Tensor {
    Dense::new(1).apply(&GRU::new(32).apply(x))
}

fn bilstm(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Embedding::new(10000, 32).apply(x);
    Dense::new(1).apply(&Bidirectional::new(LSTM::new(32)).apply(&x))
}

fn encoder(x: &dsl::Tensor) -> dsl::Tensor {
    let norm = |x: &dsl::Tensor, y: &dsl::Tensor| LayerNormalization::new().apply(&Add.apply_many(&[x, y]));
    let mut h = x.clone();
    for _ in 0..2 {
        h = norm(&h, &MultiHeadAttention::new(4, 32).apply_many(&[&h, &h]));
        h = norm(&h, &Dense::new(128).apply(&Dense::new(512).activation(Relu).apply(&h)));
    }
    Dense::new(10).apply(&GlobalAveragePooling1D.apply(&h))
}

fn text(x: &dsl::Tensor) -> dsl::Tensor {
    let x = Embedding::new(10000, 128).apply(x);
    let x = Conv1D::new(32, 7).activation(Relu).apply(&x);
    let x = MaxPooling1D::new(5).apply(&x);
    let x = Conv1D::new(32, 7).activation(Relu).apply(&x);
    Dense::new(1).apply(&GlobalMaxPooling1D.apply(&x))
}

fn autoenc(x: &dsl::Tensor) -> dsl::Tensor {
    let conv = |filters| Conv2D::new(filters, 3).padding(Same).activation(Relu);
    let x = conv(32).apply(x);
    let x = conv(64).strides(2).apply(&x);
    let x = conv(64).apply(&x);
    let x = Conv2DTranspose::new(32, 3).strides(2).padding(Same).activation(Relu).apply(&x);
    conv(1).activation(Sigmoid).apply(&x)
}

fn xcept(x: &dsl::Tensor) -> dsl::Tensor {
    let plain = |filters, size| Conv2D::new(filters, size).strides(2).padding(Same).use_bias(false);
    let separable = |filters| SeparableConv2D::new(filters, 3).padding(Same).use_bias(false);
    let norm = |x: &dsl::Tensor| BatchNormalization::new().apply(x);
    let mut h = Relu.apply(&norm(&plain(32, 3).apply(x)));
    for filters in [64, 128, 256] {
        let shortcut = norm(&plain(filters, 1).apply(&h));
        let x = Relu.apply(&norm(&separable(filters).apply(&h)));
        let x = norm(&separable(filters).apply(&x));
        let x = MaxPooling2D::new(3).strides(2).padding(Same).apply(&x);
        h = Add.apply_many(&[&x, &shortcut]);
    }
    Dense::new(10).apply(&GlobalAveragePooling2D.apply(&h))
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
        let x = m.input("x", self.item.to_vec(), if self.words.is_some() { I32 } else { F32 });
        m.output(&(self.build)(&x));
        let losses: Losses = match self.target {
            Target::Numbers(_) | Target::Image => MeanSquaredError.into(),
            Target::Class(_) => SparseCategoricalCrossentropy::from_logits().into(),
            Target::Question => BinaryCrossentropy::from_logits().into(),
        };
        m.compile(RMSprop::new(1e-3), losses, ());
        m
    }

    /// The network's programs.
    pub fn compiled(&self, pipeline: Pipeline) -> Result<Compiled, String> {
        let module = self.model().lower().map_err(|e: Diagnostics| e.to_string())?;
        match pipeline {
            Pipeline::Optimised => compile(module, &Default::default()).map_err(|e| e.to_string()),
            Pipeline::Eager | Pipeline::Fused => pipeline.compile(&module),
        }
    }

    /// The network as machine code, with fresh weights and a batch of data.
    pub fn prepare(&'static self, pipeline: Pipeline, threads: usize) -> Result<Ready, String> {
        let compiled = self.compiled(pipeline)?;
        self.open(JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?, threads)
    }

    /// Opens the network's code for a number of threads.
    pub fn open(&'static self, code: JitModel, threads: usize) -> Result<Ready, String> {
        self.open_with(code, Options::new().threads(threads).tune_threads(false))
    }

    /// Opens the network's code.
    pub fn open_with(&'static self, code: JitModel, options: Options) -> Result<Ready, String> {
        let open = || {
            let mut model = Model::open_with(code, options)?;
            model.init(1)?;
            let (train, predict) = (model.entry("train_step")?, model.entry("predict")?);
            Ok::<_, bakelite::Error>((model, train, predict))
        };
        let (model, train, predict) = open().map_err(|e| e.to_string())?;
        let results =
            self.batch * model.entries().iter().find(|e| e.name == "predict").map_or(0, |e| e.outputs[0].len(1));
        Ok(Ready {
            workload: self,
            model,
            train,
            predict,
            x: self.data(),
            y: self.targets(),
            results: vec![0.0; results],
        })
    }
}

/// One batch of an input or of targets.
enum Column {
    Real(Vec<f32>),
    Whole(Vec<i32>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Real(x) => x.len(),
            Column::Whole(x) => x.len(),
        }
    }

    /// The first elements.
    fn input(&self, count: usize) -> Input<'_> {
        match self {
            Column::Real(x) => Input::new(&x[..count]),
            Column::Whole(x) => Input::new(&x[..count]),
        }
    }
}

impl Workload {
    fn data(&self) -> Column {
        let count = self.batch * self.item.iter().product::<usize>();
        match self.words {
            Some(words) => Column::Whole((0..count).map(|i| (i * 7919 % words) as i32).collect()),
            None => Column::Real(numbers(1, count)),
        }
    }

    fn targets(&self) -> Column {
        match self.target {
            Numbers(n) => Column::Real(numbers(2, self.batch * n)),
            Image => Column::Real(numbers(2, self.batch * self.item.iter().product::<usize>())),
            Class(n) => Column::Whole((0..self.batch).map(|i| (i * 7 % n) as i32).collect()),
            Question => Column::Real((0..self.batch).map(|i| (i * 7 % 2) as f32).collect()),
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
    x: Column,
    y: Column,
    results: Vec<f32>,
}

impl Ready {
    /// One training step on the batch; returns the loss.
    pub fn train(&mut self) -> Result<f32, bakelite::Error> {
        let mut loss = [0.0];
        let batch = self.workload.batch;
        let inputs = [self.x.input(self.x.len()), self.y.input(self.y.len())];
        self.model.call(self.train, &inputs, &mut [Output::new(&mut loss)], batch)?;
        Ok(loss[0])
    }

    /// Predicts the first rows of the batch; returns the first result.
    pub fn predict(&mut self, rows: usize) -> Result<f32, bakelite::Error> {
        let (item, per_row) = (self.x.len() / self.workload.batch, self.results.len() / self.workload.batch);
        let inputs = [self.x.input(rows * item)];
        self.model.call(self.predict, &inputs, &mut [Output::new(&mut self.results[..rows * per_row])], rows)?;
        Ok(self.results[0])
    }

    /// Floating-point operations of a training step.
    pub fn flops(&self) -> u64 {
        let entries = self.model.entries().iter().filter(|e| e.name == "train_step");
        entries.map(|e| e.flops_fixed + e.flops_row * self.workload.batch as u64).sum()
    }
}
