//! What compiled code makes of subnormal numbers.

use bakelite::{Input, Model, Options, Output, Subnormals};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::compile;
use bakelite_compiler::ir::{DType, Dim, Graph, Module, Op, Shape, TensorType, UnaryFn};
use bakelite_compiler::jit::JitModel;
use bakelite_tests::jit::Jit;

/// Beside each other, so that vectors hold both signs and both kinds.
const NUMBERS: [f32; 8] = [0.0, -0.0, 1.1754942e-38, -1.1754942e-38, 1e-42, -1e-42, 1e-45, -1e-45];
/// In whole vectors, and some more.
const COLUMNS: usize = 8 * 5 + 3;

/// The functions of numbers that give numbers.
fn functions() -> Module {
    let mut graph = Graph::new("predict");
    let x = graph.input("x", TensorType::new(DType::F32, Shape(vec![Dim::BATCH, Dim::fixed(COLUMNS)])));
    for f in UnaryFn::ALL.iter().filter(|f| f.row().takes.accepts(DType::F32)) {
        let y = graph.push(Op::Unary(*f), &[x]);
        if graph.ty(y).dtype == DType::F32 {
            graph.output(f.row().name, y);
        }
    }
    Module { name: "functions".into(), max_batch: 3, entries: vec![graph], ..Module::default() }
}

#[test]
fn every_function_takes_a_subnormal_number_for_zero() {
    let compiled = compile(functions(), &Default::default()).unwrap();
    let x: Vec<f32> = NUMBERS.iter().copied().cycle().take(3 * COLUMNS).collect();
    for level in Jit::levels() {
        let call = |subnormals: Subnormals| {
            let code = JitModel::new(&compiled, TargetCpu::Level(level)).unwrap();
            let options = Options::new().level(level).threads(1).subnormals(subnormals);
            let mut model = Model::open_with(code, options).unwrap();
            let names: Vec<String> = model.entries()[0].outputs.iter().map(|port| port.name.clone()).collect();
            let mut results = vec![vec![0.0f32; x.len()]; names.len()];
            let mut outputs: Vec<Output<'_>> = results.iter_mut().map(|y| Output::new(y)).collect();
            model.predict_into(3, &[Input::new(&x)], &mut outputs).unwrap();
            (names, results)
        };
        let (names, flushed) = call(Subnormals::Flush);
        assert!(names.len() > 20, "{names:?}");
        for (name, y) in names.iter().zip(&flushed) {
            for (i, (x, y)) in x.iter().zip(y).enumerate() {
                let zero = flushed_zero(&names, &flushed, name, x.is_sign_negative());
                // Moving a number is no arithmetic: absolute values, negation, `relu`.
                let moved = *y == zero || (zero == 0.0 && y.is_subnormal());
                assert!(moved || (y.is_nan() && zero.is_nan()), "{level}: {name}({x:e}) = {y:e} at {i}, {zero:e} at 0");
            }
        }
        let (_, kept) = call(Subnormals::Keep);
        let square = names.iter().position(|name| name == "sqrt").unwrap();
        assert!((kept[square][2] - 1.0842021e-19).abs() < 1e-25, "{level}: {:e}", kept[square][2]);
        assert_eq!(flushed[square][2], 0.0, "{level}");
    }
}

/// The value of a function at zero of a sign.
fn flushed_zero(names: &[String], results: &[Vec<f32>], name: &str, negative: bool) -> f32 {
    let at = names.iter().position(|other| other == name).unwrap();
    results[at][negative as usize]
}
