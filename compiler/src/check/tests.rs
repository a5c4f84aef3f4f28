//! Checks of models that agree, and of code that is wrong on purpose.

use super::{Options, Report, Reproduction, check, compare};
use crate::ir::parse::parse_module;
use crate::ir::{DType, Graph, Module, Shape, TensorType};
use crate::prelude::*;

/// Three layers, dropout, and everything that training adds.
fn model() -> Model {
    let m = Model::new("m");
    m.max_batch(9);
    let x = m.input("x", [6], F32);
    let h = Dense::new(5).activation(Tanh).name("first").apply(&x);
    let h = Dropout::new(0.3).name("thin").apply(&h);
    let h = Dense::new(4).activation(Sigmoid).name("second").apply(&h);
    m.output(&Dense::new(3).name("third").apply(&h));
    m.compile(Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits(), [Accuracy]);
    m
}

/// Compares the model with code of a graph in which one word stands for another.
fn altered(entry: &str, from: &str, to: &str) -> Report {
    let meant = model().lower().unwrap();
    let mut compiled = meant.clone();
    let place = compiled.entries.iter().position(|e| e.name == entry).unwrap();
    let mut alone = meant.clone();
    alone.entries.retain(|e| e.name == entry);
    let text = alone.to_string();
    assert!(text.contains(from), "{text}");
    compiled.entries[place] = parse_module(&text.replacen(from, to, 1)).unwrap().entries.remove(0);
    let options = Options { seed: 3, ..Options::default() };
    let mut init = |model: &mut bakelite::Model| model.init(3);
    compare(&meant, &compiled, &options, &mut init, &|_, _| None).unwrap()
}

#[test]
fn a_model_agrees_with_the_interpreter_in_all_its_entry_points() {
    let report = model().check().unwrap();
    assert!(report.agrees(), "{report}");
    let names: Vec<&str> = report.entries.iter().map(|e| e.entry.as_str()).collect();
    assert!(["init", "predict", "train_step"].iter().all(|name| names.contains(name)), "{names:?}");
    assert_eq!(report.entries[0].batches, [1, 3, 7, 9]);
    assert!(report.entries.iter().any(|e| e.worst > 0.0), "{report}");
}

#[test]
fn the_first_layer_that_differs_is_named() {
    let report = altered("predict", "sigmoid", "tanh");
    let difference = report.differences().next().unwrap();
    assert_eq!((difference.entry.as_str(), difference.layer.as_deref()), ("predict", Some("second")), "{report}");
    assert_eq!(report.differences().count(), 1, "{report}");
    // The layer is the last one of the part that shows it, and nothing of the next is in it.
    let text = difference.reproduction.to_string();
    assert!(!text.contains("third"), "{text}");
}

#[test]
fn a_wrong_gradient_is_found_in_training_alone() {
    // The derivative of the hyperbolic tangent is 1 - y^2.
    let report = altered("train_step", "square", "abs");
    let entries: Vec<&str> = report.differences().map(|d| d.entry.as_str()).collect();
    assert_eq!(entries, ["train_step"], "{report}");
}

#[test]
fn a_difference_far_below_one_is_seen_and_rounding_is_not() {
    let mut meant = model().lower().unwrap();
    meant.entries.retain(|e| e.name == "init" || e.name == "predict");
    let report = check(&meant, &Options::default()).unwrap();
    assert!(report.agrees(), "{report}");
    let mut graph = Graph::new("step");
    let x = graph.input("x", TensorType::new(DType::F32, Shape::batched(&[4])));
    let y = graph.mul_s(x, 0.3);
    let z = graph.exp(y);
    graph.output("z", z);
    let meant = Module { name: "m".into(), max_batch: 4, entries: vec![graph], ..Module::default() };
    let mut compiled = meant.clone();
    compiled.entries = parse_module(&meant.to_string().replace("0.3", "0.30001")).unwrap().entries;
    let report = compare(&meant, &compiled, &Options::default(), &mut |_| Ok(()), &|_, _| None).unwrap();
    assert!(!report.agrees(), "{report}");
}

#[test]
fn a_reproduction_is_read_as_it_was_written() {
    let report = altered("predict", "sigmoid", "tanh");
    let case = &report.differences().next().unwrap().reproduction;
    let text = case.to_string();
    assert!(Reproduction::is(&text) && !Reproduction::is(Reproduction::graph(&text)));
    let again = Reproduction::parse(&text).unwrap();
    assert_eq!(again.to_string(), text);
    // Its graph is the one that was compiled, whose code is right.
    assert!(again.check().unwrap().agrees());
    for (from, to) in
        [("batch: 1", "batch: 0"), ("batch: 1", "batch: 77"), ("input [1, 6]", "input [6]"), ("storage", "cell")]
    {
        assert!(text.contains(from), "{from} in {text}");
        assert!(Reproduction::parse(&text.replace(from, to)).is_err(), "{to}");
    }
}
