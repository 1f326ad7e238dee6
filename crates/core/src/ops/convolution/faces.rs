//! The three products of a convolution.
//!
//! `sum of y[n, o, p] x[n, c, p + t] w[o, c, t]` is linear in each of the output `y`, the input `x` and the weight
//! `w`. Its derivative by one of them is a product of the other two, a *face*; the output is that by `y`. The
//! derivatives of a face are the other two faces, so that there is nothing more to write for second derivatives.

use smallvec::SmallVec;

use super::behind;
use crate::autograd::{self, Grads, Saves, no_grad};
use crate::ops::contraction::contract;
use crate::ops::elementwise::cast;
use crate::ops::fold::{Fold, summed};
use crate::ops::place::lay;
use crate::ops::windows::Windows;
use crate::record::node::Contraction;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value};
use crate::types::error::{Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

/// Most products of which the gradient of an input is put together.
const MOST_PHASES: usize = 16;

/// Which of the three a product gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Face {
    /// `[n, out, p..]` of the input and the weight.
    Output,
    /// `[n, in, s..]` of the output and the weight.
    Input,
    /// `[out, in / groups, k..]` of the input and the output.
    Weight,
}

/// Sizes along the spatial dimensions.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub name: &'static str,
    pub groups: usize,
    pub input: SmallVec<[usize; 3]>,
    /// The input with zeros around it, and how many stand before it.
    pub padded: SmallVec<[usize; 3]>,
    pub low: SmallVec<[usize; 3]>,
    pub output: SmallVec<[usize; 3]>,
    pub windows: Windows,
}

/// A face of its two operands, in the order of [`Face`]'s lines, plus a bias for each of its channels.
pub(super) fn apply(
    geometry: &Geometry,
    face: Face,
    a: &Value,
    b: &Value,
    bias: Option<&Value>,
    place: Place,
) -> Result<Tensor> {
    product(geometry, face, (a, b), bias, None, place)
}

/// The same, where the first operand with zeros around it may be there already.
fn product(
    geometry: &Geometry,
    face: Face,
    (a, b): (&Value, &Value),
    bias: Option<&Value>,
    padded: Option<&Tensor>,
    place: Place,
) -> Result<Tensor> {
    let dtype = a.dtype().promote(b.dtype());
    // What is computed on the way is nobody's to differentiate.
    let plain = |x: &Value| x.through(x.layout().clone());
    let (y, padded) = no_grad(|| {
        let (a, b) = (
            materialized(&plain(a), place)?,
            materialized(&plain(b), place)?,
        );
        let padded = match (face, padded) {
            (Face::Input, _) => a,
            (_, Some(padded)) => padded.capture()?,
            (_, None) => geometry.padded(&a)?,
        };
        let y = match face {
            Face::Output => geometry.output(&padded, &b, place)?,
            Face::Input => geometry.input(&padded, &b, place)?,
            Face::Weight => geometry.weight(&padded, &b, place)?,
        };
        let y = match bias {
            Some(bias) => {
                let mut dims = Dims::from_elem(1, geometry.windows.rank() + 1);
                dims[0] = bias.shape()[0];
                let wide = plain(bias).into_tensor().to_dtype(y.dtype()?);
                y + wide.reshape(Shape::from(dims))
            }
            None => y,
        };
        Ok((y.capture()?, padded))
    })?;
    let y = cast(&y, dtype, place)?;
    let padded = (face == Face::Output).then(|| padded.into_tensor());
    let operands: SmallVec<[&Value; 3]> = [a, b].into_iter().chain(bias).collect();
    Ok(track(geometry, face, y, &operands, padded, place))
}

/// Puts a face on the tape.
fn track(
    geometry: &Geometry,
    face: Face,
    y: Value,
    operands: &[&Value],
    padded: Option<Tensor>,
    place: Place,
) -> Tensor {
    if !autograd::tracks(operands) {
        return y.into_tensor();
    }
    let kept = operands[..2].iter().map(|x| (*x).clone().into_tensor());
    let saves = Saves {
        // The gradient of the weight needs the input with zeros around it, which is there.
        inputs: kept.chain(padded).collect(),
        output: false,
    };
    let geometry = geometry.clone();
    autograd::track(geometry.name, y, operands, saves, place, move |c| {
        let (a, b, g) = (&c.inputs[0], &c.inputs[1], c.grad);
        let padded = c.inputs.get(2);
        let product = |face: Face, x: &Tensor, y: &Tensor, like: &Tensor| {
            x.then(|x| {
                let padded = padded.filter(|_| face == Face::Weight);
                let y = product(&geometry, face, (&x, &y.capture()?), None, padded, place)?;
                y.to_dtype(like.dtype()?).checked()
            })
        };
        let by_a = || match face {
            Face::Output => product(Face::Input, g, b, a),
            Face::Input => product(Face::Output, g, b, a),
            Face::Weight => product(Face::Input, b, g, a),
        };
        let by_b = || match face {
            Face::Output => product(Face::Weight, a, g, b),
            Face::Input => product(Face::Weight, g, a, b),
            Face::Weight => product(Face::Output, a, g, b),
        };
        let mut grads = Grads::new();
        grads.push(c.needs[0].then(by_a));
        grads.push(c.needs[1].then(by_b));
        if let Some(&needed) = c.needs.get(2) {
            let spatial = geometry.windows.rank() as isize;
            let dims: Vec<isize> = [0].into_iter().chain(2..2 + spatial).collect();
            grads.push(needed.then(|| g.sum_dims(&dims[..], false)));
        }
        grads
    })
}

