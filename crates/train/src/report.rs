//! A report of a training: one HTML page that needs no network.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{Environment, value::Serde};
use serde::Serialize;
use wgrad_core::{DType, Error, Result, Tensor};

use crate::callback::{Callback, Control, Run, Samples};
use crate::chart::Chart;
use crate::metric::Value;
use crate::picture::{Picture, replace};
use crate::progress::{columns, short};
use crate::record::{EpochRecord, Fit, StepRecord, Stop};

const TEMPLATE: &str = include_str!("report/report.html");
/// So many validation examples are shown.
const SAMPLES: usize = 24;

/// Writes a page with curves, the confusion matrix (of a [`ConfusionMatrix`](crate::ConfusionMatrix) metric), some of
/// the images for validation with what the model takes them for, the epochs, the model and the machine. It is written
/// after each epoch and at the end, and opens in any browser without a network.
pub struct Report {
    path: PathBuf,
    title: String,
    /// Facts of the run that begin knows.
    device: String,
    model: String,
    parameters: usize,
    epochs: Vec<EpochRecord>,
    steps: Vec<StepLoss>,
}

/// The loss and the learning rate of a logged step.
#[derive(Clone, Copy, Serialize, serde::Deserialize)]
struct StepLoss {
    step: u64,
    #[serde(with = "crate::number")]
    loss: f64,
    #[serde(with = "crate::number")]
    lr: f64,
}

/// What the template is filled in with.
#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    facts: Vec<(&'a str, String)>,
    curves: Vec<String>,
    matrix: Option<Vec<Vec<Cell>>>,
    samples: &'a [Sample],
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    model: &'a str,
    machine: String,
}

#[derive(Serialize)]
struct Cell {
    count: u64,
    /// Of the row, from 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct Sample {
    png: String,
    caption: String,
    wrong: bool,
}

impl Report {
    /// A report in this file.
    pub fn new(path: impl Into<PathBuf>) -> Report {
        Report {
            path: path.into(),
            title: "Training report".into(),
            device: String::new(),
            model: String::new(),
            parameters: 0,
            epochs: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// What the page is called.
    pub fn title(mut self, title: impl Into<String>) -> Report {
        self.title = title.into();
        self
    }

    fn curves(&self) -> Result<Vec<String>> {
        let by_epoch = curves(&self.epochs).into_iter();
        let mut charts: Vec<Chart> = by_epoch.map(|(_, chart)| chart).collect();
        if !self.steps.is_empty() {
            let of = |pick: fn(&StepLoss) -> f64| {
                let each = self.steps.iter();
                each.map(move |step| (step.step as f64, pick(step)))
            };
            let loss = Chart::new("loss by step").labels("step", "");
            charts.push(loss.line("", of(|step| step.loss)));
            let lr = Chart::new("learning rate").labels("step", "");
            charts.push(lr.line("", of(|step| step.lr)));
        }
        charts.iter().map(Chart::to_svg).collect()
    }

    /// The last confusion matrix, with each cell's share of its row.
    fn matrix(&self) -> Option<Vec<Vec<Cell>>> {
        let last = self.epochs.last()?;
        let scores = last.valid.as_ref().unwrap_or(&last.train);
        let mut values = scores.0.iter().map(|(_, value)| value);
        let rows = values.find_map(|value| match value {
            Value::Matrix(rows) => Some(rows),
            Value::Number(_) => None,
        })?;
        let cells = |row: &Vec<u64>| {
            let all = row.iter().sum::<u64>().max(1) as f64;
            let cell = |&count: &u64| Cell {
                count,
                share: (count as f64 / all * 1000.0).round() / 1000.0,
            };
            row.iter().map(cell).collect()
        };
        Some(rows.iter().map(cells).collect())
    }

    fn write(&self, samples: &[Sample], ended: Option<Stop>) -> Result<()> {
        let failed = |problem: String| Error::File {
            path: self.path.display().to_string(),
            problem,
        };
        let seconds: f64 = self.epochs.iter().map(|record| record.seconds).sum();
        let state = match ended {
            None => "running",
            Some(Stop::Finished) => "finished",
            Some(Stop::Early) => "stopped early",
            Some(Stop::Interrupted) => "interrupted",
        };
        let mut facts = vec![
            ("state", state.to_string()),
            ("parameters", self.parameters.to_string()),
            ("device", self.device.clone()),
            ("time", format!("{seconds:.1} s")),
        ];
        if let Some(last) = self.epochs.last() {
            facts.push(("steps", last.step.to_string()));
            let scores = last.valid.as_ref().unwrap_or(&last.train);
            for (name, number) in scores.numbers() {
                facts.push((name, short(number)));
            }
        }
        let table: Vec<_> = self.epochs.iter().map(columns).collect();
        let heads = table
            .last()
            .map(|row| row.iter().map(|c| c.0.clone()).collect());
        let rows: Vec<Vec<String>> = table
            .into_iter()
            .map(|row| row.into_iter().map(|column| column.1).collect())
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
        let machine = format!(
            "wgrad {}, {} {}, {cores} CPU cores",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
        );
        let mut environment = Environment::new();
        // The name's ending makes what is filled in safe HTML.
        environment
            .add_template("report.html", TEMPLATE)
            .map_err(|e| failed(e.to_string()))?;
        let curves = self.curves()?;
        let page = environment
            .get_template("report.html")
            .and_then(|template| {
                template.render(Serde(Page {
                    title: &self.title,
                    facts,
                    curves,
                    matrix: self.matrix(),
                    samples,
                    heads: heads.unwrap_or_default(),
                    rows,
                    model: &self.model,
                    machine,
                }))
            })
            .map_err(|e| failed(e.to_string()))?;
        replace(&self.path, page.as_bytes())
    }
}

/// Pictures of image inputs with what they were taken for; none where the inputs are no images.
fn pictures(samples: &Samples) -> Result<Vec<Sample>> {
    let shape = samples.input.shape()?;
    let &[n, 1 | 3, height @ 1..=512, 1..=512] = shape.dims() else {
        return Ok(Vec::new());
    };
    let input = samples.input.to_dtype(DType::F32);
    let (low, high) = (input.amin([], false), input.amax([], false));
    let bounds = (
        f64::from(low.item::<f32>()?),
        f64::from(high.item::<f32>()?),
    );
    let predictions = samples.prediction.shape()?;
    let classes = |tensor: &Tensor| tensor.to_dtype(DType::I32).to_vec::<i32>();
    let captions: Vec<(String, bool)> = match predictions.dims() {
        // Scores of classes.
        &[_, scores] if scores > 1 && samples.target.shape()?.dims() == [n] => {
            let taken = classes(&samples.prediction.argmax(1, false))?;
            let truth = classes(&samples.target)?;
            let each = taken.iter().zip(&truth);
            each.map(|(taken, truth)| match taken == truth {
                true => (format!("{truth}"), false),
                false => (format!("{truth}, taken for {taken}"), true),
            })
            .collect()
        }
        _ => vec![(String::new(), false); n],
    };
    let mut made = Vec::new();
    for (i, (caption, wrong)) in captions.into_iter().enumerate() {
        let image = input.narrow(0, i, 1);
        let scale = (64 / height).max(1);
        let png = Picture::grid(&image, 1, scale, bounds)?.to_png();
        let png = png.map_err(|e| Error::File {
            path: "report".into(),
            problem: e.to_string(),
        })?;
        made.push(Sample {
            png: STANDARD.encode(png),
            caption,
            wrong,
        });
    }
    Ok(made)
}

impl Callback for Report {
    fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        self.device = run.device.name().to_string();
        self.model = run.model.to_string();
        self.parameters = run.parameters;
        self.epochs = run.history.to_vec();
        Ok(())
    }

    fn step(&mut self, record: &StepRecord) -> Result<Control> {
        self.steps.push(StepLoss {
            step: record.step,
            loss: record.scores.loss(),
            lr: record.lr,
        });
        Ok(Control::Continue)
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        self.epochs.push(record.clone());
        self.write(&[], None)?;
        Ok(Control::Continue)
    }

    fn samples(&self) -> usize {
        SAMPLES
    }

    fn end(&mut self, fit: &Fit, samples: Option<&Samples>) -> Result<()> {
        let samples = samples.map(pictures).transpose()?;
        self.write(&samples.unwrap_or_default(), Some(fit.stop))
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.steps).unwrap_or_default()
    }

