//! `bakelite check` on everything at hand: `check [workloads] [fixtures] [--only TEXT] [--batches 1,3]` compares every
//! entry point of the benchmarks' workloads and of the committed models of Keras with the reference interpreter, and ends
//! with 1 where one differs. The interpreter takes minutes over a large workload at its whole batch; `--batches` bounds it.

use std::time::Instant;

use bakelite_compiler::check::{Options, check};
use bakelite_compiler::ir::Module;
use bakelite_tests::fixture::Fixtures;
use bakelite_tests::{keras, workloads};

type Outcome<T> = Result<T, String>;

fn main() -> Outcome<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| -> Outcome<Option<String>> {
        let Some(at) = args.iter().position(|arg| arg == name) else { return Ok(None) };
        let value = args.get(at + 1).cloned().ok_or(format!("{name} needs a value"))?;
        args.drain(at..at + 2);
        Ok(Some(value))
    };
    let only = option("--only")?.unwrap_or_default();
    let batches = option("--batches")?.unwrap_or_default();
    let batches: Result<Vec<usize>, _> = batches.split(',').filter(|b| !b.is_empty()).map(str::parse).collect();
    let options = Options { batches: batches.map_err(|e| format!("--batches: {e}"))?, ..Options::default() };
    if let Some(unknown) = args.iter().find(|arg| !["workloads", "fixtures"].contains(&arg.as_str())) {
        return Err(format!("there are workloads and fixtures, no `{unknown}`"));
    }
    let wanted = |what: &str| args.is_empty() || args.iter().any(|arg| arg == what);
    let mut tally = Tally { options, agree: 0, differ: 0 };
    if wanted("workloads") {
        for workload in workloads::ALL.iter().filter(|w| w.name.contains(&only)) {
            tally.add(workload.name, &workload.model().lower().map_err(|e| e.to_string())?)?;
        }
    }
    if wanted("fixtures") {
        for case in Fixtures::committed().cases.iter().filter(|case| case.name.contains(&only)) {
            let module = keras::model(case).and_then(|model| model.lower());
            tally.add(&case.name, &module.map_err(|e| format!("{}: {e}", case.name))?)?;
        }
    }
    println!("{} agree, {} differ", tally.agree, tally.differ);
    if tally.differ == 0 { Ok(()) } else { Err("some differ".into()) }
}

struct Tally {
    options: Options,
    agree: usize,
    differ: usize,
}

impl Tally {
    fn add(&mut self, name: &str, module: &Module) -> Outcome<()> {
        let start = Instant::now();
        let report = check(module, &self.options).map_err(|e| format!("{name}: {e}"))?;
        let seconds = start.elapsed().as_secs_f64();
        if report.agrees() {
            self.agree += 1;
            let worst = report.entries.iter().map(|entry| entry.worst).fold(0.0, f64::max);
            println!("{name}: agrees, at most {:.0}% of what rounding explains; {seconds:.1} s", 100.0 * worst);
        } else {
            self.differ += 1;
            println!("{name}: differs; {seconds:.1} s\n{report}");
        }
        Ok(())
    }
}
