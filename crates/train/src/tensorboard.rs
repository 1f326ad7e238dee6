//! Event files for [TensorBoard](https://www.tensorflow.org/tensorboard).
//!
//! A file is a sequence of records: length (u64), checksum of the length, message, checksum of the message, all little
//! endian; the checksums are CRC-32C, rotated and shifted
//! ([record_writer.h](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h)).
//! The messages are protocol buffers, of which these are the parts used here
//! ([event.proto](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto),
//! [summary.proto](https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/summary.proto)).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use wgrad_core::Result;

use crate::callback::{Callback, Control, Run};
use crate::checkpoint::failure;
use crate::record::{EpochRecord, Scores, StepRecord};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional, so that a 0 is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: a session starts. Readers then forget what was written before for this step and later ones.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Writes losses, metrics and the learning rate as event files into a directory: `loss` and the metrics per logged
/// step, `train/…` and `valid/…` per epoch.
///
/// `tensorboard --logdir DIR` shows them. A resumed training begins another file, from whose first step on TensorBoard
/// forgets what the interrupted one wrote.
pub struct TensorBoard {
    directory: PathBuf,
    file: Option<(PathBuf, File)>,
}

impl TensorBoard {
    /// Event files in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> TensorBoard {
        TensorBoard {
            directory: directory.into(),
            file: None,
        }
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let event = Event {
            wall_time: now(),
            step: step as i64,
            what: Some(what),
        };
        file.write_all(&record(&event.encode_to_vec()))
            .map_err(|e| failure(path, e))
    }

    fn scalars<'a>(
        &mut self,
        step: u64,
        scalars: impl Iterator<Item = (String, f64)> + 'a,
    ) -> Result<()> {
        let value = scalars.map(|(tag, number)| SummaryValue {
            tag,
            simple_value: Some(number as f32),
        });
        let summary = Summary {
            value: value.collect(),
        };
        self.write(step, What::Summary(summary))
    }
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// A message with its length and the checksums.
fn record(message: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| {
        let crc = crc32c::crc32c(bytes);
        crc.rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
    };
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), message, &masked(message)].concat()
}

/// A name that no other file of the directory has, of the form that TensorBoard looks for.
fn create(directory: &Path) -> std::io::Result<(PathBuf, File)> {
    std::fs::create_dir_all(directory)?;
    let seconds = now() as u64;
    for number in 0.. {
        let process = std::process::id();
        let name = format!("events.out.tfevents.{seconds:010}.wgrad.{process}.{number}");
        let path = directory.join(name);
        match File::create_new(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return Ok((path, made?)),
        }
    }
    unreachable!("some number is free")
}

fn tagged<'a>(prefix: &'a str, scores: &'a Scores) -> impl Iterator<Item = (String, f64)> + 'a {
    let numbers = scores.numbers();
    numbers.map(move |(name, number)| (format!("{prefix}{name}"), number))
}

impl Callback for TensorBoard {
    fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let made = create(&self.directory).map_err(|e| failure(&self.directory, e))?;
        self.file = Some(made);
        self.write(0, What::FileVersion("brain.Event:2".into()))?;
        if run.step > 0 {
            let starts = SessionLog { status: 1 };
            self.write(run.step + 1, What::SessionLog(starts))?;
        }
        Ok(())
    }

    fn step(&mut self, record: &StepRecord) -> Result<Control> {
        let lr = ("lr".to_string(), record.lr);
        self.scalars(record.step, tagged("", &record.scores).chain([lr]))?;
        Ok(Control::Continue)
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        self.scalars(record.step, tagged("train/", &record.train))?;
        if let Some(valid) = &record.valid {
            self.scalars(record.step, tagged("valid/", valid))?;
        }
        Ok(Control::Continue)
    }
}
