//! Modules in modules: printing, walks, maps, freezing, hooks, summaries.

mod device;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use device::{cpu, values};
use wgrad_core::{Error, Result, Tensor};
use wgrad_nn::optim::{Adam, AdamOptions, Optimizer, Sgd, SgdOptions};
use wgrad_nn::{
    Dropout, Forward, Func, Linear, Module, ModuleDict, ParameterDict, ParameterList, Relu,
    Sequential, Strict, hooks, summary, summary_of,
};

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Net {
    first: Relu,
    body: Sequential,
    second: Relu,
    heads: HashMap<String, Linear>,
    blocks: Vec<Block>,
    absent: Option<Linear>,
    extra: Option<Linear>,
    scales: ParameterList,
    boxed: Box<dyn Forward + Send + Sync>,
}

/// Says more than its name.
#[derive(Module)]
#[module(crate = wgrad_nn, display)]
struct Block {
    fc: Linear,
    #[module(skip)]
    width: usize,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block(width={})", self.width)
    }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::call(self, x, |x| {
            let x = self.body.forward(&self.first.forward(x)?)?;
            let x = self.boxed.forward(&self.second.forward(&x)?)?;
            self.heads["value"].forward(&x)
        })
    }
}

fn net() -> Net {
    let dev = cpu();
    let linear = |inputs, out| Linear::new(inputs, out, &dev);
    let block = || Block {
        fc: linear(2, 2),
        width: 2,
    };
    Net {
        first: Relu,
        body: Sequential::from((linear(2, 4), Relu, Dropout::new(0.5), Relu)),
        second: Relu,
        heads: ["value", "policy", "aux"]
            .into_iter()
            .enumerate()
            .map(|(i, name)| (name.to_string(), linear(3, i + 1)))
            .collect(),
        blocks: vec![block(), block()],
        absent: None,
        extra: Some(linear(1, 1)),
        scales: vec![Tensor::ones([2], &dev).requires_grad()],
        boxed: Box::new(Sequential::from((Relu, linear(4, 3)))),
    }
}

#[test]
fn trees_print_nested() {
    let text = "\
Net(
  (first): Relu
  (body): Sequential(
    (0): Linear(2, 4)
    (1): Relu
    (2): Dropout(p=0.5)
    (3): Relu
  )
  (second): Relu
  (heads): ModuleDict(
    (aux): Linear(3, 3)
    (policy): Linear(3, 2)
    (value): Linear(3, 1)
  )
  (blocks): ModuleList(
    (0-1): 2 x Block(
      width=2
      (fc): Linear(2, 2)
    )
  )
  (extra): Linear(1, 1)
  (scales): ParameterList
  (boxed): Sequential(
    (0): Relu
    (1): Linear(4, 3)
  )
)";
    let net = net();
    assert_eq!(net.tree().to_string(), text);
    let dynamic: &dyn Module = &net;
    assert_eq!(dynamic.tree(), net.tree());
    assert_eq!(net.tree().children[1].1.children.len(), 4);
    assert_eq!(Relu.tree().to_string(), "Relu");
    let absent: Option<Linear> = None;
    assert_eq!(absent.tree().children, []);
    assert_eq!(net.extra.tree().to_string(), "Linear(1, 1)");

    let modules = net.named_modules();
    let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..4], ["", "first", "body", "body.0"]);
    assert!(names.contains(&"heads.policy") && names.contains(&"blocks.1.fc"));
    assert!(!names.contains(&"absent"));
    assert_eq!(modules[0].1, "Net");
}

#[test]
fn maps_are_named_by_their_keys_in_order() -> Result<()> {
    // Another order of the map's own in each of them.
    for _ in 0..4 {
        let net = net();
        let names: Vec<String> = net
            .heads
            .named_parameters()
            .into_iter()
            .map(|p| p.0)
            .collect();
        let expected =
            ["aux", "policy", "value"].map(|n| [format!("{n}.weight"), format!("{n}.bias")]);
        assert_eq!(names, expected.concat());
    }
    let dev = cpu();
    let mut dict: ModuleDict<Linear> = ModuleDict::new();
    dict.insert("b".into(), Linear::without_bias(1, 1, &dev));
    dict.insert("a".into(), Linear::without_bias(2, 1, &dev));
    assert_eq!(dict.named_parameters()[0].0, "a.weight");
    let mut parameters = ParameterDict::new();
    parameters.insert("x".into(), Tensor::ones([3], &dev).requires_grad());
    assert_eq!(parameters.named_parameters()[0].0, "x");
    assert_eq!(parameters.description(), "ParameterDict");

    let other = cpu();
    let mut net = net();
    net.to_device(&other)?;
    assert!(net.parameters().iter().all(|p| p.device() == &other));
    Ok(())
}

