//! Commands that look at models.

use std::fs;
use std::process::Stdio;

use bakelite_compiler::prelude::*;

use crate::run::{Folder, ROWS, numbers, saved};

#[test]
fn summaries() {
    let folder = Folder::new();
    let chain = folder.ok(&["summary", "digits.keras"]);
    for line in [
        "Model: \"digits\"",
        "│ conv (Conv2D)             │ (None, 4, 4, 4) │      40 │",
        "│ norm (BatchNormalization) │ (None, 4, 4, 4) │      16 │",
        "│ digit (Dense)             │ (None, 4)       │     260 │   516 │",
        " Trainable params: 308 (1.20 KB)",
        " Non-trainable params: 8 (32.00 B)",
        " Flops a sample: ",
    ] {
        assert!(chain.contains(line), "{line}\n{chain}");
    }
    assert!(!chain.contains("Connected") && !chain.contains("InputLayer"), "{chain}");
    let graph = folder.ok(&["summary", "pair.keras"]);
    for line in ["left (InputLayer)", "left[0][0], right[0][0]", "both[0][0], add[0][0]", "shared[1][0]"] {
        assert!(graph.contains(line), "{line}\n{graph}");
    }
    assert_eq!(graph.matches("shared (Dense)").count(), 1);
    let saved = folder.ok(&["summary", "digits.bk"]);
    assert!(saved.contains("│ conv (Graph)") && saved.contains(" Trainable params: 308 (1.20 KB)"), "{saved}");
}

