//! The progress of a training on standard error. Whether it can be shown never matters to the training.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::history::Logs;

/// Where progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Show {
    /// Nowhere.
    #[default]
    Never,
    /// Where standard error is a terminal.
    OnTerminal,
    /// Also elsewhere, as one line an epoch.
    Always,
}

/// The least time between two changes of the bar.
const REFRESH: Duration = Duration::from_millis(50);

pub(super) struct Progress {
    show: Show,
    terminal: bool,
    epochs: usize,
    rows: usize,
    bar: ProgressBar,
    started: Instant,
    drawn: Instant,
}

impl Progress {
    pub fn new(show: Show, epochs: usize, rows: usize) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let now = Instant::now();
        Progress { show, terminal, epochs, rows, bar: ProgressBar::hidden(), started: now, drawn: now }
    }

    pub fn begin_epoch(&mut self, epoch: usize) {
        self.started = Instant::now();
        self.drawn = self.started;
        if self.show == Show::Never || !self.terminal {
            return;
        }
        self.bar = ProgressBar::with_draw_target(Some(self.rows as u64), ProgressDrawTarget::stderr());
        let template = "{prefix} [{bar:24}] {percent:>3}%  eta {eta}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_prefix(self.title(epoch));
    }

    /// Shows the means so far, now and then. `logs` is asked only when it is shown.
    pub fn batch(&mut self, rows: usize, logs: impl FnOnce() -> Logs) {
        if self.bar.is_hidden() || self.drawn.elapsed() < REFRESH {
            return;
        }
        self.drawn = Instant::now();
        self.bar.set_position(rows as u64);
        self.bar.set_message(format!("{}  {}", self.speed(rows), logs()));
    }

    pub fn end_epoch(&mut self, epoch: usize, rows: usize, logs: &Logs) {
        self.bar.finish_and_clear();
        if self.show == Show::Always || (self.show == Show::OnTerminal && self.terminal) {
            let seconds = self.started.elapsed().as_secs_f64();
            // Whoever looks on may leave, and the disk behind them may fill: the training goes on.
            let _ = writeln!(io::stderr(), "{}  {logs}  {}  {seconds:.2} s", self.title(epoch), self.speed(rows));
        }
    }

    fn title(&self, epoch: usize) -> String {
        let width = self.epochs.to_string().len();
        format!("epoch {:>width$}/{}", epoch + 1, self.epochs)
    }

    fn speed(&self, rows: usize) -> String {
        let speed = rows as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        format!("{} samples/s", HumanCount(speed as u64))
    }
}
