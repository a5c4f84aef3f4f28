//! Results as text.

use std::fmt::Write;

use bakelite_compiler::tool::bench::{Measured, Profile};
use serde::Serialize;

/// One line of JSON.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Measurements, one a line.
pub fn measured(m: &Measured) -> String {
    let mut text = format!("model {}, batch {}, threads up to {}, {}\n", m.model, m.batch, m.threads, m.level);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14} {value:>12}");
    };
    let times = [("train_step_ms", m.train_step_ms), ("predict_ms", m.predict_ms), ("predict1_us", m.predict1_us)];
    for (name, time) in times {
        line(name, time.map_or("-".to_string(), |time| format!("{time:.3}")));
    }
    line("compile_s", format!("{:.3}", m.compile_s));
    line("arena_bytes", m.arena_bytes.to_string());
    line("flops", m.flops.to_string());
    text
}

/// The kernels with the time of each, the slowest first.
pub fn profile(profile: &Profile) -> String {
    let total = profile.kernels.iter().map(|k| k.microseconds).sum::<f64>() + profile.waiting;
    let mut text = format!(
        "{}: {total:.1} us a call in {} kernels, {} calls\n",
        profile.entry,
        profile.kernels.len(),
        profile.calls
    );
    let _ = writeln!(text, "  {:>10} {:>6} {:>9} {:>9}  kernel", "us", "%", "Gflop/s", "GB/s");
    let mut kernels: Vec<_> = profile.kernels.iter().collect();
    kernels.sort_by(|a, b| b.microseconds.total_cmp(&a.microseconds));
    for kernel in kernels {
        let (us, rate) = (kernel.microseconds, |work: f64| work / kernel.microseconds.max(1e-3) / 1e3);
        let _ = writeln!(
            text,
            "  {us:>10.2} {:>6.1} {:>9.2} {:>9.2}  {}  {}",
            100.0 * us / total.max(1e-9),
            rate(kernel.flops),
            rate(kernel.bytes),
            kernel.name,
            kernel.fused.join(" + ")
        );
    }
    if profile.waiting > 0.0 {
        let share = 100.0 * profile.waiting / total.max(1e-9);
        let _ =
            writeln!(text, "  {:>10.2} {share:>6.1} {:>9} {:>9}  waiting for other threads", profile.waiting, "", "");
    }
    text
}
