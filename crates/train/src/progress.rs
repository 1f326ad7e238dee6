//! Progress on the terminal: a bar while an epoch runs, and a table of the epochs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad_core::Result;

use crate::callback::{Callback, Control, Run, Samples};
use crate::record::{EpochRecord, Fit, Scores, StepRecord, Stop};

/// Shows a bar with the time that is left, the loss and the metrics, and prints a row per epoch. The bar goes to
/// stderr, and only to a terminal; the rows go to stdout.
pub struct Progress {
    bar: ProgressBar,
    /// How wide each column of the table is.
    widths: Vec<usize>,
    /// Whether the table has its head.
    headed: bool,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    /// A bar and a table.
    pub fn new() -> Progress {
        Progress {
            bar: ProgressBar::hidden(),
            widths: Vec::new(),
            headed: false,
        }
    }

    fn print(&self, line: &str) {
        // Whoever closed stdout has seen enough; that is no reason to end a training.
        let print = || {
            use std::io::Write;
            let _ = writeln!(std::io::stdout(), "{line}");
        };
        self.bar.suspend(print);
    }
}

/// The columns of an epoch, with their heads.
pub(crate) fn columns(record: &EpochRecord) -> Vec<(String, String)> {
    let mut columns = vec![
        ("epoch".to_string(), record.epoch.to_string()),
        ("step".to_string(), record.step.to_string()),
    ];
    let mut add = |prefix: &str, scores: &Scores| {
        for (name, number) in scores.numbers() {
            columns.push((format!("{prefix}{name}"), short(number)));
        }
    };
    add("", &record.train);
    if let Some(valid) = &record.valid {
        add("valid ", valid);
    }
    let lr = short(record.lr);
    let lr = match lr.contains('.') && !lr.contains('e') {
        true => lr.trim_end_matches('0').trim_end_matches('.'),
        false => &lr,
    };
    columns.push(("lr".to_string(), lr.to_string()));
    columns.push(("time".to_string(), format!("{:.1} s", record.seconds)));
    columns
}

/// Five digits, or as few as there are.
pub(crate) fn short(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    match number.abs() {
        1e-3..1e5 => {
            let digits = 4 - number.abs().log10().floor() as i32;
            format!("{number:.*}", digits.clamp(0, 7) as usize)
        }
        _ => format!("{number:.3e}"),
    }
}

impl Callback for Progress {
    fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        let device = run.device.name();
        self.print(&format!("{} parameters on {device}", run.parameters));
        if run.step > 0 {
            self.print(&format!("going on after step {}", run.step));
        }
        let target = ProgressDrawTarget::stderr();
        self.bar = ProgressBar::with_draw_target(run.steps, target);
        let template = match run.steps {
            Some(_) => "{bar:30} {pos}/{len} steps, {per_sec}, {eta} left  {msg}",
            None => "{spinner} {pos} steps, {per_sec}  {msg}",
        };
        // The templates are constants, which the tests parse.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_position(run.step);
        self.bar.reset_eta();
        self.bar.enable_steady_tick(Duration::from_millis(200));
        Ok(())
    }

    fn advance(&mut self, step: u64) {
        self.bar.set_position(step);
    }

    fn step(&mut self, record: &StepRecord) -> Result<Control> {
        let numbers = record.scores.numbers();
        let all: Vec<String> = numbers
            .map(|(name, number)| format!("{name} {}", short(number)))
            .collect();
        self.bar.set_message(all.join("  "));
        Ok(Control::Continue)
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        let columns = columns(record);
        self.widths.resize(columns.len(), 0);
        for (width, (name, text)) in self.widths.iter_mut().zip(&columns) {
            *width = (*width).max(name.chars().count()).max(text.chars().count());
        }
        let row = |pick: fn(&(String, String)) -> &String| {
            let cells = columns.iter().zip(&self.widths);
            let cells = cells.map(|(column, &width)| format!("{:>width$}", pick(column)));
            cells.collect::<Vec<_>>().join("  ")
        };
        if !self.headed {
            self.print(&row(|column| &column.0));
            self.headed = true;
        }
        self.print(&row(|column| &column.1));
        Ok(Control::Continue)
    }

    fn end(&mut self, fit: &Fit, _samples: Option<&Samples>) -> Result<()> {
        self.bar.finish_and_clear();
        match fit.stop {
            Stop::Finished => {}
            Stop::Early => self.print("stopped early"),
            Stop::Interrupted => self.print("interrupted; run the program again to go on"),
        }
        self.headed = false;
        Ok(())
    }
}
