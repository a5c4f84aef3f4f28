//! Training and prediction as Keras does them: every case of the fixtures, on machine code at every level.
//!
//! `BAKELITE_KERAS_FIXTURES` names another file of cases, made by `fixtures/make_keras_fixtures.py --seed N --out FILE`.

use bakelite::{Data, Fit, Input, Model, Options, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::jit::JitModel;
use bakelite_tests::fixture::{Case, Fixtures, close};
use bakelite_tests::jit::Jit;
use bakelite_tests::keras;

/// How far losses, predictions and weights may be from Keras's.
const TOLERANCE: f64 = 1e-4;

/// A column of a case.
enum Column {
    Float(Vec<f32>),
    Int(Vec<i32>),
}

impl Column {
    fn of(draw: &bakelite_tests::fixture::Draw) -> Column {
        let values = draw.values();
        if draw.is_int() { Column::Int(values.into_iter().map(|x| x as i32).collect()) } else { Column::Float(values) }
    }

    /// Some of `rows` rows.
    fn part(&self, rows: usize, range: std::ops::Range<usize>) -> Column {
        let cut = |len: usize| range.start * (len / rows)..range.end * (len / rows);
        match self {
            Column::Float(v) => Column::Float(v[cut(v.len())].to_vec()),
            Column::Int(v) => Column::Int(v[cut(v.len())].to_vec()),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Column::Float(v) => Input::new(v),
            Column::Int(v) => Input::new(v),
        }
    }
}

fn data<'a>(x: &'a Column, y: &'a Column) -> Data<'a> {
    match (x, y) {
        (Column::Float(x), Column::Float(y)) => Data::pair(x, y),
        (Column::Float(x), Column::Int(y)) => Data::pair(x, y),
        _ => unreachable!("inputs of cases are floats"),
    }
}

fn predictions(model: &mut Model, case: &Case, x: &Column) -> Result<Vec<f64>, String> {
    let rows = case.x.shape[0];
    let outputs = model.entries()[model_entry(model, "predict")?].outputs[0].len(1);
    let shown = case.before.len() / outputs;
    let mut all = vec![0.0f32; case.before.len()];
    // Row by row, so that nothing depends on the largest batch.
    for (row, y) in (0..shown).zip(all.chunks_mut(outputs)) {
        let x = x.part(rows, row..row + 1);
        model.predict_into(1, &[x.input()], &mut [Output::new(y)]).map_err(|e| e.to_string())?;
    }
    Ok(all.into_iter().map(f64::from).collect())
}

fn model_entry(model: &Model, name: &str) -> Result<usize, String> {
    model.entries().iter().position(|e| e.name == name).ok_or(format!("no entry point `{name}`"))
}

/// Replays a case and compares it with Keras.
fn replay(case: &Case, mut model: Model) -> Result<(), String> {
    let text = |e: bakelite::Error| e.to_string();
    model.init(1).map_err(text)?;
    for (name, draw) in &case.weights {
        model.set_param_shaped(name, &draw.shape, &draw.values()).map_err(text)?;
    }
    let (rows, x, y) = (case.x.shape[0], Column::of(&case.x), Column::of(&case.y));
    close(&predictions(&mut model, case, &x)?, &case.before, TOLERANCE).map_err(|e| format!("before: {e}"))?;
    if let Some(fit) = &case.fit {
        let half = rows / 2;
        let (x1, y1, x2, y2) =
            (x.part(rows, 0..half), y.part(rows, 0..half), x.part(rows, half..rows), y.part(rows, half..rows));
        let validation = data(&x2, &y2);
        let how = Fit::epochs(fit.epochs).batch(case.batch).no_shuffle().validation(&validation);
        let history = model.fit(&data(&x1, &y1), how).map_err(text)?;
        let mut keys: Vec<&str> = history.keys().collect();
        keys.sort_unstable();
        let expected: Vec<&str> = case.history.keys().map(String::as_str).collect();
        if keys != expected {
            return Err(format!("the history has {keys:?}, Keras's has {expected:?}"));
        }
        for (key, values) in &case.history {
            let got = history.get(key).unwrap_or_default();
            close(got, values, TOLERANCE).map_err(|e| format!("history of {key}: {e}"))?;
        }
    } else {
        let id = model.entry("train_step").map_err(text)?;
        let mut losses = Vec::new();
        for start in (0..rows).step_by(case.batch) {
            let range = start..(start + case.batch).min(rows);
            let (x, y, mut loss) = (x.part(rows, range.clone()), y.part(rows, range.clone()), [0.0f32]);
            let inputs = [x.input(), y.input()];
            model.call(id, &inputs, &mut [Output::new(&mut loss)], range.len()).map_err(text)?;
            losses.push(loss[0] as f64);
        }
        close(&losses, &case.losses, TOLERANCE).map_err(|e| format!("losses: {e}"))?;
    }
    close(&predictions(&mut model, case, &x)?, &case.after, TOLERANCE).map_err(|e| format!("after: {e}"))?;
    for (name, sample) in &case.trained {
        let weight: Vec<f32> = model.param(name).and_then(|p| p.to_vec()).map_err(text)?;
        sample.check(&weight, TOLERANCE).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// A case at every level, with as many threads as there are.
fn check(case: &Case) -> Result<(), String> {
    let module = keras::model(case)?.lower().map_err(|e| e.to_string())?;
    let compiled = compile(module, &compile::Options::default()).map_err(|e| e.to_string())?;
    for level in Jit::levels() {
        let run = || {
            let code = JitModel::new(&compiled, TargetCpu::Level(level)).map_err(|e| e.to_string())?;
            let model = Model::open_with(code, Options::new().level(level).threads(2)).map_err(|e| e.to_string())?;
            replay(case, model)
        };
        run().map_err(|e| format!("{level}: {e}"))?;
    }
    Ok(())
}

#[test]
fn keras_agrees() {
    let fixtures = Fixtures::load();
    let failures: Vec<String> =
        fixtures.cases.iter().filter_map(|case| check(case).err().map(|e| format!("{}: {e}", case.name))).collect();
    let (count, made_with) = (fixtures.cases.len(), &fixtures.made_with);
    assert!(
        failures.is_empty(),
        "{} of {count} cases differ from {made_with}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
