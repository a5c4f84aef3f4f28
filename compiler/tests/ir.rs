//! File tests of the graph: each `tests/ir/*.bk` holds a module, a line of dashes, and the module that its `# run:`
//! line makes of it. The words of that line are names of passes, `optimize` for the whole pipeline, and `grad`, which
//! adds the gradients of the first output with respect to all inputs and storage cells of floating type.
//!
//! `BAKELITE_BLESS=1` writes the results into the files.

use std::fs;
use std::path::{Path, PathBuf};

use bakelite_compiler::grad::gradients;
use bakelite_compiler::ir::eval::evaluate;
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::ir::random::{self, Rng};
use bakelite_compiler::ir::verify::verify_module;
use bakelite_compiler::ir::{Graph, Module, NodeId, Op};
use bakelite_compiler::pass::{PassOptions, optimize, run_pass};

const RULER: &str = "\n----\n";

#[test]
fn files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let bless = std::env::var("BAKELITE_BLESS").is_ok_and(|v| v == "1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "bk"));
    files.sort();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let (input, expected) = text.split_once(RULER).unwrap_or((text.trim_end(), ""));
        let actual = match transform(input) {
            Ok(module) => module.to_string(),
            Err(message) => {
                failures.push(format!("{}: {message}", path.display()));
                continue;
            }
        };
        if actual.trim_end() == expected.trim_end() {
            continue;
        }
        if bless {
            fs::write(&path, format!("{input}{RULER}{actual}")).unwrap();
        } else {
            failures.push(format!("{}: expected\n{expected}\ngot\n{actual}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}\nBAKELITE_BLESS=1 accepts the results", failures.join("\n\n"));
}

fn transform(input: &str) -> Result<Module, String> {
    let mut module = parse_module(input).map_err(|e| e.to_string())?;
    let verify = |m: &Module| verify_module(m).map_err(|v| v.iter().map(|v| format!("{v}\n")).collect::<String>());
    verify(&module)?;
    let run = input.lines().find_map(|line| line.strip_prefix("# run:")).ok_or("no line `# run:`")?;
    let options = PassOptions { verify_after: true, ..PassOptions::default() };
    for word in run.split_whitespace() {
        let before = module.clone();
        match word {
            "grad" => module.entries.iter_mut().try_for_each(differentiate)?,
            "optimize" => _ = optimize(&mut module, &options).map_err(|bug| bug.to_string())?,
            name => {
                let done = run_pass(name, &mut module, &options).ok_or_else(|| format!("no pass `{name}`"))?;
                done.map_err(|bug| bug.to_string())?;
            }
        }
        verify(&module)?;
        if word != "grad" {
            compare(&before, &module).map_err(|message| format!("{word}: {message}"))?;
        }
    }
    Ok(module)
}

/// Adds an output `d ...` for every node that reads an input or cell of floating type.
fn differentiate(graph: &mut Graph) -> Result<(), String> {
    let of = graph.outputs.first().ok_or("no output to differentiate")?.node;
    let is_variable = |op: &Op| matches!(op, Op::Input { .. } | Op::Storage { .. });
    let variable = |id: &NodeId| is_variable(&graph.node(*id).op) && graph.ty(*id).dtype.is_float();
    let wrt: Vec<NodeId> = graph.ids().filter(variable).collect();
    let grads = gradients(graph, of, &wrt).map_err(|e| e.to_string())?;
    for (x, d) in wrt.into_iter().zip(grads) {
        graph.output(format!("d {x}"), d);
    }
    Ok(())
}

/// Both modules compute the same from random values.
fn compare(before: &Module, after: &Module) -> Result<(), String> {
    for (a, b) in before.entries.iter().zip(&after.entries) {
        let mut rng = Rng::new(1);
        let (inputs, cells) = (random::inputs(&mut rng, a, 3), random::storage(&mut rng, before));
        let run = |g: &Graph| evaluate(g, 3, &inputs, &cells).map_err(|e| e.to_string());
        let (x, y) = (run(a)?, run(b)?);
        let values = |e: &bakelite_compiler::ir::eval::Evaluated| -> Vec<f64> {
            e.outputs.iter().chain(e.assigns.iter().map(|a| &a.1)).flat_map(|t| t.to_numbers()).collect()
        };
        let close = |x: f64, y: f64| x == y || x.is_nan() && y.is_nan() || (x - y).abs() < 1e-4 * x.abs().max(1.0);
        let (x, y) = (values(&x), values(&y));
        if x.len() != y.len() || !x.iter().zip(&y).all(|(&x, &y)| close(x, y)) {
            return Err(format!("the meaning changed\n{before}\n{after}"));
        }
    }
    Ok(())
}
