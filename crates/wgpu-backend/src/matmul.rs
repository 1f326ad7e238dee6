//! Matrix products.
//!
//! *Tiled* (`matmul_tiled.wgsl`): workgroups bring tiles of A and B into workgroup memory. *Registers*
//! (`matmul_registers.wgsl`): no barrier, each thread reads what it multiplies; for adapters that run on
//! the CPU, and for few rows. *Lanes* (`matmul_lanes.wgsl`): the same, but the lanes of a subgroup share
//! what they read of A; where subgroup sizes are known on such adapters. *Dot*: a reduction per element,
//! for vectors. Where the result is small and `k` long, `k` is split into parts that a second launch
//! adds up in a fixed order. Sums of an operand (see `Kernel::MatMul`) have threads of their own
//! behind the product's, or a launch where the product takes two.
//!
//! Transposes are strides. The text depends on which stride of an operand is 1: loaders read
//! vectors along that direction.

use std::ops::Range;

use wgrad_core::{
    Accumulator, Arg, BufferSpec, DType, Instr, Layout, MapOp, Operand, Output, Program, ReduceOp,
    Result, Shape, collapse,
};
use wgrad_shaders::{Value, context};

use crate::codegen::{self, Scope};
use crate::device::Traits;
use crate::form::{CHAIN, Form, Walk, Way, deepest_chain};
use crate::map::{accesses, targets};
use crate::operand::{Access, Axis, Lanes, load, start, sum};
use crate::reduce::Reduction;
use crate::source::{Generated, Slot, Source, register};

/// The product, as the plan has it.
pub(crate) struct Product<'a> {
    pub batch: &'a Shape,
    pub m: &'a Shape,
    pub n: &'a Shape,
    pub k: &'a Shape,
    pub a: &'a Operand,
    pub b: &'a Operand,
    pub epilogue_inputs: &'a [Operand],
    pub epilogue: &'a Program,
    pub outputs: &'a [Output],
    /// Sums of an operand's rows or columns, by threads of their own.
    pub sums: Option<Reduction<'a>>,
}

/// In which direction an operand's vectors are whole and aligned.
fn walk(layout: &Layout, across: Range<usize>, along_k: Range<usize>) -> Walk {
    let aligned = |dims: &Range<usize>| {
        let vectors = part(layout, dims.clone());
        let Some((&1, outer)) = vectors.strides.split_last() else {
            return false;
        };
        // Where several dimensions are walked, no vector lies across the end of the innermost.
        let whole = outer.is_empty() || vectors.shape[outer.len()].is_multiple_of(4);
        let others =
            (0..layout.shape.rank()).filter(|d| !dims.contains(d) && layout.shape[*d] != 1);
        whole
            && layout.offset.is_multiple_of(4)
            && outer.iter().all(|s| s % 4 == 0)
            && others.into_iter().all(|d| layout.strides[d] % 4 == 0)
    };
    if aligned(&across) {
        Walk::Across
    } else if aligned(&along_k) {
        Walk::K
    } else {
        Walk::Single
    }
}

/// Some neighbouring dimensions of an operand, merged, from their own beginning on.
fn part(layout: &Layout, dims: Range<usize>) -> Layout {
    let part = Layout {
        shape: Shape::new(&layout.shape[dims.clone()]),
        strides: layout.strides[dims].into(),
        offset: 0,
    };
    collapse(&[&part]).remove(0)
}

