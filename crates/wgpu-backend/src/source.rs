//! A kernel under construction: its bindings, parameters and text.
//!
//! Whatever may differ between two launches of one structure goes through [`Source::u32`] or
//! [`Source::scalar`], which put the value into the parameters and return the expression that
//! reads it; so text and values cannot drift apart.

mod accessors;
mod places;

use std::fmt::Write;
use std::sync::Arc;

use wgrad_core::{BufferSpec, DType, Result};
use wgrad_shaders::{Rendering, Value};

use crate::device::Traits;
use crate::pipeline::{Interface, ParamsAs};

/// What a binding refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    /// A buffer of the plan.
    Plan(usize),
    /// A part of the executable's own buffer for intermediate results, at a byte offset.
    Scratch { offset: usize, bytes: usize },
    /// The fault word.
    Fault,
}

/// The scalar type of storage or of a register, as WGSL names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    F32,
    I32,
    U32,
}

impl Word {
    pub fn name(self) -> &'static str {
        match self {
            Word::F32 => "f32",
            Word::I32 => "i32",
            Word::U32 => "u32",
        }
    }
}

/// The WGSL type of a register that holds values of `dtype`.
pub(crate) fn register(dtype: DType) -> &'static str {
    match dtype {
        DType::I32 | DType::I64 | DType::I16 | DType::I8 => "i32",
        DType::U32 | DType::U8 => "u32",
        DType::Bool => "bool",
        _ => "f32",
    }
}

/// How elements of a type lie in 32-bit words.
fn storage(dtype: DType) -> (Word, usize) {
    match dtype {
        DType::F16 | DType::BF16 | DType::I16 => (Word::U32, 2),
        DType::U8 | DType::I8 => (Word::U32, 4),
        DType::I32 | DType::I64 => (Word::I32, 1),
        DType::U32 | DType::Bool => (Word::U32, 1),
        _ => (Word::F32, 1),
    }
}

/// The element type of a binding's array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Element {
    One(Word),
    Two,
    Four(Word),
    /// Four words as two of 64 bits: see [`Traits::wide`].
    Wide(Word),
    /// Atomic words, under the given name.
    Atomic(&'static str),
}

/// A bound buffer of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub slot: Slot,
    pub writable: bool,
    element: Element,
    /// Whether anything is read from it.
    read: bool,
    /// Whether single words are written to it.
    pierced: bool,
}

/// A named view of a binding: reads of one element, of two from a multiple of 2 on, of four from a
/// multiple of 4 on, and writes.
struct Access {
    name: String,
    binding: usize,
    dtype: DType,
    write: bool,
}

/// How a scalar of the run becomes a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Convert {
    F32,
    I32,
    U32,
    Bool,
}

/// A parameter that each run sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patch {
    pub word: usize,
    /// Position within the launch's scalars.
    pub scalar: usize,
    pub convert: Convert,
}

/// Element types of what a kernel reads and of what it writes, for messages.
pub(crate) type Types = (Vec<DType>, Vec<DType>);

/// A rendered template and the number of lines of the module before it.
pub(crate) type Origin = (Arc<Rendering>, usize);

/// A finished kernel with the data of one launch.
#[derive(Debug)]
pub(crate) struct Generated {
    pub label: String,
    pub text: String,
    pub interface: Interface,
    pub bindings: Vec<Binding>,
    pub params: Vec<u32>,
    pub patches: Vec<Patch>,
    /// The parameter that takes the launch's fault code.
    pub fault_word: Option<usize>,
    pub groups: [u32; 3],
    pub types: Types,
    /// The template, and how many lines come before it.
    pub origin: Option<Origin>,
    /// Rough seconds on hardware, by which long runs are split into submits.
    pub seconds: f64,
}

