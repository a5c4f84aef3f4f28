//! Signals that ask the command to end.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bakelite_compiler::tool::interrupt::Interrupt;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What [`watch`] saw.
pub struct Signals {
    pub interrupt: Interrupt,
    last: Arc<AtomicUsize>,
}

/// Handles Ctrl-C and SIGTERM for the rest of the process. Those that whoever started it ignores stay ignored.
pub fn watch() -> io::Result<Signals> {
    let (interrupt, last) = (Interrupt::default(), Arc::new(AtomicUsize::new(0)));
    for signal in [SIGINT, SIGTERM] {
        if is_ignored(signal) {
            continue;
        }
        // They run in this order.
        flag::register_conditional_shutdown(signal, 128 + signal, interrupt.at_once.clone())?;
        flag::register_usize(signal, last.clone(), signal as usize)?;
        flag::register(signal, interrupt.asked.clone())?;
        flag::register(signal, interrupt.at_once.clone())?;
    }
    Ok(Signals { interrupt, last })
}

impl Signals {
    /// The exit code of a command that a signal ended, as shells have it.
    pub fn exit_code(&self) -> u8 {
        128 + self.last.load(Ordering::SeqCst) as u8
    }
}

/// Whether a signal was ignored when the process began, as for commands behind `nohup` or in the background of a
/// script. Only Linux says so without asking for more than is safe.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
