//! Where the time of workloads goes, kernel by kernel: `profile WORKLOAD... [--predict] [--threads N] [--seconds S]
//! [--top N]`. Without names, all workloads. `--compile` prints how long the stages of the compiler take instead, also of
//! networks in files with Keras's JSON, once for predictions and once with training.

use std::time::{Duration, Instant};

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::import::KerasModel;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::{Model, RMSprop, SparseCategoricalCrossentropy};
use bakelite_compiler::profile::{Profile, Times, record};
use bakelite_tests::runtime::Pipeline;
use bakelite_tests::workloads::{self, Workload};

struct Wanted {
    workloads: Vec<&'static Workload>,
    files: Vec<String>,
    predict: bool,
    compile: bool,
    threads: usize,
    seconds: f64,
    top: usize,
}

fn main() -> Result<(), String> {
    let wanted = arguments()?;
    for workload in &wanted.workloads {
        if wanted.compile { stages(workload.name, &workload.model())? } else { kernels(workload, &wanted)? }
    }
    for file in &wanted.files {
        let json = std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
        for train in [false, true] {
            let built = KerasModel::parse(&json).and_then(|m| m.name("network").max_batch(8).build());
            let model = built.map_err(|e| e.to_string())?;
            if train {
                model.compile(RMSprop::new(1e-3), SparseCategoricalCrossentropy::new(), ());
            }
            stages(&format!("{file}, {}", if train { "training" } else { "predictions" }), &model)?;
        }
    }
    Ok(())
}

fn arguments() -> Result<Wanted, String> {
    let (workloads, files) = (Vec::new(), Vec::new());
    let mut wanted =
        Wanted { workloads, files, predict: false, compile: false, threads: 1, seconds: 1.0, top: usize::MAX };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<f64, String> {
            args.next().and_then(|n| n.parse().ok()).ok_or(format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "--predict" => wanted.predict = true,
            "--compile" => wanted.compile = true,
            "--threads" => wanted.threads = number()? as usize,
            "--seconds" => wanted.seconds = number()?,
            "--top" => wanted.top = number()? as usize,
            file if file.ends_with(".json") => wanted.files.push(file.to_string()),
            name => wanted.workloads.push(workloads::named(name).ok_or(format!("no workload `{name}`"))?),
        }
    }
    if wanted.workloads.is_empty() && wanted.files.is_empty() {
        wanted.workloads.extend(workloads::ALL);
    }
    Ok(wanted)
}

fn kernels(workload: &'static Workload, wanted: &Wanted) -> Result<(), String> {
    let compiled = workload.compiled(Pipeline::Optimised)?;
    let code = JitModel::profiled(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
    let mut ready = workload.open(code, wanted.threads)?;
    let entry = if wanted.predict { "predict" } else { "train_step" };
    let mut call = || if wanted.predict { ready.predict(workload.batch) } else { ready.train() };
    call().map_err(|e| e.to_string())?;
    let (start, mut calls, mut best) = (Instant::now(), 0, Times::default());
    while calls < 3 || start.elapsed().as_secs_f64() < wanted.seconds {
        let (done, times) = record(&mut call);
        done.map_err(|e| e.to_string())?;
        best = if calls == 0 { times } else { least(best, times) };
        calls += 1;
    }
    let program = compiled.program(entry).ok_or("no such entry point")?;
    let profile = Profile::new(program, 1, &best);
    let flops: f64 = profile.kernels.iter().map(|k| k.flops).sum();
    println!("== {}: {:.1} GFLOP/s over all", workload.name, flops / profile.microseconds() / 1e3);
    profile.to_string().lines().take(wanted.top.saturating_add(2)).for_each(|line| println!("{line}"));
    Ok(())
}

/// The least that a call spent in each kernel: what disturbed single calls does not count.
fn least(a: Times, b: Times) -> Times {
    let kernels = a.kernels.iter().zip(&b.kernels).map(|(a, b)| *a.min(b)).collect();
    Times { kernels, waiting: a.waiting.min(b.waiting) }
}

fn stages(name: &str, model: &Model) -> Result<(), String> {
    let start = Instant::now();
    let module = model.lower().map_err(|e| e.to_string())?;
    let lowered = start.elapsed();
    let compiled = compile(module, &Default::default()).map_err(|e| e.to_string())?;
    let scheduled = start.elapsed();
    let code = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
    let all = start.elapsed();
    drop(code);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (passes, code) = (milliseconds(scheduled - lowered), milliseconds(all - scheduled));
    println!(
        "== {name}: {:.1} ms: lowering {:.1}, passes and schedules {passes:.1}, code {code:.1}",
        milliseconds(all),
        milliseconds(lowered)
    );
    let kernels: usize = compiled.programs.iter().map(|p| p.kernels.len()).sum();
    println!("{kernels:>10} kernels");
    for stage in &compiled.stages {
        println!("{:>10.2} ms  {}", stage.milliseconds, stage.stage);
    }
    Ok(())
}
