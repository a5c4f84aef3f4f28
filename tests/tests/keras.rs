//! Training and prediction as Keras does them: every case of the fixtures, on machine code. Each case runs at the
//! strongest level of the machine and at one of the others in turn, with one thread and with two.
//!
//! `BAKELITE_KERAS_FIXTURES` names another file of cases, made by `fixtures/make_keras_fixtures.py --seed N --out FILE`;
//! `BAKELITE_KERAS_ONLY` picks the cases whose names contain it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bakelite::{Data, Fit, Input, Model, Options, Output, Values};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::jit::JitModel;
use bakelite_tests::fixture::{Case, Draw, Fixtures, close};
use bakelite_tests::jit::Jit;
use bakelite_tests::keras;

/// How far losses, predictions and weights may be from Keras's.
const TOLERANCE: f64 = 1e-4;

/// A column of a case.
enum Column {
    Float(Vec<f32>),
    Int(Vec<i32>),
    Unsigned(Vec<u32>),
    Byte(Vec<u8>),
    Bool(Vec<bool>),
}

impl Column {
    fn of(draw: &Draw) -> Column {
        let values = draw.values();
        match draw.dtype() {
            "int32" | "int8" | "int16" => Column::Int(values.into_iter().map(|x| x as i32).collect()),
            "uint16" => Column::Unsigned(values.into_iter().map(|x| x as u32).collect()),
            "uint8" => Column::Byte(values.into_iter().map(|x| x as u8).collect()),
            "bool" => Column::Bool(values.into_iter().map(|x| x != 0.0).collect()),
            _ => Column::Float(values),
        }
    }

    /// Some of `rows` rows.
    fn part(&self, rows: usize, range: &Range<usize>) -> Column {
        let cut = |len: usize| range.start * (len / rows)..range.end * (len / rows);
        match self {
            Column::Float(v) => Column::Float(v[cut(v.len())].to_vec()),
            Column::Int(v) => Column::Int(v[cut(v.len())].to_vec()),
            Column::Unsigned(v) => Column::Unsigned(v[cut(v.len())].to_vec()),
            Column::Byte(v) => Column::Byte(v[cut(v.len())].to_vec()),
            Column::Bool(v) => Column::Bool(v[cut(v.len())].to_vec()),
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Column::Float(v) => v.into(),
            Column::Int(v) => v.into(),
            Column::Unsigned(v) => v.into(),
            Column::Byte(v) => v.into(),
            Column::Bool(v) => v.into(),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Column::Float(v) => Input::new(v),
            Column::Int(v) => Input::new(v),
            Column::Unsigned(v) => Input::new(v),
            Column::Byte(v) => Input::new(v),
            Column::Bool(v) => Input::new(v),
        }
    }
}

/// A case with its data by the names that entry points have for them.
struct Replay<'c> {
    case: &'c Case,
    /// What the model calls Keras's weights.
    names: &'c BTreeMap<&'c str, String>,
    rows: usize,
    inputs: Vec<(String, Column)>,
    targets: Vec<(String, Column)>,
    weights: Vec<(String, Column)>,
    tolerance: f64,
}

