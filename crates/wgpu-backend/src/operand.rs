//! How a thread finds the elements of strided operands.
//!
//! A thread holds four elements, its lanes. They lie next to each other along one *axis* of the
//! iteration space: a group of dimensions, collapsed as far as the operands allow. Where the
//! innermost dimension divides by 4 the four share all outer coordinates, which are then computed
//! once; where an operand's elements also lie next to each other, on a multiple of 4, it is read
//! as one vector.

use std::fmt::Write;

use wgrad_core::{DType, Layout, Shape, collapse};

use crate::source::{Slot, Source, register};

/// An operand of a kernel, its layout already over the kernel's iteration space.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The name in WGSL.
    pub name: String,
    pub slot: Slot,
    pub dtype: DType,
    pub layout: Layout,
}

/// Where the four lanes of an operand lie, from the address that the axis gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Lanes {
    /// All at one address.
    Splat,
    /// Next to each other, at a multiple of 4.
    Four,
    /// Apart by a stride (an expression).
    Step(String),
    /// At four addresses.
    Each,
}

/// Dimensions of a part of the iteration space and the operands' strides over them.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub dims: Vec<usize>,
    /// Per operand.
    pub strides: Vec<Vec<isize>>,
}

impl Axis {
    /// The axis of dimensions `range` of the layouts' common shape. `linear`, where the result is
    /// written along this axis, needs no address of its own and so may be left out.
    pub fn new(shape: &Shape, range: std::ops::Range<usize>, layouts: &[&Layout]) -> Axis {
        let part = |layout: &Layout| Layout {
            shape: Shape::from(&shape[range.clone()]),
            strides: layout.strides[range.clone()].into(),
            offset: 0,
        };
        let parts: Vec<Layout> = layouts.iter().map(|l| part(l)).collect();
        let refs: Vec<&Layout> = parts.iter().collect();
        let collapsed = collapse(&refs);
        let dims = match collapsed.first() {
            Some(first) => first.shape.to_vec(),
            None => vec![shape[range].iter().product()],
        };
        Axis {
            dims,
            strides: collapsed.iter().map(|l| l.strides.to_vec()).collect(),
        }
    }

    /// Elements along the axis.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The innermost stride of an operand, 0 for an axis of one element.
    pub fn inner(&self, operand: usize) -> isize {
        self.strides[operand].last().copied().unwrap_or(0)
    }

    fn is_still(&self, operand: usize) -> bool {
        self.strides[operand].iter().all(|&s| s == 0)
    }

    fn all_divide(&self, operand: usize, skip_inner: bool) -> bool {
        let strides = &self.strides[operand];
        let end = strides.len() - usize::from(skip_inner && !strides.is_empty());
        strides[..end].iter().all(|s| s % 4 == 0)
    }

