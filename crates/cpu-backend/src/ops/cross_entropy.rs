//! Cross-entropy with its gradient, from one read of the logits.

use pulp::{Simd, WithSimd};
use wgrad_core::ops::CrossEntropy;
use wgrad_core::{DType, Layout, Operand, Output, ScalarBits, Shape};

use super::{CpuOperation, Launch};
use crate::cursor::{Cursor, Walk};
use crate::executor::{Context, Launchable};
use crate::fold;
use crate::index::{FirstFault, Integers};
use crate::instructions::dispatch;
use crate::interpreter::Bound;
use crate::lanes::{Element, FloatElement, FloatLane, Lane};
use crate::loops::fused;
use crate::parallel::{self, PARALLEL_ELEMENTS};
use crate::scratch;
use crate::storage;

/// A prepared cross-entropy.
struct Loss {
    rows: usize,
    classes: usize,
    logits: Operand,
    /// The logits in the order of rows.
    walk: Option<Walk>,
    targets: Integers,
    /// The target that does not count.
    ignore: i64,
    weight: Option<Operand>,
    loss: Option<Output>,
    row_weight: Option<Output>,
    grad: Option<Output>,
}

impl CpuOperation for CrossEntropy {
    fn prepare(&self, launch: &Launch<'_>) -> Result<Box<dyn Launchable>, String> {
        let (logits, targets, checker) = (launch.input(0)?, launch.input(1)?, launch.checker);
        let [rows, classes] = logits.layout.shape[..] else {
            return Err(format!("logits of shape {}", logits.layout.shape));
        };
        checker.operand(targets, Some(&Shape::from(rows)))?;
        let weight = launch.inputs.get(2);
        if let Some(weight) = weight {
            checker.operand(weight, Some(&Shape::from(classes)))?;
            if !weight.dtype.is_float() {
                return Err(format!("weights of {}", weight.dtype));
            }
        }
        let output = |part: usize| launch.outputs.get(part).copied().flatten();
        let [loss, row_weight, grad] = [Self::LOSS, Self::WEIGHT, Self::GRAD].map(output);
        if classes == 0 {
            return Err("no classes".to_string());
        }
        let numel = rows.checked_mul(classes).ok_or("too many logits")?;
        checker.operand(logits, Some(&Shape::from([rows, classes])))?;
        if !logits.dtype.is_float() {
            return Err(format!("logits of {}", logits.dtype));
        }
        for (output, len) in [(loss, rows), (row_weight, rows), (grad, numel)] {
            if let Some(output) = output {
                checker.output(output, len)?;
                if !output.dtype.is_float() {
                    return Err(format!("an output of {}", output.dtype));
                }
            }
        }
        if grad.is_some_and(|g| g.dtype.compute() != logits.dtype.compute()) {
            return Err("logits and gradient of different types".to_string());
        }
        Ok(Box::new(Loss {
            rows,
            classes,
            walk: (rows > 0 && !dense_rows(logits)).then(|| Walk::new(&logits.layout)),
            logits: logits.clone(),
            targets: Integers::new(targets)?,
            ignore: self.ignore,
            weight: weight.cloned(),
            loss,
            row_weight,
            grad,
        }))
    }
}

/// Whether each row lies dense in its compute type.
fn dense_rows(logits: &Operand) -> bool {
    let Layout { shape, strides, .. } = &logits.layout;
    logits.dtype == logits.dtype.compute() && (shape[1] == 1 || strides[1] == 1)
}

/// `e^(x - shift)`.
struct ShiftedExp<'a, E>(&'a [E], E, &'a mut [E]);
impl<E: FloatElement> WithSimd for ShiftedExp<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if fused::<S>() {
            let shift = E::Fused::new(self.1);
            for (o, &x) in self.2.iter_mut().zip(self.0) {
                *o = E::Fused::new(x).sub(shift).exp().raw();
            }
        } else {
            let shift = E::Plain::new(self.1);
            for (o, &x) in self.2.iter_mut().zip(self.0) {
                *o = E::Plain::new(x).sub(shift).exp().raw();
            }
        }
    }
}

/// `x * factor`.
struct Scaled<'a, E>(&'a [E], E, &'a mut [E]);
impl<E: Element> WithSimd for Scaled<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let factor = E::Plain::new(self.1);
        for (o, &x) in self.2.iter_mut().zip(self.0) {
            *o = E::Plain::new(x).mul(factor).raw();
        }
    }
}

/// The largest element of a row that is not empty. Where the row has a NaN, the result is any
/// element: the sum of exponentials is NaN whatever is subtracted, and telling NaN apart here would
/// cost three instructions in place of one.
struct Largest<'a, E>(&'a [E]);
impl<E: Element> WithSimd for Largest<'_, E> {
    type Output = E;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> E {
        const LANES: usize = 32;
        let larger = |a: E, b: E| if a > b { a } else { b };
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [self.0[0]; LANES];
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = larger(*lane, x);
            }
        }
        let most = lanes[1..].iter().fold(lanes[0], |a, &b| larger(a, b));
        rest.iter().fold(most, |a, &b| larger(a, b))
    }
}

/// Writes one float.
///
/// # Safety
/// Element `at` of the output is writable, by this task only.
unsafe fn put(output: Option<Output>, buffers: &[Bound], at: usize, value: f64) {
    if let Some(output) = output {
        let start = buffers[output.buffer].start;
        // SAFETY: the caller's promise.
        unsafe {
            let target = start.add(at * output.dtype.size());
            if output.dtype == DType::F64 {
                target.cast::<f64>().write(value);
            } else {
                let value = value as f32;
                storage::store(output.dtype, std::ptr::from_ref(&value).cast(), target, 1);
            }
        }
    }
}