#[test]
fn tied_weights_are_saved_under_both_names_and_loaded() -> Result<()> {
    let dev = cpu();
    let first = Linear::without_bias(3, 3, &dev);
    let second = Linear::from_tensors(first.weight.clone(), None);
    let tied = vec![first, second];
    let dict = tied.state_dict();
    let other = Linear::without_bias(3, 3, &dev);
    let others = vec![
        Linear::from_tensors(other.weight.clone(), None),
        Linear::from_tensors(other.weight.clone(), None),
    ];
    others.load_state_dict(&dict, Strict)?;
    assert_eq!(values(&other.weight), values(&tied[0].weight));
    assert_eq!(others.parameters().len(), 1);
    Ok(())
}

#[test]
fn frozen_parameters_stay_as_they_are() -> Result<()> {
    let dev = cpu();
    let model = Sequential::from((Linear::new(2, 3, &dev), Relu, Linear::new(3, 1, &dev)));
    model.layers()[0].set_requires_grad(false);
    assert_eq!(model.parameters().len(), 4);
    let before = model.state_dict();
    let mut optimizers: [Box<dyn Optimizer>; 2] = [
        Box::new(Adam::new(model.parameters(), AdamOptions::default())),
        Box::new(Sgd::new(
            model.parameters(),
            SgdOptions {
                lr: 0.1,
                weight_decay: 0.1,
                ..Default::default()
            },
        )),
    ];
    for optimizer in &mut optimizers {
        optimizer.zero_grad();
        let y = model.forward(&Tensor::ones([4, 2], &dev))?;
        y.sum().backward()?;
        optimizer.step()?;
    }
    for (name, tensor) in model.state_dict() {
        let same = values(&tensor) == values(&before[&name]);
        assert_eq!(same, name.starts_with("0."), "{name}");
    }
    model.set_requires_grad(true);
    model
        .forward(&Tensor::ones([4, 2], &dev))?
        .sum()
        .backward()?;
    assert!(model.parameters().iter().all(|p| p.grad().is_ok()));
    Ok(())
}

#[test]
fn hooks_see_every_layer_under_its_name() -> Result<()> {
    let net = net();
    net.eval();
    let x = Tensor::ones([5, 2], net.scales[0].device());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (into, out) = (seen.clone(), seen.clone());
    let before = hooks::before(&net, move |call, _| {
        into.borrow_mut().push(format!("> {}", call.path));
        None
    });
    let after = hooks::after(&net, move |call, y| {
        let shape = y.shape().unwrap_or_default();
        out.borrow_mut().push(format!("{} {shape}", call.path));
        None
    });
    for _ in 0..2 {
        let _y = net.forward(&x)?;
        let expected = [
            "> ",
            "> first",
            "first [5, 2]",
            "> body",
            "> body.0",
            "body.0 [5, 4]",
            "> body.1",
            "body.1 [5, 4]",
            "> body.2",
            "body.2 [5, 4]",
            "> body.3",
            "body.3 [5, 4]",
            "body [5, 4]",
            "> second",
            "second [5, 4]",
            "> boxed",
            "> boxed.0",
            "boxed.0 [5, 4]",
            "> boxed.1",
            "boxed.1 [5, 3]",
            "boxed [5, 3]",
            "> heads.value",
            "heads.value [5, 1]",
            " [5, 1]",
        ];
        assert_eq!(seen.take(), expected);
    }
    // Layers of other models are not seen, and hooks are not where they are dropped.
    let _y = Relu.forward(&x)?;
    assert!(seen.take().is_empty());
    drop((before, after));
    let _y = net.forward(&x)?;
    assert!(seen.take().is_empty());
    Ok(())
}