    fn set_state(&mut self, state: &str) -> Result<()> {
        let steps = serde_json::from_str(state);
        self.steps = steps.map_err(|e| Error::Load(format!("the report's steps: {e}")))?;
        Ok(())
    }
}

/// Draws the curves of losses and metrics as PNG files into a directory, after each epoch: `loss.png` and one per
/// metric.
pub struct Curves {
    directory: PathBuf,
    epochs: Vec<EpochRecord>,
}

impl Curves {
    /// Pictures in this directory.
    pub fn new(directory: impl Into<PathBuf>) -> Curves {
        Curves {
            directory: directory.into(),
            epochs: Vec::new(),
        }
    }
}

impl Callback for Curves {
    fn begin(&mut self, run: &Run<'_>) -> Result<()> {
        self.epochs = run.history.to_vec();
        Ok(())
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<Control> {
        self.epochs.push(record.clone());
        for (name, chart) in curves(&self.epochs) {
            let name = name.replace([' ', '/', '\\'], "-");
            chart.save_png(self.directory.join(format!("{name}.png")))?;
        }
        Ok(Control::Continue)
    }
}

/// A chart of each number over the epochs.
fn curves(epochs: &[EpochRecord]) -> Vec<(String, Chart)> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in epochs.iter().flat_map(|record| record.train.numbers()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let points = |pick: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        let each = epochs.iter();
        each.filter_map(|record| Some((record.epoch as f64, pick(record)?)))
            .collect()
    };
    let chart = |name: &str| {
        let mut chart = Chart::new(name).labels("epoch", "");
        chart = chart.line("training", points(&|record| record.train.get(name)));
        let valid = points(&|record| record.valid.as_ref()?.get(name));
        if !valid.is_empty() {
            chart = chart.line("validation", valid);
        }
        (name.to_string(), chart)
    };
    names.into_iter().map(chart).collect()
}
