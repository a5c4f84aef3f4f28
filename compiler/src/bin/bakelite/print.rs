//! Results as text.

use std::fmt::Write;

use bakelite::names::printable_json;
use bakelite_compiler::tool::bench::Measured;
use serde::Serialize;

/// One line of JSON.
pub fn json(value: &impl Serialize) -> String {
    printable_json(&serde_json::to_string(value).unwrap_or_default()).into_owned()
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
    line("model_flops", m.model_flops.to_string());
    text
}
