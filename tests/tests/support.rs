//! The table of what is supported, `SUPPORT.md`: every class of the registry with the tests that prove it. Rewritten by
//! `BAKELITE_BLESS=1 cargo test -p bakelite-tests --test support`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bakelite_compiler::backend::cuda;
use bakelite_compiler::compile::{Options, compile};
use bakelite_compiler::import;
use bakelite_compiler::limit;
use bakelite_compiler::model::Activation;
use bakelite_compiler::model::registry::{self, Class, LAYERS, LOSSES, METRICS, OPTIMIZERS};
use bakelite_tests::fixture::{Case, Fixtures};
use bakelite_tests::keras;
use serde_json::Value;

#[allow(dead_code)]
#[path = "../../compiler/tests/common/rows.rs"]
mod rows;

/// The tests that a class appears in.
#[derive(Default)]
struct Proof {
    /// Rows of the layer suite: the interpreters agree, and the gradient is that of finite differences.
    rows: usize,
    /// Keras's cases, which run on machine code.
    cases: BTreeSet<usize>,
    /// Those of them that train.
    trained: BTreeSet<usize>,
    /// Whether the CUDA text of every entry point of the first case is printed.
    cuda: bool,
}

/// Proofs by section of the table and by name.
type Proofs = BTreeMap<(&'static str, String), Proof>;

/// The names that Keras makes public, by section: `fixtures/make_keras_names.py` writes them.
fn public_names() -> BTreeMap<String, Vec<String>> {
    let document: BTreeMap<String, Value> = serde_json::from_str(include_str!("../fixtures/keras_names.json")).unwrap();
    let names = |value: &Value| Some(value.as_array()?.iter().filter_map(Value::as_str).map(String::from).collect());
    document.iter().filter_map(|(section, value)| Some((section.clone(), names(value)?))).collect()
}

/// Whether a name of Keras is one of a section, under this or another name.
fn is_there(section: &str, names: &[&str], name: &str) -> bool {
    let found = match section {
        "Layers" => registry::find(LAYERS, name).is_some(),
        "Losses" => registry::find(LOSSES, name).is_some(),
        "Metrics" => registry::find(METRICS, name).is_some(),
        "Optimizers" => registry::find(OPTIMIZERS, name).is_some(),
        "Activations" => serde_json::from_value::<Activation>(Value::from(name)).is_ok(),
        _ => false,
    };
    found || names.contains(&name)
}

/// The names of Keras that a section lacks, each with the entry of the page of limits about it.
fn missing(section: &str, names: &[&str], public: &[String]) -> Vec<String> {
    let lacking = public.iter().filter(|name| !is_there(section, names, name));
    let with_limit = |name: &String| {
        let limit = match section {
            "Operations" => limit::names_operation(name).then(|| limit::of_operation(name)),
            _ => limit::of_class(name),
        };
        let limit = limit.unwrap_or_else(|| panic!("{section}: `{name}` is neither supported nor left out by name"));
        format!("`{name}` ({limit})")
    };
    lacking.map(with_limit).collect()
}

/// The names in a section.
fn sections() -> Vec<(&'static str, Vec<&'static str>)> {
    fn names<T: ?Sized>(table: &[Class<T>]) -> Vec<&'static str> {
        table.iter().map(|class| class.name).collect()
    }
    let arguments = registry::arguments();
    let argument = |module: &str| {
        let found = arguments.iter().find(|(name, _)| name.ends_with(module));
        found.map(|(_, names)| names.clone()).unwrap_or_default()
    };
    let mut losses = names(LOSSES);
    losses.sort_unstable();
    vec![
        ("Layers", names(LAYERS)),
        ("Activations", argument("activations")),
        ("Losses", losses),
        ("Metrics", names(METRICS)),
        ("Optimizers", names(OPTIMIZERS)),
        ("Schedules", argument("schedules")),
        ("Initializers", argument("initializers")),
        ("Regularizers", argument("regularizers")),
        ("Constraints", argument("constraints")),
        ("Operations", import::operation_names()),
    ]
}

/// Every class and function that a description names, with the argument that it is given as.
fn walk(value: &Value, key: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, key, found)),
        Value::Object(object) => {
            if let Some(Value::String(class)) = object.get("class_name") {
                let module = object.get("module").and_then(Value::as_str).unwrap_or_default();
                let key = if module.starts_with("keras.src.ops") { "operation" } else { key };
                found.push((key.to_string(), class.clone()));
            }
            for (name, item) in object {
                walk(item, if name == "config" { key } else { name }, found);
            }
        }
        Value::String(name) => found.push((key.to_string(), name.clone())),
        _ => {}
    }
}

