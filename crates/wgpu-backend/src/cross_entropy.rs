//! Softmax, and cross-entropy with its gradient, in one launch.
//!
//! Three forms of one text: a thread per row (few classes, and adapters that run on the CPU), a
//! workgroup per row that keeps the row in registers, and a workgroup per row that reads it three
//! times. All work on quads of four classes, take the maximum first, then the sum of
//! exponentials apart for the target and for the others: the target's gradient is minus the
//! probability of the others, since `p - 1` would cancel.

use std::fmt::Write;

use wgrad_core::{
    Arg, BufferSpec, DType, Error, Layout, Operand, Output, Program, Result, Shape, SoftmaxForm,
};

use crate::device::{LONGEST_WALK, Traits};
use crate::map;
use crate::operand::Access;
use crate::reduce::BLOCK;
use crate::source::{Convert, Generated, Slot, Source, indent, register};

/// The kernel, as the plan has it.
pub(crate) struct CrossEntropy<'a> {
    pub rows: usize,
    pub classes: usize,
    pub logits: &'a Operand,
    pub task: Task<'a>,
    pub weight: Option<&'a Operand>,
    pub loss: Option<&'a Output>,
    pub row_weight: Option<&'a Output>,
    pub grad: Option<&'a Output>,
}

/// What is done with the rows.
#[derive(Clone, Copy)]
pub(crate) enum Task<'a> {
    /// Cross-entropy with these classes.
    Targets(&'a Operand),
    /// `loss` takes logarithms of sums, `grad` softmax or its logarithm.
    Softmax(SoftmaxForm),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Thread,
    /// So many threads, each with so many quads.
    Registers(usize, usize),
    /// Quads that a thread takes in one round of its loop.
    Long(usize),
}

/// Classes up to which the sum of a row is one chain of additions.
const SHORT: usize = 4096;

/// Quads that a round of a loop takes at most: each is text that the driver compiles.
const MOST_ROUNDS: usize = 10;

/// Threads of a workgroup that shares a long row.
const LONG: usize = 256;