#[test]
fn plots() {
    let folder = Folder::new();
    for model in ["pair.keras", "digits.bk"] {
        assert_eq!(folder.ok(&["plot", model, "-o", "graph.svg"]), "");
        folder.ok(&["plot", model, "-o", "graph.dot"]);
        let read = |name: &str| std::fs::read_to_string(folder.path(name)).unwrap();
        let (svg, dot) = (read("graph.svg"), read("graph.dot"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(dot.starts_with("digraph ") && dot.ends_with("}\n"));
        let shape = if model == "pair.keras" { "(None, 8)" } else { "(None, 4, 4, 4)" };
        assert!(svg.contains(shape) && dot.contains(shape), "{dot}");
    }
}

#[test]
fn levels_of_the_compiler() {
    let folder = Folder::new();
    for (stage, part) in [
        ("graph", "entry \"train_step\""),
        ("grad", "entry \"train_step\""),
        ("program", "k0_"),
        ("clif", "function "),
        ("asm", "; digits.predict"),
        ("cuda", "__global__"),
    ] {
        let text = folder.ok(&["inspect", "digits.keras", "--stage", stage]);
        assert!(text.contains(part), "{stage}: {:.300}", text);
    }
    let one = folder.ok(&["inspect", "digits.bk", "--stage", "graph", "--entry", "train"]);
    assert!(one.contains("train_step") && !one.contains("evaluate_step"));
    assert!(folder.ok(&["report", "digits.keras"]).contains("entry train_step"));
    let report: serde_json::Value = serde_json::from_str(&folder.ok(&["report", "digits.bk", "--json"])).unwrap();
    assert_eq!(report["parameters"], 308);
}

#[test]
fn speed() {
    let folder = Folder::new();
    let text =
        folder.ok(&["bench", "digits.keras", "--batch-size", "8", "--seconds", "0.02", "--json", "--threads", "1"]);
    assert_eq!(text.lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["train_step_ms", "predict_ms", "predict1_us", "compile_s", "arena_bytes", "flops", "model_flops"] {
        assert!(json[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {text}");
    }
    // Of a step, `summary` counts what grows with the batch; the optimizer's work for the 308 weights does not.
    let summary = folder.ok(&["summary", "digits.keras"]);
    let sample = summary.split(" to train").next().and_then(|text| text.rsplit(' ').next()).unwrap().replace(',', "");
    let rest = json["model_flops"].as_f64().unwrap() - 8.0 * sample.parse::<f64>().unwrap();
    assert!((0.0..308.0 * 20.0).contains(&rest), "{rest}: {text}\n{summary}");
    // A step does the work of the prediction and more; the time of eight rows is more than that of one.
    assert!(json["predict_ms"].as_f64().unwrap() * 1e3 > json["predict1_us"].as_f64().unwrap(), "{text}");
    let table = folder.ok(&["bench", "pair.keras", "--seconds", "0.02", "--profile", "--threads", "1"]);
    let report: serde_json::Value = serde_json::from_str(&folder.ok(&["report", "pair.keras", "--json"])).unwrap();
    let entries = report["entries"].as_array().unwrap();
    let step = entries.iter().find(|e| e["name"] == "train_step").unwrap();
    for kernel in step["kernels"].as_array().unwrap() {
        assert!(table.contains(kernel["name"].as_str().unwrap()), "{kernel}\n{table}");
    }
}

#[test]
fn libraries_carry_the_weights_of_the_file() {
    let folder = Folder::new();
    if std::process::Command::new("cc").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: no cc");
        return;
    }
    let library =
        folder.ok(&["compile", "digits.keras", "-o", "lib", "--name", "net", "--entry", "predict", "--max-batch", "9"]);
    assert!(library.trim().ends_with("libnet.a") && folder.path("lib/net.h").exists());
    // The weights are those that predictions of the file come from.
    folder.ok(&["predict", "digits.keras", "--input", "digits.npz", "--output", "a.npz"]);
    folder.ok(&[
        "predict",
        "digits.bk",
        "--input",
        "digits.npz",
        "--output",
        "b.npz",
        "--weights",
        "lib/net.safetensors",
    ]);
    assert_eq!(folder.floats("a.npz", "digit"), folder.floats("b.npz", "digit"));
}

#[test]
fn libraries_check_themselves_against_stored_answers() {
    let folder = Folder::new();
    folder.ok(&["predict", "digits.keras", "--input", "digits.npz", "--output", "answers.npz"]);
    let compile = ["compile", "digits.keras", "-o", "lib", "--name", "net", "--max-batch", "64", "--entry", "predict"];
    let with = |x, y| [&compile[..], &["--verify", x, y]].concat();
    let wrong = folder.run(&with("digits.npz", "digits.npz"));
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(1) && text.contains("there is no array `digit`"), "{text}");
    if std::process::Command::new("gcc").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: no gcc");
        return;
    }
    folder.ok(&with("digits.npz", "answers.npz"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c_library/verify.c");
    let library = folder.path("lib");
    let built = std::process::Command::new("gcc")
        .arg(source)
        .arg("-I")
        .arg(&library)
        .arg(library.join("libnet.a"))
        .args(["-lm", "-lpthread", "-o"])
        .arg(folder.path("verify"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = std::process::Command::new(folder.path("verify")).arg(library.join("net.safetensors")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let deviations: Vec<f64> = String::from_utf8_lossy(&ran.stdout).lines().map(|l| l.parse().unwrap()).collect();
    assert!(deviations[0] < 1e-6, "{deviations:?}");
}

#[test]
fn help_and_the_readme_agree() {
    let folder = Folder::new();
    let help = folder.ok(&["--help"]);
    let readme = include_str!("../../../README.md");
    let commands =
        ["summary", "plot", "predict", "train", "evaluate", "bench", "check", "compile", "inspect", "report"];
    for command in commands.into_iter().chain(["completions", "man"]) {
        assert!(help.contains(&format!("\n  {command} ")), "{command}\n{help}");
        assert!(readme.contains(&format!("bakelite {command} ")), "{command}");
        let page = folder.ok(&["man", command]);
        assert!(
            page.contains(&format!("bakelite\\-{command}")) || page.contains(&format!("bakelite-{command}")),
            "{page}"
        );
        let own = folder.ok(&[command, "--help"]);
        // Whatever option the README shows for a command, the command has.
        for line in readme.lines().filter(|line| line.trim_start().starts_with(&format!("bakelite {command} "))) {
            for option in line.split_whitespace().filter_map(|word| word.trim_start_matches('[').strip_prefix("--")) {
                let option = option.trim_end_matches(']');
                assert!(own.contains(&format!("--{option}")), "{command} --{option}\n{own}");
            }
        }
    }
    for code in ["Exit codes:", "0  done", "1  a model", "2  the command line"] {
        assert!(help.contains(code), "{code}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.ok(&["completions", shell]).contains("evaluate"));
    }
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let folder = Folder::new();
    let mut child = folder.command(&["inspect", "digits.keras", "--stage", "asm"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Names that turn the direction of writing, or end a line: files for people, and what is printed, have their escapes.
#[test]
fn names_turn_no_direction_of_writing() {
    const TURN: &str = "a\u{202e}b\u{2066}c\u{2028}d";
    let folder = Folder::new();
    let m = Model::new("turned");
    let x = m.input(format!("x{TURN}"), 3, F32);
    let y = Dense::new(2).name(format!("dense{TURN}")).apply(&x);
    m.output(&y);
    m.compile(SGD::new(0.1), MeanSquaredError, [MeanAbsoluteError]);
    fs::write(folder.path("turned.keras"), saved(&m)).unwrap();
    let data = [(format!("x:x{TURN}"), 3), (format!("y:dense{TURN}"), 2)];
    let data = data.each_ref().map(|(name, n)| (&**name, [ROWS, *n], numbers(ROWS * n, 1).into()));
    folder.arrays("data.npz", &data.each_ref().map(|(name, shape, v)| (*name, &shape[..], Clone::clone(v))));
    let mut texts = Vec::new();
    for line in [
        "compile turned.keras -o lib",
        "summary turned.keras",
        "plot turned.keras -o plot.svg",
        "plot turned.keras -o plot.dot",
        "report turned.keras",
        "report turned.keras --json",
        "inspect turned.keras --stage graph",
        "inspect turned.keras --stage program",
        "inspect turned.keras --stage cuda",
        "bench turned.keras --seconds 0.01 --json",
        "train turned.keras --data data.npz --output out.safetensors --epochs 2 --history history.json",
        "evaluate turned.keras --data data.npz",
        // A mistake that names an input.
        "predict turned.keras --input digits.npz --output y.npz",
    ] {
        let output = folder.run(&line.split(' ').collect::<Vec<_>>());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), !line.starts_with("predict"), "{line}: {stderr}");
        texts.push((line.to_string(), String::from_utf8(output.stdout).unwrap()));
        texts.push((line.to_string(), stderr));
    }
    let library = fs::read_dir(folder.path("lib")).unwrap().map(|entry| entry.unwrap().path());
    let written = ["plot.svg", "plot.dot", "history.json"].map(|name| folder.path(name)).into_iter().chain(library);
    for path in written {
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if !matches!(extension.as_str(), "a" | "safetensors") {
            texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    let turns = ['\u{202e}', '\u{2066}', '\u{2028}'];
    let turned: Vec<&str> = texts.iter().filter(|(_, text)| text.contains(turns)).map(|(what, _)| &**what).collect();
    assert!(turned.is_empty(), "{turned:?}");
    assert!(texts.iter().filter(|(_, text)| text.contains("202e")).count() > 12, "names are shown");
    // JSON says the same as before.
    let report = &texts.iter().find(|(what, _)| what.ends_with("turned.report.json")).unwrap().1;
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert!(report.to_string().contains(TURN), "{report}");
}
