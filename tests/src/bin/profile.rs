//! Where the time of workloads goes, kernel by kernel: `profile WORKLOAD... [--predict] [--threads N] [--seconds S]
//! [--top N]`. Without names, all workloads. `--compile` prints how long the stages of the compiler take instead.

use std::time::{Duration, Instant};

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::profile::{self, Profile};
use bakelite_tests::runtime::Pipeline;
use bakelite_tests::workloads::{self, Workload};

struct Wanted {
    workloads: Vec<&'static Workload>,
    predict: bool,
    compile: bool,
    threads: usize,
    seconds: f64,
    top: usize,
}

fn main() -> Result<(), String> {
    let wanted = arguments()?;
    for workload in &wanted.workloads {
        if wanted.compile { stages(workload)? } else { kernels(workload, &wanted)? }
    }
    Ok(())
}

fn arguments() -> Result<Wanted, String> {
    let mut wanted =
        Wanted { workloads: Vec::new(), predict: false, compile: false, threads: 1, seconds: 1.0, top: usize::MAX };
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
            name => wanted.workloads.push(workloads::named(name).ok_or(format!("no workload `{name}`"))?),
        }
    }
    if wanted.workloads.is_empty() {
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
    let mut calls = 0;
    let (done, times) = profile::record(|| {
        let start = Instant::now();
        while calls < 3 || start.elapsed().as_secs_f64() < wanted.seconds {
            call()?;
            calls += 1;
        }
        Ok::<_, bakelite::Error>(())
    });
    done.map_err(|e| e.to_string())?;
    let program = compiled.program(entry).ok_or("no such entry point")?;
    let profile = Profile::new(program, calls, &times);
    let flops: f64 = profile.kernels.iter().map(|k| k.flops).sum();
    println!("== {}: {:.1} GFLOP/s over all", workload.name, flops / profile.microseconds() / 1e3);
    profile.to_string().lines().take(wanted.top.saturating_add(2)).for_each(|line| println!("{line}"));
    Ok(())
}

fn stages(workload: &Workload) -> Result<(), String> {
    let start = Instant::now();
    let module = workload.model().lower().map_err(|e| e.to_string())?;
    let lowered = start.elapsed();
    let compiled = bakelite_compiler::compile::compile(module, &Default::default()).map_err(|e| e.to_string())?;
    let scheduled = start.elapsed();
    let code = JitModel::new(&compiled, TargetCpu::Portable).map_err(|e| e.to_string())?;
    let all = start.elapsed();
    drop(code);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (passes, code) = (milliseconds(scheduled - lowered), milliseconds(all - scheduled));
    println!(
        "== {}: {:.1} ms: lowering {:.1}, passes and schedules {passes:.1}, code {code:.1}",
        workload.name,
        milliseconds(all),
        milliseconds(lowered)
    );
    for stage in &compiled.stages {
        println!("{:>10.2} ms  {}", stage.milliseconds, stage.stage);
    }
    Ok(())
}