/// A kernel under construction.
pub(crate) struct Source<'a> {
    pub traits: &'a Traits,
    buffers: &'a [BufferSpec],
    bindings: Vec<Binding>,
    accesses: Vec<Access>,
    fields: Vec<(String, Word)>,
    params: Vec<u32>,
    patches: Vec<Patch>,
    fault_word: Option<usize>,
    /// Declarations of the module besides bindings and accessors.
    pub declarations: String,
    /// Bytes moved, for the estimate of the kernel's time.
    pub bytes: f64,
    /// Operations done, likewise.
    pub flops: f64,
}

impl<'a> Source<'a> {
    /// An empty kernel over the plan's buffers.
    pub fn new(traits: &'a Traits, buffers: &'a [BufferSpec]) -> Source<'a> {
        Source {
            traits,
            buffers,
            bindings: Vec::new(),
            accesses: Vec::new(),
            fields: Vec::new(),
            params: Vec::new(),
            patches: Vec::new(),
            fault_word: None,
            declarations: String::new(),
            bytes: 0.0,
            flops: 0.0,
        }
    }

    /// Makes `load_<name>(i)` and, with `four`, `load4_<name>(i)` (for `i` divisible by 4) and
    /// `load2_<name>(i)` (for even `i`).
    pub fn input(&mut self, name: &str, slot: Slot, dtype: DType, four: bool) {
        self.access(name, slot, dtype, four, false);
    }

    /// Makes `store_<name>(i, value)` (32-bit types) or, with `four`, `store4_<name>(i, values)`.
    pub fn output(&mut self, name: &str, slot: Slot, dtype: DType, four: bool) {
        self.access(name, slot, dtype, four, true);
    }

    fn access(&mut self, name: &str, slot: Slot, dtype: DType, four: bool, write: bool) {
        let (word, per_word) = storage(dtype);
        let pierced = write && !four;
        let element = match (per_word, four) {
            (1, true) => Element::Four(word),
            (2, true) => Element::Two,
            _ => Element::One(word),
        };
        let binding = match self.bindings.iter().position(|b| b.slot == slot) {
            Some(at) => {
                let known = &mut self.bindings[at];
                known.writable |= write;
                known.read |= !write;
                known.pierced |= pierced;
                known.element = match (known.element, element) {
                    (a, b) if a == b => a,
                    (Element::Four(a), Element::One(b)) | (Element::One(a), Element::Four(b))
                        if a == b =>
                    {
                        Element::Four(a)
                    }
                    (Element::Two, Element::One(Word::U32))
                    | (Element::One(Word::U32), Element::Two) => Element::Two,
                    // The same bytes as different types: plain words.
                    _ => Element::One(Word::U32),
                };
                at
            }
            None => {
                self.bindings.push(Binding {
                    slot,
                    writable: write,
                    element,
                    read: !write,
                    pierced,
                });
                self.bindings.len() - 1
            }
        };
        self.accesses.push(Access {
            name: name.to_string(),
            binding,
            dtype,
            write,
        });
    }

    /// A parameter; the expression that reads it.
    pub fn u32(&mut self, name: &str, value: usize) -> String {
        // Negative strides come as their two's complement: index arithmetic wraps.
        self.field(name, Word::U32, value as u32)
    }

    /// Whether there is a parameter of this name.
    pub fn has_param(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    /// A signed parameter.
    pub fn i32(&mut self, name: &str, value: i32) -> String {
        self.field(name, Word::I32, value as u32)
    }

    /// A parameter that is a float.
    pub fn f32(&mut self, name: &str, value: f32) -> String {
        self.field(name, Word::F32, value.to_bits())
    }

    /// The number 1, which no compiler of the text knows, nor that others are the same.
    pub fn one(&mut self, which: usize) -> String {
        self.field(&format!("one{which}"), Word::F32, 1f32.to_bits())
    }

    /// The number 0, which no compiler of the text knows.
    pub fn zero(&mut self) -> String {
        self.field("zero", Word::F32, 0)
    }

    /// A stride parameter.
    pub fn stride(&mut self, name: &str, value: isize) -> String {
        self.field(name, Word::U32, value as u32)
    }

    fn field(&mut self, name: &str, word: Word, value: u32) -> String {
        let expression = format!("params.{name}");
        match self.fields.iter().position(|(n, _)| n == name) {
            Some(at) => debug_assert_eq!(self.params[at], value, "{name} has two values"),
            None => {
                self.fields.push((name.to_string(), word));
                self.params.push(value);
            }
        }
        expression
    }

    /// A parameter that each run takes from its scalars.
    pub fn scalar(&mut self, name: &str, scalar: usize, convert: Convert) -> String {
        if self.fields.iter().any(|(known, _)| known == name) {
            return format!("params.{name}");
        }
        let word = match convert {
            Convert::F32 => Word::F32,
            Convert::I32 => Word::I32,
            Convert::U32 | Convert::Bool => Word::U32,
        };
        self.patches.push(Patch {
            word: self.params.len(),
            scalar,
            convert,
        });
        self.field(name, word, 0)
    }

    /// Binds a buffer of atomic words under its own name.
    pub fn atomic(&mut self, name: &'static str, slot: Slot) {
        self.bindings.push(Binding {
            slot,
            writable: true,
            element: Element::Atomic(name),
            read: true,
            pierced: true,
        });
    }

    /// Binds what `report_fault(low, high)` of the prelude writes, for an index of 64 bits.
    pub fn fault(&mut self) {
        if self.fault_word.is_some() {
            return;
        }
        self.fault_word = Some(self.params.len());
        self.field("fault_code", Word::U32, 0);
        self.bindings.push(Binding {
            slot: Slot::Fault,
            writable: true,
            element: Element::Atomic("fault"),
            read: true,
            pierced: true,
        });
    }

    /// Adds a line-wise declaration.
    pub fn declare(&mut self, text: &str) {
        self.declarations.push_str(text);
        self.declarations.push('\n');
    }

    /// Makes the module of a template, which has `main` and all that is not the backend's to say:
    /// bindings, accessors, parameters. `groups` workgroups run it.
    pub fn render(
        self,
        label: &str,
        template: &'static str,
        variables: &Value,
        groups: usize,
    ) -> Result<Generated> {
        let rendering = self.traits.render(template, variables)?;
        let what = format!("{template}{}", form(variables));
        let text = rendering.text.clone();
        Ok(self.assemble(label, &what, groups, &text, Some(rendering)))
    }

    /// [`Source::render`] for a template that is none of wgrad's files.
    pub fn render_text(
        self,
        label: &str,
        text: &'static str,
        variables: &Value,
        groups: usize,
    ) -> Result<Generated> {
        let rendering = self.traits.render_text(label, text, variables)?;
        let what = format!("its own template with {variables}");
        let text = rendering.text.clone();
        Ok(self.assemble(label, &what, groups, &text, Some(rendering)))
    }

    /// Bindings, parameters and accessors before `main`.
    fn assemble(
        mut self,
        label: &str,
        what: &str,
        groups: usize,
        main: &str,
        rendering: Option<Arc<Rendering>>,
    ) -> Generated {
        let groups = grid(groups, self.traits.max_groups);
        self.mark_shared();
        self.widen();
        let params = match self.params.len() * 4 {
            0 => ParamsAs::Nothing,
            bytes if bytes <= self.traits.immediates => ParamsAs::Immediates(bytes as u32),
            _ => ParamsAs::Uniform,
        };
        let mut text = format!("// {label}: {what}\n\n");
        if params != ParamsAs::Nothing {
            text.push_str("struct Params {\n");
            for (name, word) in &self.fields {
                let _ = writeln!(text, "    {name}: {},", word.name());
            }
            text.push_str("}\n\n");
            text.push_str(match params {
                ParamsAs::Uniform => "@group(1) @binding(0)\nvar<uniform> params: Params;\n\n",
                _ => "var<immediate> params: Params;\n\n",
            });
        }
        for (i, binding) in self.bindings.iter().enumerate() {
            let access = if binding.writable {
                "read_write"
            } else {
                "read"
            };
            let (name, element) = match binding.element {
                Element::Atomic(name) => (name.to_string(), "atomic<u32>".to_string()),
                Element::One(w) => (format!("b{i}"), w.name().to_string()),
                Element::Two => (format!("b{i}"), "vec2<u32>".to_string()),
                Element::Wide(_) => (format!("b{i}"), "vec2<u64>".to_string()),
                Element::Four(w) => (format!("b{i}"), format!("vec4<{}>", w.name())),
            };
            let _ = writeln!(
                text,
                "@group(0) @binding({i})\nvar<storage, {access}> {name}: array<{element}>;\n"
            );
        }
        // What `finish` has put into `main`, a template reaches as it does accessors.
        let mut accessors = std::mem::take(&mut self.declarations);
        for access in &self.accesses {
            self.write_accessors(access, &mut accessors);
        }
        let types = |write: bool| {
            let some = self.accesses.iter().filter(|a| a.write == write);
            some.map(|a| a.dtype).collect()
        };
        let types = (types(false), types(true));
        text.push_str(&wgrad_shaders::link(main, &accessors));
        let first = text.lines().count() - main.lines().count();
        Generated {
            origin: rendering.map(|rendering| (rendering, first)),
            label: label.to_string(),
            text,
            interface: Interface {
                writable: self.bindings.iter().map(|b| b.writable).collect(),
                params,
            },
            bindings: self.bindings,
            params: self.params,
            patches: self.patches,
            fault_word: self.fault_word,
            groups,
            types,
            // 200 GB/s and 2 TFLOP/s: a modest GPU.
            seconds: self.bytes / 2.0e11 + self.flops / 2.0e12,
        }
    }

    /// One buffer must not be bound read-only and read-write in one dispatch, even for disjoint
    /// ranges: inputs from an allocation that the kernel also writes become read-write.
    fn mark_shared(&mut self) {
        let allocation = |slot: Slot| match slot {
            Slot::Plan(i) => self.buffers.get(i).map(|b| b.allocation),
            Slot::Scratch { .. } => Some(usize::MAX),
            Slot::Fault => None,
        };
        let written: Vec<usize> = self
            .bindings
            .iter()
            .filter(|b| b.writable)
            .filter_map(|b| allocation(b.slot))
            .collect();
        let shared: Vec<bool> = self
            .bindings
            .iter()
            .map(|b| allocation(b.slot).is_some_and(|a| written.contains(&a)))
            .collect();
        for (binding, shared) in self.bindings.iter_mut().zip(shared) {
            binding.writable |= shared;
        }
    }

    /// Where the device asks for it, what is read by vectors is bound as 64-bit words.
    ///
    /// A driver that runs on the CPU (lavapipe) loads lane by lane, each lane's value inserted
    /// into a vector through memory. That costs the same for 64 bits as for 32, and is most of
    /// what memory-bound kernels do there: 64-bit words read 2 to 3 times as fast.
    fn widen(&mut self) {
        if !self.traits.wide {
            return;
        }
        for binding in &mut self.bindings {
            if let Element::Four(word) = binding.element
                && binding.read
                && !binding.pierced
            {
                binding.element = Element::Wide(word);
            }
        }
    }
}

/// The variables that say which form of a template this is, for people: not the texts it takes in.
fn form(variables: &Value) -> String {
    let mut out = String::new();
    for name in variables.try_iter().into_iter().flatten() {
        let value = variables.get_item(&name).unwrap_or_default();
        let is_word = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
        if value.as_str().is_some_and(is_word) || value.is_number() || value == Value::from(true) {
            let _ = write!(out, ", {name} {value}");
        }
    }
    out
}

/// Folds a number of workgroups into two dimensions where one does not hold them.
pub(crate) fn grid(groups: usize, most: u32) -> [u32; 3] {
    let most = most.max(1) as usize;
    if groups <= most {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(most);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn grids_cover_all_groups() {
        for groups in [0, 1, 65_535, 65_536, 65_537, 131_071, 10_000_019] {
            let [x, y, z] = grid(groups, 65_535);
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            assert!(x as usize * y as usize >= groups);
        }
    }
}