impl CrossEntropy<'_> {
    /// Rounds of a workgroup's loop that one round of its text does, so that the driver does not
    /// leave the three walks over a long row early.
    fn rounds(&self, traits: &Traits) -> usize {
        match traits.software {
            true => self.classes.div_ceil(LONG * 4 * (LONGEST_WALK / 4)),
            false => 1,
        }
    }

    fn choose(&self, traits: &Traits) -> Form {
        let quads = self.classes.div_ceil(4);
        // Three walks over the row, four elements a round.
        if self.classes <= 64 || (traits.software && self.classes <= LONGEST_WALK) {
            return Form::Thread;
        }
        if self.classes > 4096 {
            return Form::Long(self.rounds(traits));
        }
        let size = if quads <= 64 { 64 } else { 256 };
        Form::Registers(size, quads.div_ceil(size))
    }

    /// Makes the launches: one, and one more for each result that is stored in a packed type.
    pub fn generate(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        if self.rows == 0 || self.classes == 0 {
            return Ok(Vec::new());
        }
        // Rows of packed elements share words; such results go through f32.
        let mut later = Vec::new();
        let mut target = |output: Option<&Output>, count: usize| {
            output.map(|o| {
                if o.dtype == DType::F32 {
                    return Slot::Plan(o.buffer);
                }
                let bytes = (count * 4).next_multiple_of(256);
                let slot = Slot::Scratch {
                    offset: *scratch,
                    bytes,
                };
                *scratch += bytes;
                later.push((slot, *o, count));
                slot
            })
        };
        let loss = target(self.loss, self.rows);
        let row_weight = target(self.row_weight, self.rows);
        let grad = target(self.grad, self.rows * self.classes);
        let source = Source::new(traits, buffers);
        let form = self.choose(traits);
        if matches!(form, Form::Long(rounds) if rounds > MOST_ROUNDS) {
            return Err(Error::Device(format!(
                "rows of {} elements are too long for this driver's loops",
                self.classes
            )));
        }
        let mut launches = vec![self.launch(source, form, loss, row_weight, grad)?];
        for (slot, output, count) in later {
            let shape = Shape::from([count]);
            let input = Access {
                name: "x0".into(),
                slot,
                dtype: DType::F32,
                layout: Layout::contiguous(shape.clone()),
            };
            let program = Program {
                inputs: vec![DType::F32],
                outputs: vec![(Arg::Input(0), output.dtype)],
                ..Program::default()
            };
            let to = [(Slot::Plan(output.buffer), output.dtype)];
            let source = Source::new(traits, buffers);
            launches.extend(map::generate(source, &shape, &[input], &program, &to)?);
        }
        Ok(launches)
    }

    fn launch(
        &self,
        mut source: Source<'_>,
        form: Form,
        loss: Option<Slot>,
        row_weight: Option<Slot>,
        grad: Option<Slot>,
    ) -> Result<Generated> {
        self.declare_operands(&mut source)?;
        declare_results(&mut source, self.classes, loss, row_weight, grad);
        source.u32("rows", self.rows);
        source.u32("classes", self.classes);
        if matches!(self.task, Task::Targets(_)) {
            source.fault();
            source.scalar("ignore_index", 0, Convert::SaturateI32);
        }
        let mut body = String::new();
        let grouped = match form {
            Form::Thread => {
                body.push_str("let row = group_index * 64u + lane;\n");
                None
            }
            Form::Registers(size, _) => Some(size),
            Form::Long(_) => Some(LONG),
        };
        if let Some(size) = grouped {
            body.push_str("let row = group_index;\n");
            declare_trees(&mut source, size);
        }
        let first = match grouped {
            Some(_) => " && lane == 0u",
            None => "",
        };
        body.push_str("if row >= params.rows {\n    return;\n}\n");
        if let Task::Softmax(softmax) = self.task {
            let body = self.softmax(form, softmax, body);
            return Ok(self.finish(source, form, grouped, &body));
        }
        let _ = write!(
            body,
            "let target_class = target_of(row);\n\
             let ignored = target_class == params.ignore_index;\n\
             let inside = target_class >= 0 && target_class < i32(params.classes);\n\
             if !ignored && !inside{first} {{\n    \
                 report_fault(bitcast<u32>(target_class), select(0u, 0xffffffffu, TARGETS_SIGNED && target_class < 0));\n\
             }}\n\
             let chosen = u32(clamp(target_class, 0, i32(params.classes) - 1));\n\
             let weight = select(select(1.0, weight_of(chosen), inside), 0.0, ignored);\n\
             let counted = inside && !ignored;\n"
        );
        let mut body = self.peak(form, body);
        // Exponentials of all classes but the target.
        // The target's logit is read before the last barrier: the gradient may overwrite it.
        body.push_str("let own_logit = logit(row, chosen);\n");
        let mut body = self.sum_of_quads(
            form,
            body,
            "rest",
            "let other = (c < vec4<u32>(params.classes)) & (c != vec4<u32>(chosen));\n",
            "select(vec4<f32>(0.0), exp_f32(x - peak), other)",
        );
        body.push_str("var others = (rest.x + rest.y) + (rest.z + rest.w);\n");
        if grouped.is_some() {
            body.push_str("others = group_sum(lane, others);\n");
        }
        body.push_str(
            "let own = exp_f32(vec4<f32>(own_logit - peak)).x;\n\
             let total = others + own;\n",
        );
        let mut results = String::from(
            "// Where the target is the maximum, ln(1 + others) keeps small losses exact.\n\
             let log_total = select(ln_f32(vec4<f32>(total)), log1p_f32(vec4<f32>(others)), vec4<bool>(own_logit == peak)).x;\n\
             let value = weight * (log_total + (peak - own_logit));\n\
             let nothing = nan_f32(vec4<f32>(value)).x;\n\
             put_loss(row, select(select(nothing, value, inside), 0.0, ignored));\n\
             put_row_weight(row, weight);\n",
        );
        if grouped.is_some() {
            results = format!("if lane == 0u {{\n{}}}\n", indent(&results));
        }
        if loss.is_some() || row_weight.is_some() {
            body.push_str(&results);
        }
        if grad.is_some() {
            body.push_str("let scale = weight / total;\n");
            body = self.each_quad(
                form,
                body,
                false,
                "let slope = select(exp_f32(x - peak) * scale, vec4<f32>(-scale * others), c == vec4<u32>(chosen));\n\
                 put_grad(row, c.x, select(vec4<f32>(0.0), slope, counted));\n",
            );
        }
        Ok(self.finish(source, form, grouped, &body))
    }

    fn finish(
        &self,
        mut source: Source<'_>,
        form: Form,
        grouped: Option<usize>,
        body: &str,
    ) -> Generated {
        source.bytes = (self.rows * self.classes * 8) as f64;
        source.flops = (self.rows * self.classes * 60) as f64;
        let (size, groups) = match grouped {
            Some(size) => (size as u32, self.rows),
            None => (64, self.rows.div_ceil(64)),
        };
        let label = match self.task {
            Task::Targets(_) => "cross_entropy",
            Task::Softmax(_) => "softmax",
        };
        source.finish(label, &format!("{form:?}"), size, groups, body)
    }

    /// Appends the row's maximum, `peak`.
    fn peak(&self, form: Form, mut body: String) -> String {
        body.push_str("var top = vec4<f32>(logit(row, 0u));\n");
        let mut body = self.each_quad(form, body, true, "top = max(top, x);\n");
        body.push_str("var peak = max(max(top.x, top.y), max(top.z, top.w));\n");
        if form != Form::Thread {
            body.push_str("peak = group_max(lane, peak);\n");
        }
        body
    }

    /// Appends all of a softmax.
    fn softmax(&self, form: Form, softmax: SoftmaxForm, body: String) -> String {
        let mut body = self.peak(form, body);
        if softmax == SoftmaxForm::LogSumExp {
            body.push_str(
                "// What is infinite cannot be subtracted.\n\
                 peak = select(peak, 0.0, (bitcast<u32>(peak) & 0x7fffffffu) == 0x7f800000u);\n",
            );
        }
        let logs = softmax != SoftmaxForm::Softmax;
        let inside = "let inside = c < vec4<u32>(params.classes);\n";
        let (work, term) = if logs {
            // The largest are counted apart: their 1 would swallow a small rest. (An infinite one has
            // no exponential but NaN.)
            body.push_str(
                "let finite = (bitcast<u32>(peak) & 0x7fffffffu) < 0x7f800000u;\n\
                 var tops = vec4<f32>(0.0);\n",
            );
            (
                format!(
                    "{inside}let top = inside & (x == vec4<f32>(peak)) & vec4<bool>(finite);\n\
                     tops += select(vec4<f32>(0.0), vec4<f32>(1.0), top);\n"
                ),
                "select(vec4<f32>(0.0), exp_f32(x - peak), inside & !top)",
            )
        } else {
            (
                inside.to_string(),
                "select(vec4<f32>(0.0), exp_f32(x - peak), inside)",
            )
        };
        let mut body = self.sum_of_quads(form, body, "sums", &work, term);
        body.push_str("var total = (sums.x + sums.y) + (sums.z + sums.w);\n");
        if logs {
            body.push_str("var top_count = (tops.x + tops.y) + (tops.z + tops.w);\n");
        }
        if form != Form::Thread {
            body.push_str("total = group_sum(lane, total);\n");
            if logs {
                body.push_str("top_count = group_sum(lane, top_count);\n");
            }
        }
        if logs {
            body.push_str(
                "let log_total = select(ln_f32(vec4<f32>(total)), log1p_f32(vec4<f32>(total + (top_count - 1.0))), vec4<bool>(top_count > 0.0)).x;\n",
            );
        }
        let value = match softmax {
            SoftmaxForm::LogSumExp => {
                let put = "put_loss(row, log_total + peak);\n";
                body.push_str(&match form {
                    Form::Thread => put.to_string(),
                    _ => format!("if lane == 0u {{\n{}}}\n", indent(put)),
                });
                return body;
            }
            SoftmaxForm::Softmax => {
                body.push_str("let scale = 1.0 / total;\n");
                "exp_f32(x - peak) * scale"
            }
            SoftmaxForm::LogSoftmax => "(x - peak) - log_total",
        };
        self.each_quad(
            form,
            body,
            false,
            &format!("put_grad(row, c.x, {value});\n"),
        )
    }

    /// Appends the sum of `term` over the quads of classes as `name`; over many as a sum of sums of
    /// blocks, so that its error does not grow with their number.
    fn sum_of_quads(
        &self,
        form: Form,
        mut body: String,
        name: &str,
        work: &str,
        term: &str,
    ) -> String {
        let _ = writeln!(body, "var {name} = vec4<f32>(0.0);");
        if self.classes <= SHORT {
            return self.each_quad(form, body, false, &format!("{work}{name} += {term};\n"));
        }
        let _ = write!(
            body,
            "var {name}_block = vec4<f32>(0.0);\nvar steps = 0u;\n"
        );
        let work = format!(
            "{work}{name}_block += {term};\n\
             steps++;\n\
             if (steps & {}u) == 0u {{\n    \
                 {name} += {name}_block;\n    \
                 {name}_block = vec4<f32>(0.0);\n}}\n",
            BLOCK - 1
        );
        let mut body = self.each_quad(form, body, false, &work);
        let _ = writeln!(body, "{name} += {name}_block;");
        body
    }

    /// Appends `work` for each quad of classes: `x` are its logits (the last class repeated
    /// beyond the end), `c` the classes. `loads` is set for the first of several such loops: in
    /// the register form, it is the one that reads.
    fn each_quad(&self, form: Form, mut body: String, loads: bool, work: &str) -> String {
        const CLASSES: &str = "let c = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u);\n";
        match form {
            Form::Registers(size, quads) => {
                for q in 0..quads {
                    if loads {
                        let _ = write!(
                            body,
                            "let at{q} = (lane + {}u) * 4u;\nlet x{q} = logits4(row, at{q});\n",
                            q * size
                        );
                    }
                    let _ = write!(
                        body,
                        "if at{q} < params.classes {{\n    let at = at{q};\n    let x = x{q};\n{}}}\n",
                        indent(&format!("{CLASSES}{work}"))
                    );
                }
            }
            Form::Long(rounds) if rounds > 1 => {
                let step = LONG * 4;
                let mut quads = String::new();
                for r in 0..rounds {
                    let _ = write!(
                        quads,
                        "if first + {0}u < params.classes {{\n    \
                             let at = first + {0}u;\n    \
                             let x = logits4(row, at);\n{1}}}\n",
                        r * step,
                        indent(&format!("{CLASSES}{work}"))
                    );
                }
                let _ = write!(
                    body,
                    "for (var first = lane * 4u; first < params.classes; first += {}u) {{\n{}}}\n",
                    rounds * step,
                    indent(&quads)
                );
            }
            Form::Thread | Form::Long(_) => {
                let (from, step) = match form {
                    Form::Long(_) => ("lane * 4u", LONG * 4),
                    _ => ("0u", 4),
                };
                let _ = write!(
                    body,
                    "for (var at = {from}; at < params.classes; at += {step}u) {{\n    \
                         let x = logits4(row, at);\n{}}}\n",
                    indent(&format!("{CLASSES}{work}"))
                );
            }
        }
        body
    }

    fn declare_operands(&self, source: &mut Source<'_>) -> Result<()> {
        let logits = &self.logits.layout;
        let [row, class] = match logits.strides[..] {
            [row, class] => [row, class],
            _ => {
                return Err(Error::Device(
                    "logits of cross-entropy have two dimensions".into(),
                ));
            }
        };
        let vectors = class == 1 && row % 4 == 0 && logits.offset.is_multiple_of(4);
        let slot = Slot::Plan(self.logits.buffer);
        source.input("logits", slot, self.logits.dtype, vectors);
        let begin = source.u32("logits_start", logits.offset);
        let rows = source.stride("logits_row", row);
        let step = if class == 1 {
            String::new()
        } else {
            format!(" * {}", source.stride("logits_class", class))
        };
        let quad = if vectors {
            "return load4_logits(base + at);".to_string()
        } else {
            format!(
                "let c = min(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.classes - 1u)){step} + base;\n    \
                 return vec4<f32>(load_logits(c.x), load_logits(c.y), load_logits(c.z), load_logits(c.w));"
            )
        };
        // What a whole vector holds beyond the last class must not become the maximum.
        let quad = if vectors && !self.classes.is_multiple_of(4) {
            "let live = vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.classes);\n    \
             let x = load4_logits(base + at);\n    \
             return select(vec4<f32>(x.x), x, live);"
                .to_string()
        } else {
            quad
        };
        source.declare(&format!(
            "fn logit(row: u32, c: u32) -> f32 {{\n    return load_logits({begin} + row * {rows} + c{step});\n}}\n\n\
             fn logits4(row: u32, at: u32) -> vec4<f32> {{\n    let base = {begin} + row * {rows};\n    {quad}\n}}\n"
        ));
        let Task::Targets(targets) = self.task else {
            return Ok(());
        };
        source.input("targets", Slot::Plan(targets.buffer), targets.dtype, false);
        let begin = source.u32("targets_start", targets.layout.offset);
        let stride = targets.layout.strides.first().copied().unwrap_or(0);
        let step = source.stride("targets_row", stride);
        let signed = register(targets.dtype) == "i32";
        let value = format!("load_targets({begin} + row * {step})");
        let value = match register(targets.dtype) {
            "i32" => value,
            "bool" => format!("select(0, 1, {value})"),
            // What does not fit becomes a negative number, which is outside as well.
            _ => format!("bitcast<i32>({value})"),
        };
        source.declare(&format!(
            "const TARGETS_SIGNED = {signed};\n\nfn target_of(row: u32) -> i32 {{\n    return {value};\n}}\n"
        ));
        let weight = match self.weight {
            Some(weight) => {
                source.input("weight", Slot::Plan(weight.buffer), weight.dtype, false);
                let begin = source.u32("weight_start", weight.layout.offset);
                let stride = weight.layout.strides.first().copied().unwrap_or(0);
                let step = source.stride("weight_class", stride);
                format!("load_weight({begin} + c * {step})")
            }
            None => "1.0".into(),
        };
        source.declare(&format!(
            "fn weight_of(c: u32) -> f32 {{\n    return {weight};\n}}\n"
        ));
        Ok(())
    }
}

