//! What threads and subnormal numbers cost: `threads [busy] [subnormals] [sizes] [--seconds S] [--workload NAME]`
//! prints the tables that are named, or all three, `busy` for one workload or for several. Only numbers of one run on an
//! otherwise idle machine can be compared.
//!
//! - `busy`: training steps of workloads with 1, 2 and 4 threads where the estimate allows them, and with the default
//!   threads, beside no, one and two other processes that never sleep.
//! - `subnormals`: training steps of networks whose gradients and moments decay, with subnormal numbers flushed to zero
//!   and kept, against the first steps of the same training.
//! - `sizes`: dense networks of a hundred to ten million parameters at batches from 1 to 512 with one thread, with two
//!   whether or not they are worth it, and with the default threads.
//!
//! Each number is the mean of a call over many, the median of several rounds in which all columns take turns, behind one
//! in which the default finds its threads.

use std::hint::{black_box, spin_loop};
use std::process::{Child, Command};
use std::time::Instant;

use bakelite::abi::SHARES;
use bakelite::{EntryId, Input, Model, Options, Output, Subnormals};
use bakelite_compiler::backend::cranelift::{Products, TargetCpu};
use bakelite_compiler::compile::{Compiled, compile};
use bakelite_compiler::emit::image::ModelImage;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::{self as dsl, *};
use bakelite_tests::runtime::Pipeline;
use bakelite_tests::workloads::{self, Ready, numbers};

const ROUNDS: usize = 5;

type Outcome<T> = Result<T, String>;

/// Measures for some seconds a figure, and prints a table.
type Table<'a> = &'a dyn Fn(f64) -> Outcome<()>;

/// What `busy` measures, unless it is told.
const WORKLOADS: [&str; 5] = ["tiny", "mlp", "conv", "bilstm", "encoder"];