/// The classes of a case, by section.
fn classes(case: &Case) -> BTreeSet<(&'static str, String)> {
    fn named<T: ?Sized>(table: &[Class<T>], name: &str) -> Option<String> {
        registry::find(table, name).map(|class| class.name.to_string())
    }
    let mut found = Vec::new();
    walk(&case.model, "model", &mut found);
    case.compile.iter().for_each(|compile| walk(compile, "compile", &mut found));
    let place = |(key, name): (String, String)| -> Option<(&'static str, String)> {
        Some(match key.as_str() {
            "operation" => ("Operations", name),
            "loss" => ("Losses", named(LOSSES, &name)?),
            "metrics" => ("Metrics", named(METRICS, &name)?),
            "optimizer" => ("Optimizers", named(OPTIMIZERS, &name)?),
            "learning_rate" => ("Schedules", name),
            key if key.ends_with("initializer") => ("Initializers", name),
            key if key.ends_with("regularizer") => ("Regularizers", name),
            key if key.ends_with("constraint") => ("Constraints", name),
            key if key.ends_with("activation") && !LAYERS.iter().any(|class| class.name == name) => {
                ("Activations", name)
            }
            _ => ("Layers", LAYERS.iter().find(|class| class.name == name)?.name.to_string()),
        })
    };
    found.into_iter().filter_map(place).collect()
}

/// Whether every entry point of a case becomes CUDA text.
fn prints_cuda(case: &Case) -> bool {
    let module = keras::model(case).and_then(|model| model.lower());
    let Ok(compiled) = module.map_err(drop).and_then(|m| compile(m, &Options::default()).map_err(drop)) else {
        return false;
    };
    let text = cuda::print(&compiled.programs.iter().collect::<Vec<_>>(), &compiled.storage);
    compiled.module.entries.iter().all(|entry| text.source.contains(&entry.name))
}

fn proofs(fixtures: &Fixtures) -> Proofs {
    let mut proofs = Proofs::new();
    for (number, case) in fixtures.cases.iter().enumerate() {
        for class in classes(case) {
            let proof = proofs.entry(class).or_default();
            proof.cases.insert(number);
            proof.trained.extend(case.compile.as_ref().map(|_| number));
        }
    }
    rows::for_each(|_, model, _, _, _| {
        for layer in model.layer_classes() {
            proofs.entry(("Layers", layer.to_string())).or_default().rows += 1;
        }
    });
    // The layer suite has every activation as a layer.
    for activation in Activation::ALL {
        if let Ok(Value::String(name)) = serde_json::to_value(activation) {
            proofs.entry(("Activations", name)).or_default().rows += 2;
        }
    }
    let firsts: BTreeSet<usize> = proofs.values().filter_map(|proof| proof.cases.first().copied()).collect();
    let printed: BTreeSet<usize> = firsts.into_iter().filter(|i| prints_cuda(&fixtures.cases[*i])).collect();
    for proof in proofs.values_mut() {
        proof.cuda = proof.cases.first().is_some_and(|first| printed.contains(first));
    }
    proofs
}

fn table(proofs: &Proofs) -> String {
    let mut text = include_str!("support_head.md").to_string();
    let (none, public) = (Proof::default(), public_names());
    for (section, names) in sections() {
        let missing = missing(section, &names, public.get(section).map_or(&[][..], Vec::as_slice));
        let _ = write!(
            text,
            "\n## {section}\n\n| | forward | gradient | CPU | CUDA text |\n| --- | --- | --- | --- | --- |\n"
        );
        for name in names {
            let Proof { rows, cases, trained, cuda } = proofs.get(&(section, name.to_string())).unwrap_or(&none);
            let tests = |cases: &BTreeSet<usize>| match (rows, cases.len()) {
                (0, 0) => "–".to_string(),
                (0, cases) => format!("{cases} K"),
                (rows, 0) => format!("{rows} R"),
                (rows, cases) => format!("{rows} R, {cases} K"),
            };
            let mark = |yes: bool| if yes { "✓" } else { "–" };
            let (forward, gradient) = (tests(cases), tests(trained));
            let _ =
                writeln!(text, "| `{name}` | {forward} | {gradient} | {} | {} |", mark(!cases.is_empty()), mark(*cuda));
        }
        if !missing.is_empty() {
            let _ = writeln!(text, "\nLeft out: {}.", missing.join(", "));
        }
    }
    text
}

#[test]
fn the_table_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/SUPPORT.md");
    let fresh = table(&proofs(&Fixtures::committed()));
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let differs = kept.lines().zip(fresh.lines()).find(|(kept, fresh)| kept != fresh);
    assert!(kept == fresh, "SUPPORT.md is not current; BAKELITE_BLESS=1 writes it anew. First difference: {differs:?}");
}