impl<'c> Replay<'c> {
    fn new(case: &'c Case, names: &'c BTreeMap<&'c str, String>, inputs: &[String], outputs: &[String]) -> Replay<'c> {
        let named =
            |names: &[String], draws: &[Draw]| names.iter().cloned().zip(draws.iter().map(Column::of)).collect();
        Replay {
            case,
            names,
            rows: case.rows(),
            inputs: named(inputs, &case.inputs),
            targets: named(outputs, &case.targets),
            weights: outputs
                .iter()
                .zip(&case.sample_weights)
                .filter_map(|(name, draw)| Some((name.clone(), Column::of(draw.as_ref()?))))
                .collect(),
            tolerance: case.tolerance.unwrap_or(TOLERANCE),
        }
    }

    /// The rows of every argument of an entry point.
    fn arguments(&self, model: &Model, entry: &str, range: &Range<usize>) -> Result<Vec<Column>, String> {
        let entry = model.entries().iter().find(|e| e.name == entry).ok_or(format!("no entry point `{entry}`"))?;
        let find = |name: &str| {
            let plain = name.trim_end_matches('_');
            let own = self.inputs.iter().find(|(input, _)| input == name);
            let target = self.targets.iter().find(|(output, _)| format!("{output}_target") == plain);
            let weight = self.weights.iter().find(|(output, _)| format!("{output}_weight") == plain);
            own.or(target).or(weight).map(|(_, column)| column.part(self.rows, range))
        };
        entry.inputs.iter().map(|p| find(&p.name).ok_or(format!("nothing for the argument `{}`", p.name))).collect()
    }

    /// The results of an entry point for some rows.
    fn call(&self, model: &mut Model, entry: &str, range: Range<usize>) -> Result<Vec<Vec<f32>>, String> {
        let arguments = self.arguments(model, entry, &range)?;
        let inputs: Vec<Input<'_>> = arguments.iter().map(Column::input).collect();
        let id = model.entry(entry).map_err(|e| e.to_string())?;
        let ports = model.entries().iter().find(|e| e.name == entry).map(|e| &e.outputs);
        let mut results: Vec<Vec<f32>> = ports.into_iter().flatten().map(|p| vec![0.0; p.len(range.len())]).collect();
        let mut outputs: Vec<Output<'_>> = results.iter_mut().map(|r| Output::new(r)).collect();
        model.call(id, &inputs, &mut outputs, range.len()).map_err(|e| e.to_string())?;
        Ok(results)
    }

    fn close(&self, what: &str, got: &[f64], want: &[f64]) -> Result<(), String> {
        close(got, want, self.tolerance).map_err(|e| format!("{what}: {e}"))
    }

    /// Compares predictions for the first rows. They are made row by row, so that nothing depends on the largest batch.
    fn predictions(&self, model: &mut Model, what: &str, want: &[Vec<f64>]) -> Result<(), String> {
        let mut got: Vec<Vec<f64>> = vec![Vec::new(); want.len()];
        let mut row = 0;
        while got[0].len() < want[0].len() && row < self.rows {
            row += 1;
            for (all, part) in got.iter_mut().zip(self.call(model, "predict", row - 1..row)?) {
                all.extend(part.into_iter().map(f64::from));
            }
        }
        got.iter().zip(want).try_for_each(|(got, want)| self.close(what, got, want))
    }

    /// The columns of some rows.
    fn columns(&self, range: Range<usize>) -> [Vec<Column>; 3] {
        [&self.inputs, &self.targets, &self.weights]
            .map(|columns| columns.iter().map(|(_, column)| column.part(self.rows, &range)).collect())
    }

    fn data<'d>(&self, [inputs, targets, weights]: &'d [Vec<Column>; 3]) -> Data<'d> {
        let mut data = Data::new();
        for ((name, _), column) in self.inputs.iter().zip(inputs) {
            data = data.input(name, column.values());
        }
        for ((name, _), column) in self.targets.iter().zip(targets) {
            data = data.target(name, column.values());
        }
        for ((name, _), column) in self.weights.iter().zip(weights) {
            data = data.weight(name, column.values());
        }
        data
    }

    fn fit(&self, model: &mut Model, epochs: usize) -> Result<(), String> {
        let (train, validation) = (self.columns(0..self.rows / 2), self.columns(self.rows / 2..self.rows));
        let validation = self.data(&validation);
        let mut how = Fit::epochs(epochs).batch(self.case.batch).no_shuffle().validation(&validation);
        if !self.case.class_weight.is_empty() {
            how = how.class_weight(self.case.class_weight.clone().into_iter().collect::<Vec<_>>());
        }
        let history = model.fit(&self.data(&train), how).map_err(|e| e.to_string())?;
        let mut keys: Vec<&str> = history.keys().collect();
        keys.sort_unstable();
        let expected: Vec<&str> = self.case.history.keys().map(String::as_str).collect();
        if keys != expected {
            return Err(format!("the history has {keys:?}, Keras's has {expected:?}"));
        }
        // Where Keras's own backends differ, the history has the key alone.
        for (key, values) in self.case.history.iter().filter(|(_, values)| !values.is_empty()) {
            self.close(&format!("history of {key}"), history.get(key).unwrap_or_default(), values)?;
        }
        Ok(())
    }

    fn steps(&self, model: &mut Model) -> Result<(), String> {
        let mut losses = Vec::new();
        for start in (0..self.rows).step_by(self.case.batch) {
            let results = self.call(model, "train_step", start..(start + self.case.batch).min(self.rows))?;
            losses.push(results[0][0] as f64);
        }
        self.close("losses", &losses, &self.case.losses)
    }

    /// Does what Keras did, and compares.
    fn run(&self, model: &mut Model) -> Result<(), String> {
        let text = |e: bakelite::Error| e.to_string();
        model.init(1).map_err(text)?;
        for (path, draw) in &self.case.weights {
            model.set_param_shaped(&self.names[path.as_str()], &draw.shape, &draw.values()).map_err(text)?;
        }
        self.predictions(model, "before", &self.case.before)?;
        if self.case.compile.is_none() {
            return Ok(());
        }
        match &self.case.fit {
            Some(fit) => self.fit(model, fit.epochs)?,
            None => self.steps(model)?,
        }
        self.predictions(model, "after", &self.case.after)?;
        for (path, sample) in &self.case.trained {
            let weight: Vec<f32> = model.param(&self.names[path.as_str()]).and_then(|p| p.to_vec()).map_err(text)?;
            sample.check(&weight, self.tolerance).map_err(|e| format!("{path}: {e}"))?;
        }
        Ok(())
    }
}