#[test]
fn hooks_replace_inputs_and_results() -> Result<()> {
    let dev = cpu();
    let model = Sequential::from((Relu, Relu));
    let x = Tensor::new([-1.0, 2.0], &dev);
    let before = hooks::before(&model, |call, x| (call.path == "1").then(|| x * 10.0));
    assert_eq!(values(&model.forward(&x)?), [0.0, 20.0]);
    drop(before);
    // A hook that calls layers of the model is not called by them.
    let inner = Rc::new(RefCell::new(0));
    let calls = inner.clone();
    let after = hooks::after(&model, move |call, y| {
        *calls.borrow_mut() += 1;
        let again = Relu.forward(&(y - 1.0)).ok()?;
        (call.path == "0").then_some(again)
    });
    assert_eq!(values(&model.forward(&x)?), [0.0, 1.0]);
    assert_eq!(*inner.borrow(), 3);
    drop(after);
    // A result that has failed is an error.
    let _bad = hooks::after(&model, |call, y| {
        (call.path == "0").then(|| y + Tensor::ones([3], y.device()))
    });
    let error = model.forward(&x).unwrap_err();
    assert!(error.to_string().starts_with("0: Relu: add"), "{error}");
    assert!(matches!(error.root(), Error::Broadcast { .. }));
    Ok(())
}

#[test]
fn errors_name_the_line_of_the_call() {
    let dev = cpu();
    let model = Sequential::new().add(Sequential::from((Relu, Linear::new(3, 1, &dev))));
    let line = line!() + 1;
    let error = model.forward(&Tensor::ones([5, 2], &dev)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("0.1: Linear(3, 1): linear: "), "{text}");
    assert!(text.contains(&format!("structure.rs:{line}:")), "{text}");
}

thread_local! {
    /// The line that fails next.
    static LINE: Cell<u32> = const { Cell::new(0) };
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Own {
    inner: Linear,
}

impl Forward for Own {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = Relu.forward(&self.inner.forward(x)?)?;
        if x.rank()? > 2 {
            LINE.set(line!() + 1);
            return (&x + Tensor::ones([7], x.device())).checked();
        }
        LINE.set(line!() + 1);
        self.inner.forward(&x)
    }
}

#[test]
fn errors_in_modules_of_users_name_their_line() {
    let dev = cpu();
    let own = Own {
        inner: Linear::new(2, 3, &dev),
    };
    let nested = Sequential::new().add(Sequential::new().add(own));
    let cube = Sequential::new().add(Func::new("Cube", |x| {
        LINE.set(line!() + 1);
        x + Tensor::ones([7], x.device())
    }));
    for (model, shape, text) in [
        (&nested, &[1, 5, 2][..], "0.0: Own: add: "),
        (&nested, &[5, 2], "0.0: Own: linear: "),
        (&cube, &[5, 2], "0: Cube: add: "),
    ] {
        let error = model
            .forward(&Tensor::ones(shape, &dev))
            .unwrap_err()
            .to_string();
        let place = format!("structure.rs:{}:", LINE.get());
        assert!(
            error.starts_with(text) && error.contains(&place),
            "{error}, not {place}"
        );
    }
}

#[test]
fn summaries_count() -> Result<()> {
    let net = net();
    net.body.layers()[0].set_requires_grad(false);
    let dev = net.scales[0].device().clone();
    let runs = dev.stats();
    let summary = summary(&net, [7, 2])?;
    assert_eq!(dev.stats().launches, runs.launches, "nothing runs");
    let row = |path: &str| {
        summary
            .rows
            .iter()
            .find(|row| row.path == path)
            .expect("a row")
    };
    assert_eq!(summary.rows.len(), 12);
    assert_eq!(row("body.0").shape, [7, 4]);
    assert_eq!(row("body.0").parameters, 12);
    assert_eq!(row("body.0").multiply_adds, 7 * 4 * 2);
    assert_eq!(row("body.0").depth, 2);
    assert_eq!(row("body").parameters, 0);
    assert_eq!(row("boxed.1").multiply_adds, 7 * 3 * 4);
    assert_eq!(summary.multiply_adds, 7 * (2 * 4 + 4 * 3 + 3));
    assert_eq!(summary.parameters, net.num_parameters());
    assert_eq!(summary.trainable, net.num_parameters() - 12);
    assert_eq!(summary.bytes, 4 * net.num_parameters());
    // Training is as it was.
    assert!(values(&net.body.forward(&Tensor::ones([100, 2], &dev))?).contains(&0.0));

    let text = summary.to_string();
    assert!(text.contains("  body: Sequential"), "{text}");
    assert!(
        text.contains("    body.0: Linear(2, 4)     [7, 4]          12             56"),
        "{text}"
    );
    assert!(text.contains("parameters of other modules: "), "{text}");

    let plain = Sequential::new().add(Relu);
    let error = wgrad_nn::summary(&plain, [1]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("summary: a model without parameters"),
        "{error}"
    );
    assert_eq!(summary_of(&plain, &Tensor::ones([3], &dev))?.rows.len(), 2);
    let error = wgrad_nn::summary(&net, [7, 3]).unwrap_err();
    assert!(
        error.to_string().starts_with("0: Linear(2, 4): linear"),
        "{error}"
    );
    Ok(())
}