    /// Writes the coordinates that `index` (an expression) has on this axis and returns, per
    /// operand, the expression of its offset; empty for 0. `vector` says that `index` is a
    /// `vec4<u32>`.
    fn offsets(
        &self,
        source: &mut Source<'_>,
        names: &[String],
        prefix: &str,
        index: &str,
        body: &mut String,
    ) -> Vec<String> {
        let rank = self.dims.len();
        // The outermost dimension that anybody steps along: coordinates beyond are not needed.
        let needed = (0..rank).find(|&d| self.strides.iter().any(|s| s[d] != 0));
        if let Some(first) = needed {
            let mut rest = index.to_string();
            for d in (first..rank).rev() {
                if d == 0 {
                    let _ = writeln!(body, "let {prefix}_c0 = {rest};");
                    continue;
                }
                let size = source.u32(&format!("{prefix}_d{d}"), self.dims[d]);
                let _ = writeln!(body, "let {prefix}_c{d} = {rest} % {size};");
                if d > first {
                    let _ = writeln!(body, "let {prefix}_q{d} = {rest} / {size};");
                    rest = format!("{prefix}_q{d}");
                }
            }
        }
        names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let mut terms = Vec::new();
                for d in 0..rank {
                    match self.strides[i][d] {
                        0 => {}
                        1 => terms.push(format!("{prefix}_c{d}")),
                        stride => {
                            let s = source.stride(&format!("{name}_{prefix}{d}"), stride);
                            terms.push(format!("{prefix}_c{d} * {s}"));
                        }
                    }
                }
                terms.join(" + ")
            })
            .collect()
    }

    /// Offsets of a single point: `index` is a `u32`.
    pub fn point(
        &self,
        source: &mut Source<'_>,
        names: &[String],
        prefix: &str,
        index: &str,
        body: &mut String,
    ) -> Vec<String> {
        self.offsets(source, names, prefix, index, body)
    }

    /// Offsets of four points from `first` on (a `u32` divisible by 4), clamped to the axis.
    /// `aligned[i]` says that all other parts of operand `i`'s address divide by 4.
    pub fn lanes(
        &self,
        source: &mut Source<'_>,
        names: &[String],
        prefix: &str,
        first: &str,
        aligned: &[bool],
        body: &mut String,
    ) -> Vec<(String, Lanes)> {
        let rank = self.dims.len();
        let whole = self.dims.last().is_none_or(|d| d % 4 == 0);
        let shape = |i: usize| {
            if self.is_still(i) {
                Some(Lanes::Splat)
            } else if self.inner(i) == 1
                && aligned[i]
                && self.all_divide(i, true)
                && (whole || rank == 1)
            {
                // On an axis of one dimension the last vector may reach into padding.
                Some(Lanes::Four)
            } else {
                None
            }
        };
        let known: Vec<Option<Lanes>> = (0..names.len()).map(shape).collect();
        if whole || known.iter().all(Option::is_some) {
            let offsets = self.offsets(source, names, prefix, first, body);
            return known
                .into_iter()
                .zip(offsets)
                .enumerate()
                .map(|(i, (lanes, offset))| {
                    let lanes = lanes.unwrap_or_else(|| match self.inner(i) {
                        0 => Lanes::Splat,
                        1 => Lanes::Step("1u".into()),
                        stride => {
                            let name = format!("{}_{prefix}{}", names[i], rank - 1);
                            Lanes::Step(source.stride(&name, stride))
                        }
                    });
                    (offset, lanes)
                })
                .collect();
        }
        let last = source.u32(&format!("{prefix}_last"), self.len().saturating_sub(1));
        let _ = writeln!(
            body,
            "let {prefix}_e = min(vec4<u32>({first}) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>({last}));"
        );
        let offsets = self.offsets(source, names, prefix, &format!("{prefix}_e"), body);
        known
            .into_iter()
            .zip(offsets)
            .map(|(lanes, offset)| match lanes {
                Some(Lanes::Splat) => (offset, Lanes::Splat),
                _ => (offset, Lanes::Each),
            })
            .collect()
    }

    /// Whether every address along the axis divides by 4 for an operand.
    pub fn divides(&self, operand: usize) -> bool {
        self.all_divide(operand, false)
    }
}

/// The sum of address parts, leaving out the empty ones.
pub(crate) fn sum(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    if parts.is_empty() {
        "0u".into()
    } else {
        parts.join(" + ")
    }
}

/// The parameter that holds where an operand starts; empty for the start of its buffer.
pub(crate) fn start(source: &mut Source<'_>, access: &Access) -> String {
    match access.layout.offset {
        0 => String::new(),
        offset => source.u32(&format!("{}_start", access.name), offset),
    }
}

/// Writes the load of an operand's four lanes into register `name` from address `at`.
pub(crate) fn load(access: &Access, lanes: &Lanes, at: &str, body: &mut String) {
    let name = &access.name;
    let t = register(access.dtype);
    if *lanes != Lanes::Four || at.len() > 24 {
        let _ = writeln!(body, "let {name}_at = {at};");
    }
    let value = match lanes {
        Lanes::Splat => format!("vec4<{t}>(load_{name}({name}_at))"),
        Lanes::Four if at.len() > 24 => format!("load4_{name}({name}_at)"),
        Lanes::Four => format!("load4_{name}({at})"),
        Lanes::Step(s) => format!(
            "vec4<{t}>(load_{name}({name}_at), load_{name}({name}_at + {s}), \
             load_{name}({name}_at + 2u * {s}), load_{name}({name}_at + 3u * {s}))"
        ),
        Lanes::Each => format!(
            "vec4<{t}>(load_{name}({name}_at.x), load_{name}({name}_at.y), \
             load_{name}({name}_at.z), load_{name}({name}_at.w))"
        ),
    };
    let _ = writeln!(body, "let {name} = {value};");
}