impl Geometry {
    fn rank(&self) -> usize {
        self.windows.rank()
    }

    /// How many batch dimensions a product has behind its first: one for several groups.
    fn split(&self) -> usize {
        usize::from(self.groups > 1)
    }

    /// Dimension `d` of the layout as groups and what each has.
    fn grouped(&self, layout: &Layout, d: usize) -> Layout {
        if self.groups == 1 {
            return layout.clone();
        }
        let each = layout.shape[d] / self.groups;
        let mut dims = Dims::from_slice(&layout.shape);
        let mut strides = layout.strides.clone();
        dims[d] = each;
        dims.insert(d, self.groups);
        strides.insert(d, strides[d] * each as isize);
        Layout {
            shape: Shape::from(dims),
            strides,
            offset: layout.offset,
        }
    }

    /// `x` with zeros around its spatial dimensions.
    fn padded(&self, x: &Value) -> Result<Value> {
        if self.padded == self.input {
            return Ok(x.clone());
        }
        let to = behind(x.shape()[0], x.shape()[1], &self.padded);
        around(x, &to, &self.low)
    }

    /// The windows of `x` with its zeros around it that the output has places for. A transposed convolution whose output
    /// padding is a stride or more has room for others.
    fn windows(&self, x: &Value) -> Layout {
        let mut windows = self.windows.over(x.layout());
        let mut dims = Dims::from_slice(&windows.shape);
        dims[2..2 + self.rank()].copy_from_slice(&self.output);
        windows.shape = Shape::from(dims);
        windows
    }

    /// `y[n, o, p..] = sum over (c, t..) of w[o, (c, t..)] windows(x)[n, (c, t..), p..]`, of `x` with its zeros.
    fn output(&self, x: &Value, w: &Value, place: Place) -> Result<Tensor> {
        let shape = behind(x.shape()[0], w.shape()[0], &self.output);
        // [n, (g), c, p.., t..] to [n, (g), c, t.., p..]
        let windows = self.windows(x);
        let windows = exchanged(&self.grouped(&windows, 1), 2 + self.split(), self.rank());
        let weight = batched(&self.grouped(w.layout(), 0), x.shape()[0]);
        let contraction = Contraction {
            batch: 1 + self.split() as u8,
            rows: 1,
            columns: self.rank() as u8,
        };
        let operands = (&w.through(weight), &x.through(windows));
        Ok(contract(self.name, operands, contraction, shape, place)?.into_tensor())
    }

    /// `w[o, c, t..] = sum over (n, p..) of y[o, (n, p..)] windows(x)[(n, p..), (c, t..)]`, likewise.
    fn weight(&self, x: &Value, y: &Value, place: Place) -> Result<Tensor> {
        let (split, rank) = (self.split(), self.rank());
        let channels = x.shape()[1] / self.groups;
        let shape = behind(y.shape()[1], channels, &self.windows.size);
        let spatial = |from: usize| from..from + rank;
        // [n, (g), c, p.., t..] to [(g), n, p.., c, t..]
        let windows = self.grouped(&self.windows(x), 1);
        let first = 2 + split;
        let order: Vec<usize> = (1..1 + split)
            .chain([0])
            .chain(spatial(first))
            .chain([1 + split])
            .chain(spatial(first + rank))
            .collect();
        let windows = windows.permute(&order);
        // [n, (g), o, p..] to [(g), o, n, p..]
        let order: Vec<usize> = (1..first).chain([0]).chain(spatial(first)).collect();
        let slopes = self.grouped(y.layout(), 1).permute(&order);
        let contraction = Contraction {
            batch: split as u8,
            rows: 1,
            columns: 1 + rank as u8,
        };
        let operands = (&y.through(slopes), &x.through(windows));
        Ok(contract(self.name, operands, contraction, shape, place)?.into_tensor())
    }

