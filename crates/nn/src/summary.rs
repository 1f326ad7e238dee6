//! A table of a model's layers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use wgrad_core::{Device, Error, Place, Result, Shape, Tensor, no_grad};

use crate::forward::Forward;
use crate::hooks;
use crate::init;
use crate::module::Module;
use crate::part::{Leaf, Training, Visitor};

/// A layer's call in a [`Summary`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The layer's name: `head.0`, and empty for the model itself.
    pub path: String,
    /// [`Module::description`].
    pub description: String,
    /// How many layers it was called by.
    pub depth: usize,
    /// The shape of its result (of several the first).
    pub shape: Shape,
    /// How many numbers its own parameters hold, without those of modules in it.
    pub parameters: usize,
    /// How many multiplications with an addition the layer itself does.
    pub multiply_adds: usize,
}

/// A model's layers in the order of their calls; [`summary`] makes it. It prints as a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The calls of layers. A layer that is called twice is here twice.
    pub rows: Vec<Row>,
    /// How many numbers all parameters of the model hold.
    pub parameters: usize,
    /// How many of them are trained: not frozen.
    pub trainable: usize,
    /// The multiply-adds of all rows. Layers count products of matrices, and convolutions;
    /// what modules compute by themselves is not seen.
    pub multiply_adds: usize,
    /// Bytes of all parameters.
    pub bytes: usize,
}

/// The table of a model's layers for an input of this shape: what they are, the shapes of their
/// results, parameters and multiply-adds. Nothing is computed: the model is called in evaluation
/// on zeros, and what that records is dropped.
///
/// Modules of your own appear where their `forward` goes through [`hooks::call`]; the layers in
/// them always do.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::{Linear, Relu, Sequential, summary};
///
/// let model = Sequential::from((Linear::new(784, 32, &dev), Relu, Linear::new(32, 10, &dev)));
/// let summary = summary(&model, [1, 784])?;
/// assert_eq!(summary.parameters, 784 * 32 + 32 + 32 * 10 + 10);
/// assert_eq!(summary.multiply_adds, 784 * 32 + 32 * 10);
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the forward pass fails with, and [`Error::Value`] for a model without parameters, whose
/// device is not known: [`summary_of`] takes an input.
#[track_caller]
pub fn summary<M: Forward + ?Sized>(model: &M, shape: impl Into<Shape>) -> Result<Summary> {
    let place = Place::caller();
    let device = device(model, place)?;
    let parameter = model.parameters().into_iter().next();
    let dtype = parameter.map_or(Ok(init::FLOAT), |parameter| parameter.dtype())?;
    let x = place.hold(|| Tensor::zeros(shape, (dtype, &device)));
    summary_of(model, &x)
}

/// [`summary`] for a given input, of which only shape and type matter.
///
/// # Errors
/// What the forward pass fails with.
#[track_caller]
pub fn summary_of<M: Forward + ?Sized>(model: &M, x: &Tensor) -> Result<Summary> {
    let rows = Rc::new(RefCell::new(Vec::<Row>::new()));
    // The rows of calls that have begun and not ended.
    let open = Rc::new(RefCell::new(Vec::<usize>::new()));
    let own = own_parameters(model);
    let (begun, calls) = (rows.clone(), open.clone());
    let before = hooks::before(model, move |call, _| {
        let mut rows = begun.borrow_mut();
        let depth = calls.borrow().len();
        calls.borrow_mut().push(rows.len());
        rows.push(Row {
            path: call.path.to_string(),
            description: call.description.to_string(),
            depth,
            shape: Shape::default(),
            parameters: own.get(call.path).copied().unwrap_or(0),
            multiply_adds: 0,
        });
        None
    });
    let (ended, calls) = (rows.clone(), open);
    let after = hooks::after(model, move |call, y| {
        if let Some(at) = calls.borrow_mut().pop()
            && let Some(row) = ended.borrow_mut().get_mut(at)
        {
            row.shape = y.shape().unwrap_or_default();
            row.multiply_adds = call.multiply_adds;
        }
        None
    });
    let result = evaluated(model, || no_grad(|| model.forward(x)));
    drop((before, after));
    let _ = result?;
    let rows = rows.take();
    let parameters = model.parameters();
    let count = |p: &Tensor| p.numel().unwrap_or(0);
    let bytes = |p: &Tensor| count(p) * p.dtype().map_or(0, |dtype| dtype.size());
    Ok(Summary {
        parameters: model.num_parameters(),
        trainable: parameters
            .iter()
            .filter(|p| p.needs_grad())
            .map(count)
            .sum(),
        multiply_adds: rows.iter().map(|row| row.multiply_adds).sum(),
        bytes: parameters.iter().map(bytes).sum(),
        rows,
    })
}

