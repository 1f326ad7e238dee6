//! Timing, and the lines that are printed.

use std::time::Instant;

use serde::Serialize;
use wgrad::{Device, Result, Stats, Tensor};
pub use wgrad_bench::ceilings::Work;

/// Repetitions stop after so many seconds ...
const MOST_SECONDS: f64 = 3.0;
/// ... or so many of them ...
const MOST_REPETITIONS: usize = 30;
/// ... but not before so many.
const LEAST_REPETITIONS: usize = 3;
/// Calls before the first that is timed, the cold one included.
const WARM_UP: usize = 3;

/// What a repetition cost the device.
#[derive(Serialize)]
pub struct Cost {
    launches: u64,
    copies: u64,
    clears: u64,
    submits: u64,
    uploads: u64,
    reads: u64,
    pipelines: u64,
    bind_groups: u64,
    allocations: u64,
    plans: u64,
}

impl Cost {
    fn between(before: Stats, after: Stats) -> Cost {
        Cost {
            launches: after.launches - before.launches,
            copies: after.copies - before.copies,
            clears: after.clears - before.clears,
            submits: after.submits - before.submits,
            uploads: after.uploads - before.uploads,
            reads: after.reads - before.reads,
            pipelines: after.pipelines - before.pipelines,
            bind_groups: after.bind_groups - before.bind_groups,
            allocations: after.allocations - before.allocations,
            plans: after.plan_misses - before.plan_misses,
        }
    }
}

/// What is printed for a case.
#[derive(Serialize, Default)]
pub struct Line<'a> {
    /// Whose figures these are.
    pub peer: &'a str,
    /// The case.
    pub case: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_rep: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check2: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_step: Option<usize>,
    /// Cost of one steady repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A step of a training: with `true` it returns the loss, read back.
pub type Step<'a> = dyn FnMut(bool) -> Result<f64> + 'a;

/// How a training is measured.
#[derive(Clone, Copy)]
pub struct Schedule {
    /// The loss of this step, from the initial weights, is the check.
    pub check_step: usize,
    /// Steps of a repetition.
    pub per_repetition: usize,
    /// Whether the loss is read after every step, not only at the end of a repetition.
    pub read_each: bool,
}

/// A device under test.
pub struct Bench {
    /// The device.
    pub dev: Device,
    peer: &'static str,
    /// Whether each case only runs once, untimed and unprinted.
    once: bool,
    /// Whether a table of the kernels of one more repetition goes to the standard error.
    pub profile: bool,
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// Times of repetitions in ascending order, and the cost of the last.
fn repeat(dev: &Device, mut f: impl FnMut() -> Result<()>) -> Result<(Vec<f64>, Cost)> {
    let mut times = Vec::new();
    let start = Instant::now();
    let more = |done: usize| {
        done < LEAST_REPETITIONS
            || (done < MOST_REPETITIONS && start.elapsed().as_secs_f64() < MOST_SECONDS)
    };
    let mut before = dev.stats();
    while more(times.len()) {
        before = dev.stats();
        let t = Instant::now();
        f()?;
        times.push(milliseconds(t));
    }
    let cost = Cost::between(before, dev.stats());
    times.sort_by(f64::total_cmp);
    Ok((times, cost))
}

impl Bench {
    /// A bench of this device.
    pub fn new(dev: Device) -> Bench {
        let peer = if dev.is_cpu() {
            "wgrad-cpu"
        } else {
            "wgrad-wgpu"
        };
        Bench {
            dev,
            peer,
            once: false,
            profile: false,
        }
    }

    /// A bench that runs each case once and prints nothing but errors.
    pub fn once(dev: Device) -> Bench {
        Bench {
            once: true,
            ..Bench::new(dev)
        }
    }

    /// Multiplies for a second where this is the CPU, so that the first case finds its clocks and threads as they are in
    /// a program that has been at work for a while. (What Python's frameworks import does that for them.)
    pub fn wake(&self) -> Result<()> {
        let start = Instant::now();
        let x = Tensor::ones([256, 256], &self.dev);
        while self.dev.is_cpu() && !self.once && start.elapsed().as_secs_f64() < 1.0 {
            let _product = x.matmul(&x).checked()?;
            self.dev.synchronize()?;
        }
        Ok(())
    }