/// Declares `put_loss`, `put_row_weight` and `put_grad`; empty where the result is not wanted.
fn declare_results(
    source: &mut Source<'_>,
    classes: usize,
    loss: Option<Slot>,
    row_weight: Option<Slot>,
    grad: Option<Slot>,
) {
    for (name, slot) in [("loss", loss), ("row_weight", row_weight)] {
        let store = match slot {
            Some(slot) => {
                source.output(name, slot, DType::F32, false);
                format!("    store_{name}(row, value);\n")
            }
            None => String::new(),
        };
        source.declare(&format!(
            "fn put_{name}(row: u32, value: f32) {{\n{store}}}\n"
        ));
    }
    let Some(slot) = grad else { return };
    let whole = classes.is_multiple_of(4);
    source.output("grad", slot, DType::F32, whole);
    let mut store = String::from("    let to = row * params.classes + c;\n");
    if whole {
        store.push_str("    store4_grad(to, value);\n");
    } else {
        store.push_str("    store_grad(to, value.x);\n");
        for (i, lane) in [(1, "y"), (2, "z"), (3, "w")] {
            let _ = write!(
                store,
                "    if c + {i}u < params.classes {{\n        store_grad(to + {i}u, value.{lane});\n    }}\n"
            );
        }
    }
    source.declare(&format!(
        "fn put_grad(row: u32, c: u32, value: vec4<f32>) {{\n{store}}}\n"
    ));
}

/// Declares `group_max` and `group_sum` over a workgroup.
fn declare_trees(source: &mut Source<'_>, size: usize) {
    source.declare(&format!("var<workgroup> shared_row: array<f32, {size}>;\n"));
    for (name, merge) in [
        ("max", "max(shared_row[lane], shared_row[lane + width])"),
        ("sum", "shared_row[lane] + shared_row[lane + width]"),
    ] {
        source.declare(&format!(
            "fn group_{name}(lane: u32, value: f32) -> f32 {{\n    \
                 shared_row[lane] = value;\n    \
                 workgroupBarrier();\n    \
                 for (var width = {}u; width > 0u; width >>= 1u) {{\n        \
                     if lane < width {{\n            \
                         shared_row[lane] = {merge};\n        \
                     }}\n        \
                     workgroupBarrier();\n    \
                 }}\n    \
                 let result = shared_row[0];\n    \
                 workgroupBarrier();\n    \
                 return result;\n}}\n",
            size / 2
        ));
    }
}
