//! Training: a [`Trainer`] with metrics, checkpoints, exact resumption, callbacks and reports.
//!
mod callback;
mod chart;
mod checkpoint;
mod interrupt;
mod json_lines;
pub mod metric;
mod number;
mod picture;
mod progress;
mod record;
mod report;
mod snapshot;
mod tensorboard;
mod trainer;

pub use callback::{Callback, Control, EarlyStopping, Run, Samples};
pub use chart::Chart;
pub use checkpoint::Keep;
pub use json_lines::JsonLines;
pub use metric::*;
pub use picture::Picture;
pub use progress::Progress;
pub use record::{Budget, EpochRecord, Epochs, Fit, Scores, StepRecord, Steps, Stop};
pub use report::{Curves, Report};
pub use tensorboard::TensorBoard;
pub use trainer::{NoLoss, Outcome, Trainer};