    /// `x[n, c, s..] = sum over (o, t..) of w[c, (o, t..)] y[n, (o, s - t..)]`: windows of `y` in which the places
    /// of the kernel go backwards. With strides, each residue of `s` meets places of its own, and is a product of
    /// its own; they are put together in the end.
    fn input(&self, y: &Value, w: &Value, place: Place) -> Result<Tensor> {
        let windows = &self.windows;
        let apart =
            (0..self.rank()).any(|d| windows.step[d] > 1 && windows.step[d] >= windows.span(d));
        if apart || windows.step.iter().product::<usize>() > MOST_PHASES {
            return self.input_by_windows(y, w, place);
        }
        let phases: Vec<Vec<Phase>> = (0..self.rank()).map(|d| self.phases(d)).collect();
        // Zeros around y, as many as any phase sees.
        let reach = |d: usize| {
            let before = phases[d].iter().map(Phase::before).max().unwrap_or(0);
            let behind = phases[d].iter().map(|p| p.behind(self.output[d])).max();
            (before.max(0) as usize, behind.unwrap_or(0).max(0) as usize)
        };
        let around_y: SmallVec<[(usize, usize); 3]> = (0..self.rank()).map(reach).collect();
        let low: SmallVec<[usize; 3]> = around_y.iter().map(|z| z.0).collect();
        let y = match around_y.iter().all(|&z| z == (0, 0)) {
            true => y.clone(),
            false => {
                let size = |d: usize| around_y[d].0 + self.output[d] + around_y[d].1;
                let sizes: SmallVec<[usize; 3]> = (0..self.rank()).map(size).collect();
                let to = behind(y.shape()[0], y.shape()[1], &sizes);
                around(y, &to, &low)?
            }
        };
        self.assembled(&y, w, &low, &phases, &mut SmallVec::new(), place)
    }

    /// The same window by window: what each gives its elements, added up. Where windows do not overlap, that is as
    /// much as the input.
    fn input_by_windows(&self, y: &Value, w: &Value, place: Place) -> Result<Tensor> {
        let (split, rank) = (self.split(), self.rank());
        let (n, channels) = (y.shape()[0], w.shape()[1] * self.groups);
        // [(g), o, c, t..] to [n, (g), c, t.., o]
        let weight = self.grouped(w.layout(), 0);
        let order: Vec<usize> = (0..split)
            .chain(split + 1..weight.shape.rank())
            .chain([split])
            .collect();
        let weight = batched(&weight.permute(&order), n);
        let contraction = Contraction {
            batch: 1 + split as u8,
            rows: 1 + rank as u8,
            columns: rank as u8,
        };
        let mut dims = Dims::from_slice(&[n, channels]);
        dims.extend_from_slice(&self.windows.size);
        dims.extend_from_slice(&self.output);
        let operands = (&w.through(weight), &y.through(self.grouped(y.layout(), 1)));
        let each = contract(self.name, operands, contraction, Shape::from(dims), place)?;
        let each = each
            .through(exchanged(each.layout(), 2, rank))
            .into_tensor();
        let fold = Fold {
            windows: Windows {
                low: self.low.clone(),
                ..self.windows.clone()
            },
            to: self.input.clone(),
        };
        summed(self.name, fold, &each, None).checked()
    }

    /// The phases of dimension `chosen.len()` and those behind it, of which the ones before it are chosen, as one
    /// tensor.
    fn assembled(
        &self,
        y: &Value,
        w: &Value,
        low: &[usize],
        phases: &[Vec<Phase>],
        chosen: &mut SmallVec<[Phase; 3]>,
        place: Place,
    ) -> Result<Tensor> {
        let d = chosen.len();
        if d == self.rank() {
            return self.phase(y, w, low, chosen, place);
        }
        let mut parts = Vec::with_capacity(phases[d].len());
        for &phase in &phases[d] {
            chosen.push(phase);
            parts.push(self.assembled(y, w, low, phases, chosen, place)?);
            chosen.pop();
        }
        if let [only] = &parts[..] {
            return Ok(only.clone());
        }
        // [.., q, ..] of each residue to [.., q, residue, ..], whose order is that of the elements.
        let dim = 2 + d as isize;
        let joined = Tensor::stack(&parts, dim + 1);
        let whole = joined.flatten(dim, dim + 1);
        whole.narrow(dim, 0, self.input[d]).checked()
    }