/// A case at the strongest level and at one of the others.
fn check(case: &Case, number: usize) -> Result<(), String> {
    let model = keras::model(case).map_err(|e| e.to_string())?;
    let (inputs, outputs) = (model.input_names(), model.output_names());
    let names = keras::names(case, &model)?;
    let module = model.lower().map_err(|e| e.to_string())?;
    let compiled = compile(module, &compile::Options::default()).map_err(|e| e.to_string())?;
    let levels = Jit::levels();
    let (strongest, others) = levels.split_last().ok_or("no level")?;
    let other = others.get(number % others.len().max(1));
    for (level, threads) in [(Some(strongest), 1), (other, 2)] {
        let Some(&level) = level else { continue };
        let code = JitModel::new(&compiled, TargetCpu::Level(level)).map_err(|e| e.to_string())?;
        let options = Options::new().level(level).threads(threads).tune_threads(false);
        let mut model = Model::open_with(code, options).map_err(|e| e.to_string())?;
        Replay::new(case, &names, &inputs, &outputs).run(&mut model).map_err(|e| format!("{level}: {e}"))?;
    }
    Ok(())
}

#[test]
fn keras_agrees() {
    let fixtures = Fixtures::load();
    let only = std::env::var("BAKELITE_KERAS_ONLY").unwrap_or_default();
    let cases: Vec<&Case> = fixtures.cases.iter().filter(|case| case.name.contains(&only)).collect();
    assert!(!cases.is_empty(), "no case has `{only}` in its name");
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let number = cases.iter().position(|c| c.name == case.name).unwrap_or(0);
            if let Err(why) = check(case, number) {
                failures.lock().unwrap().push(format!("{}: {why}", case.name));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let (count, made_with) = (cases.len(), &fixtures.made_with);
    let list = failures.join("\n");
    assert!(failures.is_empty(), "{} of {count} cases differ from {made_with}:\n{list}", failures.len());
}