#[test]
fn apply_comes_to_inner_modules_first() -> Result<()> {
    let dev = cpu();
    let inner = Sequential::from((Linear::new(2, 3, &dev), Relu));
    let model = Sequential::from((inner, Dropout::new(0.5), Linear::without_bias(3, 1, &dev)));
    let mut seen = Vec::new();
    model.apply(&mut |module| {
        let names: Vec<&str> = module
            .parameters()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        seen.push(format!(
            "{}:{}({})",
            module.name(),
            module.kind(),
            names.join(",")
        ));
        assert!(module.description().starts_with(module.kind()));
        assert!(module.buffers().is_empty() && module.buffer("weight").is_none());
        Ok(())
    })?;
    let wanted = [
        "0.0:Linear(weight,bias)",
        "0.1:Relu()",
        "0:Sequential()",
        "1:Dropout()",
        "2:Linear(weight)",
        ":Sequential()",
    ];
    assert_eq!(seen, wanted);
    // The first error ends the walk.
    let mut count = 0;
    let stopped = model.apply(&mut |module| {
        count += 1;
        match module.parameter("bias") {
            Some(_) => Err(Error::Device("enough".into())),
            None => Ok(()),
        }
    });
    assert!(stopped.is_err() && count == 1, "{count}");
    Ok(())
}

#[test]
fn update_bn_takes_means_of_all_batches() -> Result<()> {
    let dev = cpu();
    let options = wgrad_nn::InstanceNormOptions {
        track_running_stats: true,
        ..Default::default()
    };
    let model = Sequential::from((
        wgrad_nn::BatchNorm1d::new(2, &dev),
        wgrad_nn::InstanceNorm1d::with(2, options, &dev),
        Dropout::new(0.5),
    ));
    let batch =
        |k: f64| Tensor::new([[[1.0, 2.0], [3.0, 9.0]], [[0.0, 5.0], [2.0, 2.0]]], &dev) * k;
    let _ = model.forward(&batch(7.0))?; // leaves statistics behind
    model.eval();
    let before = model.state_dict();
    wgrad_nn::update_bn(&model, || {
        [1.0, 2.0, 6.0]
            .iter()
            .try_for_each(|&k| model.forward(&batch(k)).map(drop))
    })?;
    let after = model.state_dict();
    // The batch's own: means 2 and 4, unbiased variances 14/3 and 34/3; times 3 and 41/3 on the mean.
    let close = |name: &str, wanted: [f64; 2]| {
        for (got, wanted) in values(&after[name]).into_iter().zip(wanted) {
            assert!(
                (got - wanted).abs() < 1e-4 * wanted,
                "{name}: {got}, not {wanted}"
            );
        }
    };
    close("0.running_mean", [6.0, 12.0]);
    close(
        "0.running_var",
        [14.0 / 3.0 * 41.0 / 3.0, 34.0 / 3.0 * 41.0 / 3.0],
    );
    assert_eq!(values(&after["0.num_batches_tracked"]), [3.0]);
    // Nothing was reset but batch norms, and nothing is in training.
    assert_ne!(values(&before["1.running_mean"]), [0.0, 0.0]);
    let y = model.forward(&batch(1.0))?;
    assert_eq!(values(&y), values(&model.forward(&batch(1.0))?));
    assert_eq!(
        values(&model.state_dict()["0.running_mean"]),
        values(&after["0.running_mean"])
    );
    // An error is handed on, and the model is as it was.
    let failed = wgrad_nn::update_bn(&model, || Err(Error::Device("no data".into())));
    assert!(failed.is_err());
    let _ = model.forward(&batch(3.0))?;
    assert_eq!(values(&model.state_dict()["0.num_batches_tracked"]), [0.0]);
    Ok(())
}