    /// What one choice of phases gives.
    fn phase(
        &self,
        y: &Value,
        w: &Value,
        low: &[usize],
        phases: &[Phase],
        place: Place,
    ) -> Result<Tensor> {
        let (split, rank) = (self.split(), self.rank());
        let (n, channels) = (y.shape()[0], w.shape()[1] * self.groups);
        let sizes: SmallVec<[usize; 3]> = phases.iter().map(|p| p.places).collect();
        let shape = behind(n, channels, &sizes);
        if phases.iter().any(|p| p.taps == 0) {
            let dtype = y.dtype().promote(w.dtype()).compute();
            return Ok(Tensor::zeros(shape, (dtype, &y.node.device)));
        }
        // [n, (g), o, t.., q..]
        let seen = self.grouped(y.layout(), 1);
        let first = 2 + split;
        let mut dims = Dims::from_slice(&seen.shape[..first]);
        let mut strides = seen.strides[..first].to_vec();
        let mut offset = seen.offset as isize;
        for (d, phase) in phases.iter().enumerate() {
            dims.push(phase.taps);
            let stride = seen.strides[first + d];
            strides.push(-stride * phase.apart as isize);
            offset += stride * (low[d] as isize + phase.shift);
        }
        for (d, phase) in phases.iter().enumerate() {
            dims.push(phase.places);
            strides.push(seen.strides[first + d]);
        }
        let windows = Layout {
            shape: Shape::from(dims),
            strides: strides.into(),
            offset: offset as usize,
        };
        // [(g), o, c, t..] to [n, (g), c, o, t..]
        let mut weight = self.grouped(w.layout(), 0);
        for (d, phase) in phases.iter().enumerate() {
            weight = weight.slice(first + d, phase.tap, phase.taps, phase.step);
        }
        let order: Vec<usize> = (0..split)
            .chain([split + 1, split])
            .chain(first..first + rank)
            .collect();
        let weight = batched(&weight.permute(&order), n);
        let contraction = Contraction {
            batch: 1 + split as u8,
            rows: 1,
            columns: rank as u8,
        };
        let operands = (&w.through(weight), &y.through(windows));
        Ok(contract(self.name, operands, contraction, shape, place)?.into_tensor())
    }

    /// The residues of dimension `d`'s elements by the stride, and what each meets.
    fn phases(&self, d: usize) -> Vec<Phase> {
        let (step, dilation) = (self.windows.step[d], self.windows.dilation[d]);
        let common = greatest_common_divisor(step, dilation);
        let places = self.input[d].div_ceil(step);
        // With few elements some residues have none.
        (0..step.min(self.input[d]))
            .map(|residue| {
                let at = residue + self.low[d];
                let meets = |t: &usize| t * dilation % step == at % step;
                // Those that meet one residue are `step / common` apart.
                let apart = step / common;
                let tap = (0..apart.min(self.windows.size[d])).find(meets);
                let taps = tap.map_or(0, |tap| (self.windows.size[d] - tap).div_ceil(apart));
                let tap = tap.unwrap_or(0);
                Phase {
                    places,
                    tap,
                    taps,
                    step: apart,
                    apart: dilation / common,
                    shift: match taps {
                        0 => 0,
                        _ => (at as isize - (tap * dilation) as isize) / step as isize,
                    },
                }
            })
            .collect()
    }
}

/// The elements of the input of one residue by the stride, along one dimension: element `q` is the sum over
/// `j < taps` of place `tap + j step` of the kernel times element `q + shift - j apart` of the output.
#[derive(Clone, Copy, Debug)]
struct Phase {
    /// How many elements there are.
    places: usize,
    tap: usize,
    taps: usize,
    step: usize,
    apart: usize,
    shift: isize,
}

impl Phase {
    /// How far before the output it sees.
    fn before(&self) -> isize {
        (self.taps.saturating_sub(1) * self.apart) as isize - self.shift
    }

    /// How far behind an output of so many elements.
    fn behind(&self, output: usize) -> isize {
        match self.taps {
            0 => 0,
            _ => self.places as isize + self.shift - output as isize,
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

/// `x` laid into zeros of shape `to`, its spatial dimensions from `low` on.
fn around(x: &Value, to: &Shape, low: &[usize]) -> Result<Value> {
    let mut start = vec![0; 2];
    start.extend_from_slice(low);
    lay(&x.clone().into_tensor(), to, &start, &vec![1; to.rank()]).capture()
}

/// Two neighbouring groups of `rank` dimensions from `first` on, exchanged.
fn exchanged(layout: &Layout, first: usize, rank: usize) -> Layout {
    let second = first + rank;
    let order: Vec<usize> = (0..first)
        .chain(second..second + rank)
        .chain(first..second)
        .collect();
    layout.permute(&order)
}

/// The view repeated over a batch of `n`.
fn batched(layout: &Layout, n: usize) -> Layout {
    let mut view = layout.insert(0);
    let mut dims = Dims::from_slice(&view.shape);
    dims[0] = n;
    view.shape = Shape::from(dims);
    view
}