/// Reads one float.
///
/// # Safety
/// The element is readable.
unsafe fn get(dtype: DType, element: *const u8) -> f64 {
    // SAFETY: the caller's promise.
    unsafe {
        if dtype == DType::F64 {
            element.cast::<f64>().read()
        } else {
            let mut value = 0f32;
            storage::load(dtype, element, std::ptr::from_mut(&mut value).cast(), 1);
            f64::from(value)
        }
    }
}

impl Loss {
    /// # Safety
    /// Operands and outputs were checked against the buffers; this task alone has these rows.
    unsafe fn rows<E: FloatElement>(
        &self,
        buffers: &[Bound],
        rows: std::ops::Range<usize>,
        faults: &FirstFault,
    ) {
        let classes = self.classes;
        let layout = &self.logits.layout;
        let size = self.logits.dtype.size();
        let base = buffers[self.logits.buffer].start.cast_const();
        let mut cursor = self.walk.as_ref().map(Cursor::new);
        scratch::with(|scratch| {
            // A row as it was loaded and widened, its exponentials, and the row as it lies.
            let work = scratch.slice::<E>(3 * classes);
            let (loaded, work) = work.split_at_mut(classes);
            let (exponentials, staged) = work.split_at_mut(classes);
            for row in rows {
                // SAFETY: the caller's promise; the logits of a row are read before its gradient
                // is written, which may lie over them.
                unsafe {
                    let x: &[E] = match &mut cursor {
                        None => {
                            let at = layout.offset as isize + row as isize * layout.strides[0];
                            std::slice::from_raw_parts(
                                base.offset(at * size as isize).cast(),
                                classes,
                            )
                        }
                        Some(cursor) => {
                            let position = row * classes;
                            let into = loaded.as_mut_ptr().cast::<u8>();
                            if self.logits.dtype == self.logits.dtype.compute() {
                                cursor.gather(base, size, position, into, classes);
                            } else {
                                let staged = staged.as_mut_ptr().cast::<u8>();
                                cursor.gather(base, size, position, staged, classes);
                                storage::load(self.logits.dtype, staged, into, classes);
                            }
                            &*loaded
                        }
                    };
                    let target = self.targets.get(buffers, row);
                    let ignored = target == self.ignore;
                    let class = usize::try_from(target).ok().filter(|&t| t < classes);
                    let Some(t) = class.filter(|_| !ignored) else {
                        if !ignored {
                            faults.report(row, target);
                        }
                        let (loss, weight) = if ignored { (0.0, 0.0) } else { (f64::NAN, 1.0) };
                        put(self.loss, buffers, row, loss);
                        put(self.row_weight, buffers, row, weight);
                        if let Some(grad) = self.grad {
                            let bytes = classes * grad.dtype.size();
                            let start = buffers[grad.buffer].start.add(row * bytes);
                            start.write_bytes(0, bytes);
                        }
                        continue;
                    };
                    let weight = self.weight.as_ref().map_or(1.0, |weight| {
                        let at = weight.layout.index(&[t]);
                        let start = buffers[weight.buffer].start.cast_const();
                        get(weight.dtype, start.add(at * weight.dtype.size()))
                    });
                    let most = dispatch(Largest(x));
                    dispatch(ShiftedExp(x, most, &mut *exponentials));
                    // The target's gradient is minus the sum of the other probabilities.
                    let others =
                        fold::long_sum(&exponentials[..t]) + fold::long_sum(&exponentials[t + 1..]);
                    let total = others + exponentials[t].to_f64();
                    // The logarithm would vanish beside a large maximum, and where the target is
                    // the maximum, ln(1 + others) keeps small losses exact.
                    let (most, own) = (most.to_f64(), x[t].to_f64());
                    let log_total = match own == most {
                        true => others.ln_1p(),
                        false => total.ln(),
                    };
                    let loss = log_total + (most - own);
                    put(self.loss, buffers, row, weight * loss);
                    put(self.row_weight, buffers, row, weight);
                    if let Some(grad) = self.grad {
                        let scale = E::from_f64(weight / total);
                        let at_target = E::from_f64(-weight * (others / total));
                        let start = buffers[grad.buffer].start;
                        let start = start.add(row * classes * grad.dtype.size());
                        if grad.dtype == grad.dtype.compute() {
                            let out = std::slice::from_raw_parts_mut(start.cast::<E>(), classes);
                            dispatch(Scaled(exponentials, scale, &mut *out));
                            out[t] = at_target;
                        } else {
                            dispatch(Scaled(exponentials, scale, &mut *staged));
                            staged[t] = at_target;
                            let block = staged.as_ptr().cast();
                            storage::store(grad.dtype, block, start, classes);
                        }
                    }
                }
            }
        });
    }
}

impl Launchable for Loss {
    fn launch(&self, context: &Context<'_>, _: &[ScalarBits]) -> Option<i64> {
        let buffers = context.buffers;
        let faults = FirstFault::default();
        let parallel = self.rows * self.classes >= PARALLEL_ELEMENTS / 4;
        parallel::for_ranges(parallel, self.rows, 1, |start, end| {
            // SAFETY: everything was checked when this was made; tasks have disjoint rows.
            unsafe {
                if self.logits.dtype == DType::F64 {
                    self.rows::<f64>(buffers, start..end, &faults);
                } else {
                    self.rows::<f32>(buffers, start..end, &faults);
                }
            }
        });
        faults.value()
    }
}