fn main() -> Outcome<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["spin"] {
        loop {
            spin_loop();
        }
    }
    let mut seconds = 0.2;
    if let Some(at) = args.iter().position(|arg| arg == "--seconds") {
        seconds = args.get(at + 1).and_then(|s| s.parse().ok()).ok_or("--seconds needs a number")?;
        args.drain(at..at + 2);
    }
    let mut names: Vec<String> = WORKLOADS.map(String::from).to_vec();
    if let Some(at) = args.iter().position(|arg| arg == "--workload") {
        names = vec![args.get(at + 1).ok_or("--workload needs a name")?.clone()];
        args.drain(at..at + 2);
    }
    let tables: [(&str, Table<'_>); 3] =
        [("busy", &|seconds| busy(seconds, &names)), ("subnormals", &subnormals), ("sizes", &sizes)];
    if let Some(unknown) = args.iter().find(|arg| !tables.iter().any(|table| table.0 == **arg)) {
        return Err(format!("no table `{unknown}`"));
    }
    for (name, table) in tables {
        if args.is_empty() || args.iter().any(|arg| arg == name) {
            table(seconds)?;
            println!();
        }
    }
    Ok(())
}

/// So many threads for all calls that may be worth them, or the default.
fn options(threads: Option<usize>) -> Options {
    threads.map_or(Options::new(), |n| Options::new().threads(n).tune_threads(false))
}

/// Something that is called again and again.
type Step<'a> = Box<dyn FnMut() -> Result<(), bakelite::Error> + 'a>;

/// The mean microseconds of each step, all taking turns.
fn measure(steps: &mut [Step<'_>], seconds: f64) -> Outcome<Vec<f64>> {
    let mut rounds = vec![Vec::new(); steps.len()];
    for round in 0..=ROUNDS {
        for (step, means) in steps.iter_mut().zip(&mut rounds) {
            step().map_err(|e| e.to_string())?;
            let (start, mut calls) = (Instant::now(), 0u32);
            while calls < 3 || start.elapsed().as_secs_f64() < seconds {
                step().map_err(|e| e.to_string())?;
                calls += 1;
            }
            if round > 0 {
                means.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
            }
        }
    }
    Ok(rounds
        .into_iter()
        .map(|mut means| {
            means.sort_by(f64::total_cmp);
            means[ROUNDS / 2]
        })
        .collect())
}

/// A process that never sleeps; it ends with this value.
struct Spinning(Child);

impl Spinning {
    fn start() -> Outcome<Spinning> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        Command::new(program).arg("spin").spawn().map(Spinning).map_err(|e| e.to_string())
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        // It has nothing to lose, and there is nobody to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn busy(seconds: f64, names: &[String]) -> Outcome<()> {
    const THREADS: [Option<usize>; 4] = [Some(1), Some(2), Some(4), None];
    println!("microseconds of a training step beside processes that never sleep");
    println!("{:<10} {:>6} {:>10} {:>10} {:>10} {:>10}", "workload", "beside", 1, 2, 4, "default");
    for name in names {
        let workload = workloads::named(name).ok_or(format!("no workload `{name}`"))?;
        let compiled = workload.compiled(Pipeline::Optimised)?;
        let mut models: Vec<Ready> = Vec::new();
        for threads in THREADS {
            let code = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
            models.push(workload.open_with(code, options(threads))?);
        }
        for beside in 0..=2 {
            let others: Vec<Spinning> = (0..beside).map(|_| Spinning::start()).collect::<Outcome<_>>()?;
            let mut steps: Vec<Step<'_>> =
                models.iter_mut().map(|model| Box::new(|| model.train().map(drop)) as Step<'_>).collect();
            // Time slices are some milliseconds long: many of them are in a measurement.
            let means = measure(&mut steps, seconds * if beside > 0 { 5.0 } else { 1.0 })?;
            drop(others);
            println!(
                "{name:<10} {beside:>6} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
                means[0], means[1], means[2], means[3]
            );
        }
    }
    Ok(())
}

/// A dense network with a training step.
struct Net {
    model: Model,
    train: EntryId,
    predict: EntryId,
    x: Vec<f32>,
    y: Vec<f32>,
    results: Vec<f32>,
    batch: usize,
}

impl Net {
    fn open(code: JitModel, options: Options, batch: usize, inputs: usize, outputs: usize) -> Outcome<Net> {
        let open = || {
            let mut model = Model::open_with(code, options)?;
            model.init(1)?;
            let (train, predict) = (model.entry("train_step")?, model.entry("predict")?);
            Ok::<_, bakelite::Error>(Net {
                model,
                train,
                predict,
                x: numbers(1, batch * inputs),
                y: numbers(2, batch * outputs),
                results: vec![0.0; batch * outputs],
                batch,
            })
        };
        open().map_err(|e| e.to_string())
    }

    fn train(&mut self) -> Result<(), bakelite::Error> {
        let mut loss = [0.0f32];
        let inputs = [Input::new(&self.x), Input::new(&self.y)];
        self.model.call(self.train, &inputs, &mut [Output::new(&mut loss)], self.batch)?;
        black_box(loss);
        Ok(())
    }

    fn predict(&mut self) -> Result<(), bakelite::Error> {
        let outputs = &mut [Output::new(&mut self.results)];
        self.model.call(self.predict, &[Input::new(&self.x)], outputs, self.batch)
    }
}

fn dense(inputs: usize, widths: &[usize], outputs: usize, batch: usize) -> Outcome<Compiled> {
    let m = dsl::Model::new("dense");
    m.max_batch(batch);
    let mut x = m.input("x", inputs, F32);
    for width in widths {
        x = Dense::new(*width).activation(Relu).apply(&x);
    }
    m.output(&Dense::new(outputs).name("y").apply(&x));
    m.compile(Adam::new(1e-3), MeanSquaredError, ());
    let module = m.lower().map_err(|e| e.to_string())?;
    compile(module, &Default::default()).map_err(|e| e.to_string())
}

fn subnormals(seconds: f64) -> Outcome<()> {
    println!("microseconds of a training step whose gradients and moments decay");
    println!("{:<34} {:>10} {:>10} {:>10}", "training", "first", "flushed", "kept");
    let dead: fn(&mut Net) -> Result<(), bakelite::Error> = |net| {
        // Half of the units of the first layer never fire again: nothing reaches their weights any more.
        let name = net.model.params().map(|p| p.name().to_string()).find(|name| name.ends_with("dense/bias"));
        let Some(name) = name else { return Ok(()) };
        let mut bias: Vec<f32> = net.model.param(&name)?.to_vec()?;
        let half = bias.len() / 2;
        bias[..half].fill(-1e3);
        net.model.set_param(&name, &bias)
    };
    let repeated: fn(&mut Net) -> Result<(), bakelite::Error> = |net| {
        let (inputs, outputs) = (net.x.len() / net.batch, net.y.len() / net.batch);
        for row in 1..net.batch {
            net.x.copy_within(..inputs, row * inputs);
            net.y.copy_within(..outputs, row * outputs);
        }
        Ok(())
    };
    let cases = [("Q network, half of its units dead", dead), ("one row, repeated", repeated)];
    for (name, prepare) in cases {
        let compiled = dense(8, &[128, 128], 4, 32)?;
        let mut nets = Vec::new();
        let mut first = Vec::new();
        for subnormals in [Subnormals::Flush, Subnormals::Keep] {
            let code = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
            let mut net = Net::open(code, Options::new().threads(1).subnormals(subnormals), 32, 8, 4)?;
            let train = |net: &mut Net, steps: usize| -> Outcome<f64> {
                let start = Instant::now();
                (0..steps).try_for_each(|_| net.train()).map_err(|e| e.to_string())?;
                Ok(start.elapsed().as_secs_f64() * 1e6 / steps as f64)
            };
            train(&mut net, 20)?;
            first.push(train(&mut net, 300)?);
            prepare(&mut net).map_err(|e| e.to_string())?;
            train(&mut net, 4000)?;
            nets.push(net);
        }
        let mut steps: Vec<Step<'_>> = nets.iter_mut().map(|net| Box::new(|| net.train()) as Step<'_>).collect();
        let means = measure(&mut steps, seconds)?;
        println!("{name:<34} {:>10.1} {:>10.1} {:>10.1}", first[0].min(first[1]), means[0], means[1]);
    }
    Ok(())
}

fn sizes(seconds: f64) -> Outcome<()> {
    println!("microseconds of a call of dense networks; `default` should be the least of its row");
    println!(
        "{:>10} {:>6} {:<8} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "parameters", "batch", "call", "one", "two", "default", "at most", "default"
    );
    let seconds = seconds / 4.0;
    let mut worst: f64 = 0.0;
    for width in [7, 22, 70, 223, 707, 2236] {
        let compiled = dense(width, &[width], width, 512)?;
        let parameters = 2 * width * (width + 1);
        for batch in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] {
            let open = |threads: Option<usize>, forced: bool| {
                let mut image = ModelImage::new(&compiled);
                image.entries.iter_mut().filter(|_| forced).for_each(|entry| entry.parallel_batch = [1; SHARES]);
                let code = JitModel::from_image(&image, TargetCpu::Portable, Products::Driver);
                Net::open(code.map_err(|e| e.to_string())?, options(threads), batch, width, width)
            };
            for (call, name) in [("predict", "predict"), ("train", "train_step")] {
                let mut nets = [open(Some(1), false)?, open(Some(2), true)?, open(None, false)?];
                let entry = nets[2].model.entries().iter().find(|e| e.name == name).ok_or("no such entry point")?;
                let most = entry.threads(batch, nets[2].model.threads());
                let mut steps: Vec<Step<'_>> = Vec::new();
                for net in &mut nets {
                    steps.push(match call {
                        "predict" => Box::new(|| net.predict()),
                        _ => Box::new(|| net.train()),
                    });
                }
                let means = measure(&mut steps, seconds)?;
                let ratio = means[2] / means[0];
                worst = worst.max(ratio);
                println!(
                    "{parameters:>10} {batch:>6} {call:<8} {:>10.2} {:>10.2} {:>10.2} {most:>8} {ratio:>7.2}x",
                    means[0], means[1], means[2],
                );
            }
        }
    }
    println!("at worst, the default takes {worst:.2} times as long as one thread");
    Ok(())
}