impl Product<'_> {
    pub fn batches(&self) -> usize {
        self.batch.numel()
    }

    /// How A and B are read.
    pub fn walks(&self) -> [Walk; 2] {
        let [a, b] = self.directions();
        [
            walk(&self.a.layout, a.0, a.1),
            walk(&self.b.layout, b.0, b.1),
        ]
    }

    /// The dimensions of A and of B across `k` and along it.
    pub fn directions(&self) -> [(Range<usize>, Range<usize>); 2] {
        let first = self.batch.rank();
        let (m, n, k) = (self.m.rank(), self.n.rank(), self.k.rank());
        [
            (first..first + m, first + m..first + m + k),
            (first + k..first + k + n, first..first + k),
        ]
    }

    /// How many dimensions of `k` A and B count along; 0 where one stride walks it.
    pub fn counts(&self) -> [usize; 2] {
        let [a, b] = self.directions();
        [(self.a, a.1), (self.b, b.1)].map(|(operand, along)| {
            match part(&operand.layout, along).shape.rank() {
                0 | 1 => 0,
                rank => rank,
            }
        })
    }

    /// Rows, columns and depth.
    pub fn dims(&self) -> [usize; 3] {
        [self.m, self.n, self.k].map(Shape::numel)
    }

    pub fn element(&self) -> DType {
        self.a.dtype.compute()
    }

    /// Makes the launches; needs `scratch` bytes of the executable's own buffer.
    pub fn generate(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        let [m, n, k] = self.dims();
        let results = self.batches() * m * n;
        if results == 0 {
            return Ok(Vec::new());
        }
        let (form, mut parts) = match self.way(traits) {
            Way::Dot => {
                let mut launches = self.dot(traits, buffers, scratch)?;
                launches.extend(self.sums_apart(traits, buffers, scratch)?);
                return Ok(launches);
            }
            Way::Form(form, parts) => (form, parts),
        };
        let least = self.least_parts(traits);
        while parts > least && parts * results > 16 << 20 {
            parts = (parts / 2).max(least);
        }
        let chunk = k.div_ceil(parts).next_multiple_of(16);
        let parts = k.div_ceil(chunk.max(1)).max(1);
        if parts == 1 {
            return Ok(vec![self.launch(
                Source::new(traits, buffers),
                form,
                None,
            )?]);
        }
        let pitch = results.next_multiple_of(4);
        let slot = Slot::Scratch {
            offset: *scratch,
            bytes: (parts * pitch * 4).next_multiple_of(256),
        };
        *scratch += (parts * pitch * 4).next_multiple_of(256);
        let split = Split {
            parts,
            chunk,
            pitch,
            slot,
        };
        let first = self.launch(Source::new(traits, buffers), form, Some(&split))?;
        let mut launches = vec![first];
        launches.extend(self.combine(traits, buffers, &split, scratch)?);
        launches.extend(self.sums_apart(traits, buffers, scratch)?);
        Ok(launches)
    }

    /// The sums as a launch of their own, where the product's is not a single one.
    fn sums_apart(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        match &self.sums {
            Some(sums) => sums.generate(traits, buffers, scratch, "matmul_sums"),
            None => Ok(Vec::new()),
        }
    }

    /// The shape of the result and, behind it, `inner`.
    fn with_inner(&self, inner: &[usize]) -> Shape {
        let dims = [self.batch, self.m, self.n].into_iter();
        let dims = dims.flat_map(|dims| dims.iter());
        dims.chain(inner).copied().collect()
    }

    fn reduction<'p>(
        &'p self,
        (shape, reduced): (Shape, usize),
        inputs: Vec<Access>,
        prologue: &'p Program,
        accumulators: &'p [Accumulator],
    ) -> Reduction<'p> {
        Reduction {
            shape,
            reduced,
            inputs,
            prologue,
            accumulators,
            positions: Vec::new(),
            epilogue_inputs: accesses("z", self.epilogue_inputs),
            epilogue: self.epilogue,
            outputs: targets(self.outputs),
            first_scalar: 0,
            prefix: "",
        }
    }

    /// The second launch of a split product: the sum over the parts.
    fn combine(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        split: &Split,
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        let dtype = self.element();
        let shape = self.with_inner(&[split.parts]);
        let mut layout = Layout::contiguous(Shape::from(&shape[..shape.rank() - 1]));
        layout.strides.push(split.pitch as isize);
        layout.shape = shape.clone();
        let inputs = vec![Access {
            name: "x0".into(),
            slot: split.slot,
            dtype,
            layout,
        }];
        let prologue = Program {
            inputs: vec![dtype],
            outputs: vec![(Arg::Input(0), dtype)],
            ..Program::default()
        };
        let sum = [Accumulator {
            op: ReduceOp::Sum,
            dtype,
        }];
        self.reduction((shape, 1), inputs, &prologue, &sum)
            .generate(traits, buffers, scratch, "matmul_parts")
    }

    fn dot(
        &self,
        traits: &Traits,
        buffers: &[BufferSpec],
        scratch: &mut usize,
    ) -> Result<Vec<Generated>> {
        let rank = self.batch.rank();
        let shape = self.with_inner(self.k);
        let view = |operand: &Operand, parts: [&[isize]; 3]| {
            let mut layout = operand.layout.clone();
            layout.strides.truncate(rank);
            layout.strides.extend(parts.concat());
            layout.shape = shape.clone();
            Operand {
                layout,
                ..operand.clone()
            }
        };
        let [a_dims, b_dims] = self.directions();
        let (a, b) = (&self.a.layout.strides, &self.b.layout.strides);
        let (no_rows, no_columns) = (vec![0; self.m.rank()], vec![0; self.n.rank()]);
        let operands = [
            view(self.a, [&a[a_dims.0], &no_columns, &a[a_dims.1]]),
            view(self.b, [&no_rows, &b[b_dims.0], &b[b_dims.1]]),
        ];
        let dtype = self.element();
        let prologue = Program {
            inputs: vec![self.a.dtype, self.b.dtype],
            instrs: vec![Instr {
                op: MapOp::Mul,
                dtype,
                args: [Arg::Input(0), Arg::Input(1)].into_iter().collect(),
            }],
            outputs: vec![(Arg::Instr(0), dtype)],
            ..Program::default()
        };
        let sum = [Accumulator {
            op: ReduceOp::Sum,
            dtype,
        }];
        self.reduction(
            (shape.clone(), self.k.rank()),
            accesses("x", &operands),
            &prologue,
            &sum,
        )
        .generate(traits, buffers, scratch, "matmul_dot")
    }

    fn launch(
        &self,
        mut source: Source<'_>,
        form: Form,
        split: Option<&Split>,
    ) -> Result<Generated> {
        let rank = self.batch.rank();
        let [a_walk, b_walk] = self.walks();
        let [m, n, k] = self.dims();
        let (rows, columns) = form.tile();
        for (name, value) in [
            ("m", m),
            ("n", n),
            ("k", k),
            ("batches", self.batches()),
            ("tiles_m", m.div_ceil(rows)),
            ("tiles_n", n.div_ceil(columns)),
        ] {
            source.u32(name, value);
        }
        let operands = [("a", self.a), ("b", self.b)].into_iter();
        for ((name, operand), (across, along)) in operands.zip(self.directions()) {
            source.u32(&format!("{name}_start"), operand.layout.offset);
            let lines = part(&operand.layout, across);
            let at = format!("{name}_across");
            source.places(&at, &[(&at, &lines)]);
            let inner = part(&operand.layout, along);
            let dims = inner.shape.iter().zip(&inner.strides).rev().enumerate();
            match inner.strides.len() {
                0 => drop(source.stride(&format!("{name}_k"), 0)),
                1 => drop(source.stride(&format!("{name}_k"), inner.strides[0])),
                _ => dims.for_each(|(d, (&size, &stride))| {
                    source.u32(&format!("{name}_size{d}"), size);
                    source.stride(&format!("{name}_stride{d}"), stride);
                }),
            }
        }
        for (name, operand, walk) in [("a", self.a, a_walk), ("b", self.b, b_walk)] {
            let four = walk != Walk::Single;
            source.input(name, Slot::Plan(operand.buffer), operand.dtype, four);
        }
        let store = self.store(&mut source, split)?;
        let units =
            self.batches() * m.div_ceil(rows) * n.div_ceil(columns) * split.map_or(1, |s| s.parts);
        let (label, template, size, mut groups, form) = match form {
            Form::Registers { rows, quads } => (
                "matmul_registers",
                "matmul_registers.wgsl",
                64,
                units.div_ceil(64),
                context! { rows, quads },
            ),
            Form::Lanes { rows, quads, size } => (
                "matmul_lanes",
                "matmul_lanes.wgsl",
                size,
                units,
                context! { rows, quads, size },
            ),
            Form::Tiled { tile, block, depth } => (
                "matmul_tiled",
                "matmul_tiled.wgsl",
                256,
                units,
                context! { tile, block, depth },
            ),
        };
        let mut sums = None;
        if let (Some(reduction), None) = (&self.sums, split) {
            source.u32("product_groups", groups);
            let (reduction, threads) = reduction.beside(&mut source)?;
            sums = Some(reduction);
            groups += threads.div_ceil(size);
        }
        if let Some(split) = split {
            source.u32("parts", split.parts);
            source.u32("chunk", split.chunk);
        }
        let layouts = [&self.a.layout, &self.b.layout].map(|l| Layout {
            shape: self.batch.clone(),
            strides: l.strides[..rank].into(),
            offset: 0,
        });
        let axis = Axis::new(self.batch, 0..rank, &[&layouts[0], &layouts[1]]);
        let names = ["a".to_string(), "b".to_string()];
        let mut batch = String::new();
        let offsets = axis.point(&mut source, &names, "t", "batch", &mut batch);
        let own = context! {
            t => register(self.element()),
            counts => context! { a => self.counts()[0], b => self.counts()[1] },
            a_walk => a_walk.name(),
            b_walk => b_walk.name(),
            deep => self.element() == DType::F32
                && split.map_or(k, |s| s.chunk) > deepest_chain(source.traits.software),
            block_length => CHAIN,
            split => split.is_some(),
            sums,
            batch,
            base => context! {
                a => sum(&["params.a_start", &offsets[0]]),
                b => sum(&["params.b_start", &offsets[1]]),
            },
        };
        source.flops = 2.0 * (self.batches() * m * n) as f64 * k as f64;
        let variables = context! { ..form, ..own, ..store };
        source.render(label, template, &variables, groups)
    }

    /// What finishes and stores four elements of a row: the variables of `matmul/store.wgsl`.
    fn store(&self, source: &mut Source<'_>, split: Option<&Split>) -> Result<Value> {
        let whole = self.n.numel().is_multiple_of(4);
        let store = |name: String, value: String| context! { name, value };
        if let Some(split) = split {
            source.u32("pitch", split.pitch);
            source.output("partial", split.slot, self.element(), whole);
            let stores = vec![store("partial".into(), "acc".into())];
            return Ok(context! { whole, epilogue => "", stores });
        }
        let mut epilogue = String::new();
        let inputs = accesses("z", self.epilogue_inputs);
        let rank = self.batch.rank();
        let layouts: Vec<&Layout> = inputs.iter().map(|a| &a.layout).collect();
        let names: Vec<String> = inputs.iter().map(|a| a.name.clone()).collect();
        let shape = self.with_inner(&[]);
        let columns = rank + self.m.rank()..shape.rank();
        // The row and the batch are points, the columns are lanes.
        let batch = Axis::new(&shape, 0..rank, &layouts);
        let row = Axis::new(&shape, rank..columns.start, &layouts);
        let column = Axis::new(&shape, columns, &layouts);
        let aligned: Vec<bool> = (0..inputs.len())
            .map(|i| layouts[i].offset.is_multiple_of(4) && batch.divides(i) && row.divides(i))
            .collect();
        let batches = batch.point(source, &names, "zb", "batch", &mut epilogue);
        let rows = row.point(source, &names, "zr", "row", &mut epilogue);
        let columns = column.lanes(source, &names, "zc", "col", &aligned, &mut epilogue);
        for (i, access) in inputs.iter().enumerate() {
            let (offset, lanes) = &columns[i];
            let begin = start(source, access);
            source.input(
                &access.name,
                access.slot,
                access.dtype,
                *lanes == Lanes::Four,
            );
            let at = sum(&[&begin, &batches[i], &rows[i], offset]);
            load(access, lanes, &at, &mut epilogue);
        }
        let scope = Scope {
            inputs: &names,
            scalars: None,
            accumulators: &["acc".to_string()],
            index: "(vec4<u32>(to) + vec4<u32>(0u, 1u, 2u, 3u))",
            block: whole,
            prefix: "e",
            first_scalar: 0,
        };
        let values = codegen::program(source, self.epilogue, &scope, &mut epilogue)?;
        let mut stores = Vec::new();
        for (i, (value, output)) in values.into_iter().zip(self.outputs).enumerate() {
            let name = format!("y{i}");
            source.output(&name, Slot::Plan(output.buffer), output.dtype, whole);
            stores.push(store(name, value));
        }
        Ok(context! { whole, epilogue, stores })
    }
}

/// A product whose `k` is split.
struct Split {
    parts: usize,
    chunk: usize,
    pitch: usize,
    slot: Slot,
}
