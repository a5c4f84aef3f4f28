//! The command line.

use std::path::PathBuf;

use bakelite::Subnormals;
use bakelite_compiler::tool::inspect;
use bakelite_compiler::tool::running::Run;
use bakelite_compiler::tool::source::Shapes;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Compiles neural networks to native code: runs, trains, measures and explains models of Keras and of Bakelite.
#[derive(Parser)]
#[command(name = "bakelite", version, propagate_version = true, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Show nothing on standard error but errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

const AFTER: &str = "\
MODEL is a .keras file, a whole model in Keras's older .h5 format, the JSON of `model.to_json()`, or a graph that a \
build saved (NAME.bk). Data are .npz files of NumPy.

Exit codes:
  0  done
  1  a model, its data or a file is at fault; standard error says what, where, and how to mend it
  2  the command line is at fault
  3  a mistake of bakelite itself
  130, 143  ended by Ctrl-C or by SIGTERM";

#[derive(Subcommand)]
pub enum Command {
    /// Print the layers with their shapes, parameters and work.
    #[command(
        after_help = "Flops are floating-point operations for one sample of the layers as they are described: two \
        for each multiply-add. `bench` also counts those that the compiled code does."
    )]
    Summary {
        #[command(flatten)]
        model: Model,
    },
    /// Draw the graph of the layers, with shapes on its edges.
    Plot {
        #[command(flatten)]
        model: Model,
        /// The picture: .svg, or .dot for Graphviz.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Predict the rows of a file.
    #[command(
        after_help = "The arrays of the input have the names of the model's inputs; one lone array serves a model \
        with one input. Those of the output have the names of the model's outputs."
    )]
    Predict {
        #[command(flatten)]
        model: Model,
        /// The rows: .npz, or .npy for a model with one input.
        #[arg(short, long, value_name = "X.npz")]
        input: PathBuf,
        /// The predictions: .npz, or .npy for a model with one output.
        #[arg(short, long, value_name = "Y.npz")]
        output: PathBuf,
        /// Rows of one call.
        #[arg(short, long, default_value_t = 32, value_name = "N", value_parser = size)]
        batch_size: usize,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Train on the rows of a file, as Keras's `fit` does.
    #[command(after_help = TRAINING)]
    Train {
        #[command(flatten)]
        model: Model,
        /// The rows to train on.
        #[arg(short, long, value_name = "D.npz")]
        data: PathBuf,
        /// Rows to evaluate after each epoch.
        #[arg(long, value_name = "V.npz")]
        validation: Option<PathBuf>,
        /// How often to go through the rows.
        #[arg(short, long, default_value_t = 1, value_name = "E")]
        epochs: usize,
        /// Rows of one step.
        #[arg(short, long, default_value_t = 32, value_name = "B", value_parser = size)]
        batch_size: usize,
        /// Keep the rows in their order.
        #[arg(long)]
        no_shuffle: bool,
        /// The trained model: .keras for one from Keras, .safetensors for any; replaced as a whole, at the end.
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// Loss and metrics of every epoch, as JSON.
        #[arg(long, value_name = "H.json")]
        history: Option<PathBuf>,
        /// On Ctrl-C or SIGTERM, write OUT and the history as they are after the step that runs.
        #[arg(long)]
        save_on_interrupt: bool,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Print loss and metrics over the rows of a file, as one line of JSON.
    #[command(after_help = DATA)]
    Evaluate {
        #[command(flatten)]
        model: Model,
        /// The rows to evaluate.
        #[arg(short, long, value_name = "D.npz")]
        data: PathBuf,
        /// Rows of one call.
        #[arg(short, long, default_value_t = 32, value_name = "B", value_parser = size)]
        batch_size: usize,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Measure how fast the model is, on generated data.
    #[command(after_help = "Times are medians of the warm model: train_step_ms and predict_ms of the whole batch, \
        predict1_us of one sample. compile_s is the time from the description to code in memory. arena_bytes is the memory \
        for intermediate results of the batch. flops are those that the compiled code does in a training step of the batch \
        (in its prediction, for a model that is not compiled for training), model_flops those of the layers as they are \
        described, which `summary` counts for one sample.")]
    Bench {
        #[command(flatten)]
        model: Model,
        /// Rows of one call.
        #[arg(short, long, default_value_t = 32, value_name = "B", value_parser = size)]
        batch_size: usize,
        /// Print one line of JSON.
        #[arg(long)]
        json: bool,
        /// Add a table of the time in each kernel; with --json on standard error.
        #[arg(long)]
        profile: bool,
        /// How long each number is measured.
        #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = seconds)]
        seconds: f64,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Compare the compiled code with an interpreter: every entry point, at several batches and numbers of threads.
    #[command(after_help = CHECK)]
    Check {
        #[command(flatten)]
        model: Model,
        /// Rows for the inputs, targets and sample weights, with the keys of `train` or `predict`; generated by default.
        #[arg(short, long, value_name = "D.npz")]
        data: Option<PathBuf>,
        /// The most rows of a call; 1, 3 and 7 are tried too.
        #[arg(short, long, default_value_t = 8, value_name = "B", value_parser = size)]
        batch_size: usize,
        /// Where the case goes that shows the first difference; NAME.check.bk in this folder by default.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Compile into a static library with a C header, a CMake file, a Rust module, weights and a report.
    Compile {
        #[command(flatten)]
        model: Model,
        /// The folder for all files.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
        /// The name in files and functions; the model's own by default.
        #[arg(long)]
        name: Option<String>,
        /// The most rows of a call.
        #[arg(long, value_name = "N", value_parser = size)]
        max_batch: Option<usize>,
        /// Only these entry points, such as predict,train; all by default.
        #[arg(long, value_delimiter = ',', value_name = "ENTRY")]
        entry: Option<Vec<String>>,
        /// The instruction sets: portable (all, chosen at load), native, or a level such as x86-64-v3.
        #[arg(long, default_value = "portable", value_name = "CPU")]
        target_cpu: String,
        /// The system that the library is for, such as aarch64-unknown-linux-gnu; this one by default.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// Inputs, and the original's answers to them: the library gets a function NAME_verify that compares its own.
        #[arg(long, num_args = 2, value_names = ["X.npz", "Y.npz"])]
        verify: Option<Vec<PathBuf>>,
        /// What initial weights follow from.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// A file of weights (.safetensors, or Keras's .weights.h5) that goes before the model's own.
        #[arg(long, value_name = "FILE")]
        weights: Option<PathBuf>,
    },
    /// Print a model as one level of the compiler sees it.
    Inspect {
        #[command(flatten)]
        model: Model,
        /// The level to print.
        #[arg(long, value_enum)]
        stage: Stage,
        /// Only this entry point.
        #[arg(long)]
        entry: Option<String>,
        /// The instruction set of `clif` and `asm`, such as x86-64-v3; by default this machine's best.
        #[arg(long, value_name = "LEVEL")]
        level: Option<String>,
    },
    /// Print the build report of a model: kernels, what fused into each, flops, bytes and memory.
    Report {
        #[command(flatten)]
        model: Model,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the completions for a shell.
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the man page, of the command or of one of its commands.
    Man {
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// About the data of training and evaluation.
macro_rules! data {
    () => {
        "The keys of the arrays are x:INPUT, y:OUTPUT and, for sample weights, w:OUTPUT; where there is one input or \
        output, x, y and w do. Loss, optimizer and metrics are those that the model was compiled with."
    };
}
const DATA: &str = data!();
const TRAINING: &str = concat!(
    data!(),
    "\n\nCtrl-C and SIGTERM end the training after the step that runs, with exit code 130 or 143; a second one ends it \
    at once. OUT stays as it was, unless --save-on-interrupt is given."
);

const CHECK: &str = "Outputs and cells may differ by what rounding does to this model, which the interpreter measures: it runs \
    the model again with every operation off by the roundoff of f32. Any number of threads must give the same bits. A \
    difference is a mistake of bakelite (exit code 3): the first layer that differs is named, and the case is written to a \
    file, a graph with its weights and inputs, which `check` reads again and which belongs into a bug report.";

#[derive(Args)]
pub struct Model {
    /// A .keras file or a saved graph.
    #[arg(value_name = "MODEL")]
    pub path: PathBuf,
    /// The shape of a row of an input, where the model leaves it open, such as words=100 or image=28,28,1. Data bind it
    /// otherwise.
    #[arg(long, value_name = "NAME=N,N", value_parser = shape)]
    pub shape: Vec<(String, Vec<usize>)>,
}

impl Model {
    pub fn shapes(&self) -> Shapes {
        self.shape.iter().cloned().collect()
    }
}

#[derive(Args)]
pub struct RunArgs {
    /// The most threads; all processors by default. A call has as many as make it faster. It never changes a result.
    #[arg(long, value_name = "N", value_parser = size)]
    pub threads: Option<usize>,
    /// Keeps numbers nearer to zero than 1.2e-38, at the price of much slower arithmetic over them. By default they
    /// are zero.
    #[arg(long)]
    pub keep_subnormals: bool,
    /// What initial weights, dropout and the order of rows follow from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// A file of weights (.safetensors, or Keras's .weights.h5) that goes before the model's own.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
}

impl RunArgs {
    pub fn run(self) -> Run {
        let subnormals = if self.keep_subnormals { Subnormals::Keep } else { Subnormals::Flush };
        Run { threads: self.threads, subnormals, seed: self.seed, weights: self.weights }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The tensor graph as the model was lowered, gradients included.
    Graph,
    /// The tensor graph after all passes.
    Grad,
    /// The Program: fused kernels and the memory plan.
    Program,
    /// Cranelift's intermediate code of every kernel.
    Clif,
    /// Machine code of every kernel.
    Asm,
    /// One self-contained CUDA C++ text.
    Cuda,
}

impl From<Stage> for inspect::Stage {
    fn from(stage: Stage) -> inspect::Stage {
        match stage {
            Stage::Graph => inspect::Stage::Graph,
            Stage::Grad => inspect::Stage::Grad,
            Stage::Program => inspect::Stage::Program,
            Stage::Clif => inspect::Stage::Clif,
            Stage::Asm => inspect::Stage::Asm,
            Stage::Cuda => inspect::Stage::Cuda,
        }
    }
}

/// A number of rows or threads.
fn size(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 20;
    match text.parse() {
        Ok(size) if (1..=MOST).contains(&size) => Ok(size),
        _ => Err(format!("it is a number from 1 to {MOST}")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it is a number of seconds, up to 3600".to_string()),
    }
}

fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let form = || "it has the form NAME=100,8".to_string();
    let (name, extents) = text.rsplit_once('=').ok_or_else(form)?;
    let extents: Result<Vec<usize>, String> = extents
        .split(',')
        .map(|extent| extent.trim().parse().ok().filter(|extent| *extent > 0).ok_or_else(form))
        .collect();
    if name.is_empty() { Err(form()) } else { Ok((name.to_string(), extents?)) }
}
