//! What build scripts come upon: names that are taken, and models that are probably not meant.

use std::path::Path;

use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::build::{BuildOptions, Built};
use bakelite_compiler::compile::Options;
use bakelite_compiler::prelude::*;

fn build(model: &Model, folder: &Path, package: &str) -> Result<Built, Diagnostics> {
    model.build_with(&BuildOptions {
        out_dir: folder.to_path_buf(),
        target: "x86_64-unknown-linux-gnu".to_string(),
        target_cpu: TargetCpu::Portable,
        cargo: false,
        package: Some(package.to_string()),
        compile: Options::default(),
    })
}

fn net(name: &str, units: usize) -> Model {
    let m = Model::new(name);
    m.output(&Dense::new(units).name("y").apply(&m.input("x", 2, F32)));
    m
}

/// The text with paths and lines that do not change with this file.
fn told(text: impl ToString) -> String {
    let line = |line: &str| match line.find("building.rs:") {
        Some(end) => {
            let start = line[..end].rfind(' ').map_or(0, |i| i + 1);
            let rest = line[end + "building.rs:".len()..].trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{}build.rs:N{rest}\n", &line[..start])
        }
        None => format!("{line}\n"),
    };
    text.to_string().lines().map(line).collect()
}

#[test]
fn two_models_of_one_name_are_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let first = net("net", 2);
    let built = build(&first, folder.path(), "one").unwrap();
    let bindings = std::fs::read(&built.bindings).unwrap();
    for name in ["net", "NET"] {
        let text = told(build(&net(name, 3), folder.path(), "one").unwrap_err());
        assert_eq!(
            text,
            format!(
                "error[name]: another model of this build script is called `{name}` too\n  \
                 --> build.rs:N   {name}\n      the other one   build.rs:N\n  \
                 help: the second would replace the files of the first: give one of them another name\n\n\
                 1 mistake in model `{name}`\n"
            )
        );
    }
    assert_eq!(std::fs::read(&built.bindings).unwrap(), bindings, "the first is as it was");
    // The same model may be built again, and others beside it or elsewhere.
    build(&first, folder.path(), "one").unwrap();
    build(&net("other", 3), folder.path(), "one").unwrap();
    build(&net("net", 3), tempfile::tempdir().unwrap().path(), "one").unwrap();
}

/// The symbol says package and content, and so does the name of the library.
#[test]
fn symbols_are_of_a_package_and_a_content() {
    let symbol = |model: &Model, package: &str| {
        let folder = tempfile::tempdir().unwrap();
        let built = build(model, folder.path(), package).unwrap();
        let library = built.library.file_stem().unwrap().to_str().unwrap().strip_prefix("lib").unwrap().to_string();
        let bindings = std::fs::read_to_string(&built.bindings).unwrap();
        assert!(bindings.contains(&format!("#[link_name = \"{library}\"]")), "{library}: {bindings}");
        library
    };
    let one = symbol(&net("net", 2), "my-app");
    assert!(one.starts_with("bakelite_my_app_net_"), "{one}");
    assert_eq!(symbol(&net("net", 2), "my-app"), one, "the same on every build");
    let others =
        [symbol(&net("net", 3), "my-app"), symbol(&net("net", 2), "your-app"), symbol(&net("nets", 2), "my-app")];
    assert!(others.iter().all(|other| *other != one), "{one}: {others:?}");
}

#[test]
fn what_is_left_out_is_warned_of() {
    let warnings = |m: &Model| told(m.warnings().unwrap().iter().map(|w| format!("{w}\n")).collect::<String>());
    let m = Model::new("net");
    let x = m.input("x", 2, F32);
    let hidden = Dense::new(3).name("hidden").apply(&x);
    m.output(&Dense::new(1).name("y").apply(&hidden));
    m.output(&Dense::new(1).name("second").apply(&hidden));
    assert_eq!(warnings(&m), "", "all is used, and nothing trains");
    Dense::new(4).name("spare").apply(&hidden);
    m.compile(SGD::new(0.1), Losses::new().output("y", MeanSquaredError), ());
    assert_eq!(
        warnings(&m),
        "warning[unused]: no result depends on the layer `spare`\n  --> build.rs:N   spare\n  \
         help: make what it gives an output, use it in another layer, or remove it\n\
         warning[unused]: no training step changes `second/kernel`, `second/bias`\n  --> build.rs:N   second\n  \
         help: the loss does not depend on it; if that is meant, freeze it: `m.freeze(\"second\")`\n"
    );
    m.freeze("second");
    assert!(!warnings(&m).contains("second"));
    // Steps of one's own train what they name.
    let m = Model::new("net");
    let y = Dense::new(1).name("y").apply(&Dense::new(3).name("hidden").apply(&m.input("x", 2, F32)));
    m.output(&y);
    m.entry("step").minimize(&y.square().mean_all(), &["y"], SGD::new(0.1));
    let text = warnings(&m);
    assert!(text.contains("no training step changes `hidden/kernel`, `hidden/bias`"), "{text}");
    assert!(text.contains("no `minimize` names `hidden`"), "{text}");
    // They are no mistakes: the model is built, and hands them on.
    let folder = tempfile::tempdir().unwrap();
    let built = build(&m, folder.path(), "app").unwrap();
    assert_eq!(built.warnings.len(), 1);
}
