//! What kernels a piece of a program ran, and how long each took.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::time::Duration;

use crate::tensor::device::Device;

/// One kernel that ran (or copy, on the CPU).
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    /// What it was: the kind of kernel and its sizes.
    pub name: String,
    /// When it began, from the device's first one on.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
}

/// The record of [`Device::profile`]. Prints as a table, longest first.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// The device's name.
    pub device: String,
    /// Everything that ran, in order.
    pub spans: Vec<Span>,
    /// The time from beginning to end, recording and waiting included.
    pub elapsed: Duration,
    /// Operations that have no kernel on the device and ran as their references, and how often.
    pub references: Vec<(String, u64)>,
}

impl Device {
    /// Runs `f` and what this thread recorded, and times every kernel: by the GPU's own clock
    /// (timestamp queries), or the wall clock on the CPU. Work of other threads on this device is
    /// recorded too. Slower than a plain run: on a GPU each kernel gets a pass of its own.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([64, 64], &dev);
    /// let (sum, profile) = dev.profile(|| x.matmul(&x).relu().sum().item::<f32>())?;
    /// println!("{profile}");
    /// let trace = profile.chrome_trace(); // for chrome://tracing, ui.perfetto.dev
    /// assert_eq!(sum?, 64.0 * 64.0 * 64.0);
    /// assert!(trace.contains("traceEvents"));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// What a run can fail with, and [`Error::Device`](crate::Error::Device) where the device has
    /// no clock that it lets us read.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn profile<T>(&self, f: impl FnOnce() -> T) -> crate::types::error::Result<(T, Profile)> {
        /// Ends the recording, panics included.
        struct Recording<'a>(&'a dyn crate::kernel::backend::Backend);
        impl Drop for Recording<'_> {
            fn drop(&mut self) {
                let _ = self.0.end_profile();
            }
        }
        self.synchronize()?;
        let open = self.open()?;
        let backend = &*open.backend;
        let before = open.references();
        backend.begin_profile()?;
        let recording = Recording(backend);
        let clock = std::time::Instant::now();
        let result = f();
        self.synchronize()?;
        let elapsed = clock.elapsed();
        let spans = backend.end_profile()?;
        std::mem::forget(recording);
        Ok((
            result,
            Profile {
                device: self.name().to_string(),
                spans,
                elapsed,
                references: open
                    .references()
                    .into_iter()
                    .map(|(name, n)| (name.to_string(), n - before.get(name).unwrap_or(&0)))
                    .filter(|(_, n)| *n > 0)
                    .collect(),
            },
        ))
    }
}

impl Profile {
    /// The time that the device was busy.
    pub fn busy(&self) -> Duration {
        self.spans.iter().map(|s| s.time).sum()
    }

    /// The record in Chrome's trace event format, which `chrome://tracing` and
    /// <https://ui.perfetto.dev> draw on a time line.
    pub fn chrome_trace(&self) -> String {
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        let mut json = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
        let _ = write!(
            json,
            "{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{{\"name\":{}}}}}",
            quoted(&self.device)
        );
        for span in &self.spans {
            let _ = write!(
                json,
                ",\n{{\"name\":{},\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{:.3},\"dur\":{:.3}}}",
                quoted(&span.name),
                micros(span.start),
                micros(span.time)
            );
        }
        json.push_str("\n]}\n");
        json
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut totals: HashMap<&str, (usize, Duration)> = HashMap::new();
        for span in &self.spans {
            let (count, time) = totals.entry(&span.name).or_default();
            *count += 1;
            *time += span.time;
        }
        let mut rows: Vec<(&str, (usize, Duration))> = totals.into_iter().collect();
        rows.sort_by(|(a, (_, s)), (b, (_, t))| t.cmp(s).then(a.cmp(b)));
        let busy = self.busy();
        let share = |time: Duration| 100.0 * time.as_secs_f64() / busy.as_secs_f64().max(1e-12);
        writeln!(
            f,
            "{:>12} {:>6} {:>12} {:>6}  kernel",
            "total ms", "times", "mean us", "share"
        )?;
        for (name, (count, time)) in rows {
            writeln!(
                f,
                "{:>12.3} {count:>6} {:>12.2} {:>5.1}%  {name}",
                time.as_secs_f64() * 1e3,
                time.as_secs_f64() * 1e6 / count as f64,
                share(time)
            )?;
        }
        for (name, times) in &self.references {
            writeln!(
                f,
                "{name} has no kernel on this device: {times} ran as the reference"
            )?;
        }
        write!(
            f,
            "{}: busy {:.3} ms of {:.3} ms, {} kernels",
            self.device,
            busy.as_secs_f64() * 1e3,
            self.elapsed.as_secs_f64() * 1e3,
            self.spans.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, start: u64, time: u64) -> Span {
        Span {
            name: name.into(),
            start: Duration::from_micros(start),
            time: Duration::from_micros(time),
        }
    }

    #[test]
    fn the_table_adds_up_and_the_trace_is_json() {
        let profile = Profile {
            device: "a \"GPU\"".into(),
            spans: vec![
                span("map 8", 0, 10),
                span("matmul", 10, 60),
                span("map 8", 70, 30),
            ],
            elapsed: Duration::from_millis(1),
            references: vec![("wave".into(), 2)],
        };
        assert_eq!(profile.busy(), Duration::from_micros(100));
        let table = profile.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].ends_with("60.0%  matmul"), "{table}");
        assert!(
            lines[2].contains("     2") && lines[2].ends_with("40.0%  map 8"),
            "{table}"
        );
        assert!(
            table.contains("wave has no kernel on this device: 2 ran"),
            "{table}"
        );
        let trace = profile.chrome_trace();
        assert!(trace.contains(r#""args":{"name":"a \"GPU\""}"#), "{trace}");
        assert!(
            trace.contains(r#"{"name":"map 8","ph":"X","pid":1,"tid":1,"ts":70.000,"dur":30.000}"#)
        );
    }
}
