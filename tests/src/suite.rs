//! Runs cases on runtimes and collects what differs from the oracle.

use std::collections::BTreeMap;

use crate::row::{BATCHES, Case, Row, Tolerance};
use crate::runtime::{Called, Loaded, Oracle, Runtime, caught};

/// Runs rows, forward and gradient, on all runtimes and all batches.
///
/// # Panics
/// With every difference, if there are any.
pub fn check_rows(rows: Vec<Row>, runtimes: &[Box<dyn Runtime>]) {
    let mut names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]), "two rows have one name");
    let cases: Vec<Case> = rows.iter().flat_map(|row| [Some(row.forward()), row.gradient()]).flatten().collect();
    check_cases(&cases, &BATCHES, runtimes);
}

/// Runs cases on all runtimes.
///
/// # Panics
/// With every difference, if there are any.
pub fn check_cases(cases: &[Case], batches: &[usize], runtimes: &[Box<dyn Runtime>]) {
    let modules: Vec<_> = cases.iter().map(|c| &c.module).collect();
    let expected: Vec<Vec<Expected>> = cases
        .iter()
        .zip(Oracle.load(&modules))
        .map(|(case, oracle)| expect(case, batches, oracle).unwrap_or_else(|e| panic!("{}: oracle: {e}", case.name)))
        .collect();
    // By error, so that one mistake that breaks everything is told once.
    let mut failures: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for runtime in runtimes {
        for ((case, loaded), expected) in cases.iter().zip(runtime.load(&modules)).zip(&expected) {
            if let Err(error) = check_case(case, loaded, expected) {
                failures.entry(format!("{}: {error}", runtime.name())).or_default().push(&case.name);
            }
        }
    }
    let report: String = failures.iter().map(|(error, names)| format!("{}\n  {error}\n", names.join(", "))).collect();
    assert!(failures.is_empty(), "{} differences:\n{report}", failures.values().map(Vec::len).sum::<usize>());
}

/// What a case gives for one batch.
struct Expected {
    batch: usize,
    called: Called,
    /// The derivative of the first output along the case's directions, for cases that are gradients.
    slope: Option<f64>,
}

/// Half the distance between the points of a difference, in `f64`.
const STEP: f64 = 1e-6;
/// How far a gradient in `f32` may be from a difference quotient in `f64`, for a directional derivative of size 1.
const SLOPE: f64 = 2e-4;

fn expect(case: &Case, batches: &[usize], oracle: Loaded<'_>) -> Result<Vec<Expected>, String> {
    let mut oracle = oracle?;
    let mut all = Vec::new();
    for &batch in batches {
        let (values, directions) = (case.values(batch), case.directions(batch));
        let called = oracle.call(batch, &values.inputs, &values.storage)?;
        let mut sum_at = |h: f64| {
            let values = values.moved(&case.wrt, &directions, h);
            Ok::<_, String>(oracle.call(batch, &values.inputs, &values.storage)?.outputs[0].to_numbers()[0])
        };
        let slope = match case.differences && !case.wrt.is_empty() {
            true => Some((sum_at(STEP)? - sum_at(-STEP)?) / (2.0 * STEP)),
            false => None,
        };
        all.push(Expected { batch, called, slope });
    }
    Ok(all)
}

fn check_case(case: &Case, loaded: Loaded<'_>, expected: &[Expected]) -> Result<(), String> {
    let mut runtime = loaded?;
    for expected in expected {
        let (batch, values) = (expected.batch, case.values(expected.batch));
        let called = caught(|| runtime.call(batch, &values.inputs, &values.storage))?;
        let first = if case.sum { Tolerance::SUM } else { case.tolerance };
        compare(&called, &expected.called, first, case.tolerance).map_err(|e| format!("batch {batch}: {e}"))?;
        let Some(slope) = expected.slope else { continue };
        let gradients = called.outputs[1..].iter().zip(case.directions(batch));
        let (mut found, mut size) = (0.0, 1.0f64);
        for (gradient, direction) in gradients {
            for (g, d) in gradient.to_numbers().iter().zip(direction) {
                found += g * d;
                size = size.max((g * d).abs());
            }
        }
        let near = (found - slope).abs() <= SLOPE * size.max(slope.abs());
        if !near {
            return Err(format!("batch {batch}: derivative {found}, finite differences {slope}"));
        }
    }
    Ok(())
}

/// The first difference of two results; the first output may have a tolerance of its own.
pub fn compare(got: &Called, want: &Called, first: Tolerance, tolerance: Tolerance) -> Result<(), String> {
    let outputs = got.outputs.iter().zip(&want.outputs).enumerate().map(|(i, pair)| ("output", i, pair));
    let cells = got.storage.iter().zip(&want.storage).enumerate().map(|(i, pair)| ("cell", i, pair));
    if (got.outputs.len(), got.storage.len()) != (want.outputs.len(), want.storage.len()) {
        return Err("results are missing".into());
    }
    for (what, i, (got, want)) in outputs.chain(cells) {
        let tolerance = if (what, i) == ("output", 0) { first } else { tolerance };
        tolerance.check(got, want).map_err(|e| format!("{what} {i}: {e}"))?;
    }
    Ok(())
}
