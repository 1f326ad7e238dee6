//! A log as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};
use wgrad_core::{Error, Result};

use crate::callback::{Callback, Control, Run};
use crate::checkpoint::failure;
use crate::metric::Value;
use crate::number;
use crate::record::{EpochRecord, Scores, StepRecord};

/// Writes a line of JSON per logged step and per epoch:
///
/// ```json
/// {"kind":"step","epoch":1,"step":50,"lr":0.001,"loss":0.61,"accuracy":0.83}
/// {"kind":"epoch","epoch":1,"step":63,"lr":0.001,"seconds":1.2,"train":{"loss":0.57},"valid":{"loss":0.41}}
/// ```
///
/// A resumed training takes back what was written after its checkpoint, so that the file tells of each step once.
pub struct JsonLines {
    path: PathBuf,
    file: Option<File>,
    /// How long the file was when the checkpoint was written.
    length: u64,
}

impl JsonLines {
    /// A log in this file, which a new training begins anew.
    pub fn new(path: impl Into<PathBuf>) -> JsonLines {
        JsonLines {
            path: path.into(),
            file: None,
            length: 0,
        }
    }

    fn write(&mut self, line: Map<String, Json>) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        // Map to line in one write: a reader at the other end never sees half of one.
        let mut text = Json::Object(line).to_string();
        text.push('\n');
        file.write_all(text.as_bytes())
            .map_err(|e| failure(&self.path, e))?;
        self.length += text.len() as u64;
        Ok(())
    }
}

fn numbers(scores: &Scores) -> Map<String, Json> {
    let each = scores.0.iter();
    each.map(|(name, value)| {
        let value = match value {
            Value::Number(n) => number(*n),
            Value::Matrix(rows) => json!(rows),
        };
        (name.clone(), value)
    })
    .collect()
}

fn number(n: f64) -> Json {
    number::serialize(&n, serde_json::value::Serializer).unwrap_or(Json::Null)
}

impl Callback for JsonLines {
    fn begin(&mut self, _run: &Run<'_>) -> Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let open = || -> std::io::Result<(File, u64)> {
            if let Some(parent) = self.path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .create(true)
                .truncate(false)
                .write(true)
                .open(&self.path)?;
            let length = self.length.min(file.metadata()?.len());
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|e| failure(&self.path, e))?;
        self.file = Some(file);
        self.length = length;
        Ok(())
    }

    fn step(&mut self, record: &StepRecord) -> Result<Control> {
        let mut line = numbers(&record.scores);
        line.insert("kind".into(), json!("step"));
        line.insert("epoch".into(), json!(record.epoch));
        line.insert("step".into(), json!(record.step));
        line.insert("lr".into(), number(record.lr));
        self.write(line)?;
        Ok(Control::Continue)
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        let mut line = Map::new();
        line.insert("kind".into(), json!("epoch"));
        line.insert("epoch".into(), json!(record.epoch));
        line.insert("step".into(), json!(record.step));
        line.insert("lr".into(), number(record.lr));
        line.insert("seconds".into(), number(record.seconds));
        line.insert("train".into(), Json::Object(numbers(&record.train)));
        if let Some(valid) = &record.valid {
            line.insert("valid".into(), Json::Object(numbers(valid)));
        }
        self.write(line)?;
        Ok(Control::Continue)
    }

    fn state(&self) -> String {
        // What the checkpoint says is written must be on the disk before it; if this fails the lines may be lost with
        // a power cut, and then they are few.
        if let Some(file) = &self.file {
            let _ = file.sync_data();
        }
        self.length.to_string()
    }

    fn set_state(&mut self, state: &str) -> Result<()> {
        self.length = state
            .parse()
            .map_err(|_| Error::Load(format!("the length of {}: {state}", self.path.display())))?;
        Ok(())
    }
}