    /// Prints a line.
    pub fn print(&self, line: Line<'_>) {
        if self.once && line.error.is_none() {
            return;
        }
        let line = Line {
            peer: self.peer,
            ..line
        };
        match serde_json::to_string(&line) {
            Ok(text) => println!("{text}"),
            Err(problem) => eprintln!("{}: {problem}", line.case),
        }
    }

    /// Prints why a case did not run.
    pub fn error(&self, case: &str, problem: &str) {
        self.print(Line {
            case,
            error: Some(problem.chars().take(300).collect()),
            ..Line::default()
        });
    }

    /// The kernels of a repetition, where they are wanted.
    fn show_kernels(&self, case: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.profile {
            let (done, profile) = self.dev.profile(f)?;
            done?;
            eprintln!("{case}\n{profile}");
        }
        Ok(())
    }

    /// Waits for the device.
    pub fn wait(&self) -> Result<()> {
        self.dev.synchronize()
    }

    /// Measures `f`, whose work is done when it returns; `check` looks at the first result.
    pub fn measure<T>(
        &self,
        case: &str,
        work: Work,
        mut f: impl FnMut() -> Result<T>,
        check: impl FnOnce(T) -> Result<(f64, Option<f64>)>,
    ) -> Result<()> {
        self.wait()?;
        let t = Instant::now();
        let first = f()?;
        let first_ms = milliseconds(t);
        if self.once {
            return Ok(());
        }
        let (value, second) = check(first)?;
        for _ in 1..WARM_UP {
            f()?;
        }
        let (times, cost) = repeat(&self.dev, || f().map(drop))?;
        self.show_kernels(case, || f().map(drop))?;
        let median_ms = median(&times);
        let rate = |n: usize| Some(n as f64 / median_ms / 1e6);
        self.print(Line {
            case,
            median_ms: Some(median_ms),
            min_ms: Some(times[0]),
            reps: Some(times.len()),
            first_ms: Some(first_ms),
            gflops: match work {
                Work::Flops(n) => rate(n),
                _ => None,
            },
            gbps: match work {
                Work::Bytes(n) => rate(n),
                _ => None,
            },
            check: Some(value),
            check2: second,
            cost: Some(cost),
            ..Line::default()
        });
        Ok(())
    }

    /// Measures a training; times are per step.
    pub fn train(&self, case: &str, schedule: Schedule, step: &mut Step<'_>) -> Result<()> {
        let line = self.train_line(case, schedule, step)?;
        self.print(line);
        Ok(())
    }

    /// As [`Bench::train`], but prints nothing.
    pub fn train_line<'a>(
        &self,
        case: &'a str,
        schedule: Schedule,
        step: &mut Step<'_>,
    ) -> Result<Line<'a>> {
        self.wait()?;
        let steps = schedule.per_repetition;
        let t = Instant::now();
        let mut loss = step(true)?;
        let first_ms = milliseconds(t);
        if self.once {
            return Ok(Line {
                case,
                ..Line::default()
            });
        }
        for _ in 1..schedule.check_step {
            loss = step(true)?;
        }
        let mut repetition = || -> Result<()> {
            for i in 1..=steps {
                step(schedule.read_each || i == steps)?;
            }
            Ok(())
        };
        // Steps that are not read back may be other programs than those that are.
        repetition()?;
        let (times, cost) = repeat(&self.dev, repetition)?;
        self.show_kernels(case, || step(true).map(drop))?;
        Ok(Line {
            case,
            median_ms: Some(median(&times) / steps as f64),
            min_ms: Some(times[0] / steps as f64),
            reps: Some(times.len()),
            steps_per_rep: Some(steps),
            first_ms: Some(first_ms),
            check: Some(loss),
            check_step: Some(schedule.check_step),
            cost: Some(cost),
            ..Line::default()
        })
    }
}