/// Where a model's parameters are.
fn device<M: Module + ?Sized>(model: &M, place: Place) -> Result<Device> {
    let parameter = model.parameters().into_iter().next();
    parameter
        .map(|parameter| parameter.device().clone())
        .ok_or_else(|| Error::Value {
            op: "summary",
            problem: "a model without parameters has no device; summary_of takes an input".into(),
            place,
        })
}

/// How many numbers the parameters of each module hold, without those of modules in it.
fn own_parameters<M: Module + ?Sized>(model: &M) -> HashMap<String, usize> {
    let mut own: HashMap<String, usize> = HashMap::new();
    for (name, parameter) in model.named_parameters() {
        let path = name.rsplit_once('.').map_or("", |(path, _)| path);
        *own.entry(path.to_string()).or_default() += parameter.numel().unwrap_or(0);
    }
    own
}

/// Calls `f` with the model in evaluation, and leaves each of its modules as it was.
fn evaluated<M: Module + ?Sized, T>(model: &M, f: impl FnOnce() -> T) -> T {
    let mut modes = Vec::new();
    each_mode(model, |mode| {
        modes.push(mode.get());
        mode.set(false);
    });
    let result = f();
    let mut modes = modes.into_iter();
    each_mode(model, |mode| mode.set(modes.next().unwrap_or(true)));
    result
}

fn each_mode<M: Module + ?Sized>(model: &M, mut f: impl FnMut(&Training)) {
    model.visit(&mut Visitor::new(&mut |_, leaf| {
        if let Leaf::Training(mode) = leaf {
            f(mode);
        }
    }));
}

/// A number with its thousands apart.
fn apart(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |n: usize| match n {
            0 => "-".to_string(),
            n => apart(n),
        };
        let head = ["layer", "result", "parameters", "multiply-adds"].map(String::from);
        let mut lines = vec![head];
        for row in &self.rows {
            let name = match row.path.as_str() {
                "" => row.description.clone(),
                path => format!("{path}: {}", row.description),
            };
            lines.push([
                format!("{:1$}{name}", "", 2 * row.depth),
                row.shape.to_string(),
                some(row.parameters),
                some(row.multiply_adds),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let [name, shape, own, adds] = [0, 1, 2, 3].map(|column| width(column).unwrap_or(0));
        let rule = "-".repeat(name + shape + own + adds + 6);
        for (i, line) in lines.iter().enumerate() {
            let [a, b, c, d] = line;
            writeln!(f, "{a:name$}  {b:shape$}  {c:>own$}  {d:>adds$}")?;
            if i == 0 {
                writeln!(f, "{rule}")?;
            }
        }
        writeln!(f, "{rule}")?;
        let seen: HashMap<&str, usize> = (self.rows.iter())
            .map(|row| (row.path.as_str(), row.parameters))
            .collect();
        let others = self.parameters.saturating_sub(seen.values().sum());
        if others > 0 {
            writeln!(f, "parameters of other modules: {}", apart(others))?;
        }
        let (all, trained) = (apart(self.parameters), apart(self.trainable));
        writeln!(
            f,
            "parameters: {all}, trained: {trained}, {} bytes",
            apart(self.bytes)
        )?;
        write!(f, "multiply-adds: {}", apart(self.multiply_adds))
    }
}
