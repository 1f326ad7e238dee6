//! Names, walks, train and eval, state dictionaries, moving; and the derive.

mod device;

use device::{cpu, values};
use wgrad_core::{DType, Error, Result, Tensor};
use wgrad_nn::{
    Dropout, Forward, InModule, Linear, Loose, Module, Part, Relu, Sequential, StateDict, Strict,
    Tanh,
};

fn names(module: &impl Module) -> Vec<String> {
    module
        .named_parameters()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Net {
    head: Sequential,
    blocks: Vec<Block>,
    extra: Option<Linear>,
    absent: Option<Linear>,
    pair: (Linear, Tensor),
    boxed: Box<dyn Forward + Send + Sync>,
    r#type: Tensor,
    #[module(name = "gamma")]
    scale: Tensor,
    #[module(buffer)]
    mean: Tensor,
    #[module(buffer)]
    variance: Option<Tensor>,
    #[module(skip)]
    _note: String,
}

#[derive(Module)]
#[module(crate = ::wgrad_nn)]
struct Block(Linear, Dropout, #[module(skip)] &'static str);

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Generic<A, B: Clone>
where
    A: Part,
{
    a: A,
    b: Vec<B>,
    #[module(skip)]
    _c: std::marker::PhantomData<B>,
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
enum Choice {
    Fc(Linear),
    Named {
        weight: Tensor,
        #[module(skip)]
        _size: usize,
    },
    Nothing,
}

#[derive(Module)]
#[module(crate = wgrad_nn)]
struct Unit;

fn net(dev: &wgrad_core::Device) -> Net {
    let linear = || Linear::new(2, 2, dev);
    Net {
        head: Sequential::from((linear(), Relu, Linear::without_bias(2, 1, dev))),
        blocks: vec![
            Block(linear(), Dropout::new(0.5), "first"),
            Block(linear(), Dropout::new(0.5), "second"),
        ],
        extra: Some(linear()),
        absent: None,
        pair: (linear(), Tensor::ones([3], dev).requires_grad()),
        boxed: Box::new(Sequential::new().add(Dropout::new(0.5)).add(linear())),
        r#type: Tensor::zeros([1], dev).requires_grad(),
        scale: Tensor::ones([2, 2], dev).requires_grad(),
        mean: Tensor::zeros([4], dev).buffer(),
        variance: Some(Tensor::ones([4], dev).buffer()),
        _note: "not state".into(),
    }
}

#[test]
fn names_follow_fields_and_positions() {
    let dev = cpu();
    let net = net(&dev);
    let expected = [
        "head.0.weight",
        "head.0.bias",
        "head.2.weight",
        "blocks.0.0.weight",
        "blocks.0.0.bias",
        "blocks.1.0.weight",
        "blocks.1.0.bias",
        "extra.weight",
        "extra.bias",
        "pair.0.weight",
        "pair.0.bias",
        "pair.1",
        "boxed.1.weight",
        "boxed.1.bias",
        "type",
        "gamma",
    ];
    assert_eq!(names(&net), expected);
    let buffers: Vec<String> = net.named_buffers().into_iter().map(|(n, _)| n).collect();
    assert_eq!(buffers, ["mean", "variance"]);
    assert_eq!(net.blocks[0].2, "first");
    assert_eq!(net.num_parameters(), 6 + 2 + 12 + 6 + 6 + 3 + 6 + 1 + 4);
    assert_eq!(net.state_dict().len(), expected.len() + 2);
    assert_eq!(net.description(), "Net");
    assert_eq!(net.parameters().len(), expected.len());
    assert_eq!(net.buffers().len(), 2);
}

#[test]
fn generics_enums_and_units() {
    let dev = cpu();
    let generic = Generic {
        a: Tensor::ones([1], &dev).requires_grad(),
        b: vec![Linear::without_bias(1, 1, &dev)],
        _c: std::marker::PhantomData,
    };
    assert_eq!(names(&generic), ["a", "b.0.weight"]);
    assert_eq!(
        names(&Choice::Fc(Linear::new(1, 1, &dev))),
        ["0.weight", "0.bias"]
    );
    let named = Choice::Named {
        weight: Tensor::ones([1], &dev).requires_grad(),
        _size: 3,
    };
    assert_eq!(names(&named), ["weight"]);
    assert!(names(&Choice::Nothing).is_empty());
    assert!(names(&Unit).is_empty());
    assert!(names(&[Relu, Relu]).is_empty());
    let dynamic: &dyn Module = &named;
    assert_eq!(dynamic.parameters().len(), 1);
    assert_eq!(dynamic.description(), "Choice");
}

#[test]
fn shared_parameters_count_once_and_stay_shared() -> Result<()> {
    let dev = cpu();
    let first = Linear::without_bias(3, 3, &dev);
    let second = Linear::from_tensors(first.weight.clone(), None);
    let mut tied = vec![first, second];
    assert_eq!(names(&tied), ["0.weight"]);
    assert_eq!(tied.num_parameters(), 9);
    let before = tied.state_dict();
    assert_eq!(before.keys().collect::<Vec<_>>(), ["0.weight", "1.weight"]);

    let other = cpu();
    tied.to_device(&other)?;
    assert!(tied[0].weight.is_same(&tied[1].weight));
    assert_eq!(tied[0].weight.device(), &other);
    assert!(tied[0].weight.needs_grad());
    assert_eq!(values(&tied[0].weight), values(&before["0.weight"]));
    Ok(())
}

#[test]
fn to_device_moves_buffers_and_keeps_frozen_parameters_frozen() -> Result<()> {
    let (dev, other) = (cpu(), cpu());
    let mut net = net(&dev);
    net.scale.set_requires_grad(false);
    net.to_device(&other)?;
    for (name, tensor) in net.state_dict() {
        assert_eq!(tensor.device(), &other, "{name}");
    }
    assert!(!net.scale.needs_grad() && !net.mean.needs_grad() && net.r#type.needs_grad());
    net.mean.assign(&Tensor::ones([4], &other))?;
    assert_eq!(values(&net.mean), [1.0; 4]);
    let x = Tensor::ones([1, 2], &other);
    let _ = net.head.forward(&x)?;
    Ok(())
}

#[test]
fn train_and_eval_reach_every_layer() -> Result<()> {
    let dev = cpu();
    let net = net(&dev);
    let x = Tensor::ones([1000], &dev);
    let drops =
        |layer: &dyn Forward| -> Result<bool> { Ok(values(&layer.forward(&x)?).contains(&0.0)) };
    assert!(drops(&net.blocks[1].1)?);
    net.eval();
    assert!(!drops(&net.blocks[1].1)?);
    let y = net.boxed.forward(&Tensor::ones([1, 2], &dev))?;
    assert_eq!(
        values(&y),
        values(&net.boxed.forward(&Tensor::ones([1, 2], &dev))?)
    );
    net.train();
    assert!(drops(&net.blocks[0].1)? && drops(&net.blocks[1].1)?);
    Ok(())
}

#[test]
fn state_dict_round_trip() -> Result<()> {
    let dev = cpu();
    let (a, b) = (net(&dev), net(&dev));
    let state = a.state_dict();
    b.load_state_dict(&state, Strict)?;
    for (name, tensor) in b.state_dict() {
        assert_eq!(values(&tensor), values(&state[&name]), "{name}");
    }
    // A snapshot: later changes of the module do not show.
    a.scale.assign(&Tensor::zeros([2, 2], &dev))?;
    assert_eq!(values(&state["gamma"]), [1.0; 4]);
    // Types are converted within a category, devices do not matter.
    let other = cpu();
    let half = StateDict::from([(
        "gamma".to_string(),
        Tensor::full([2, 2], 0.5, (DType::F16, &other)),
    )]);
    b.load_state_dict(&half, Loose)?;
    assert_eq!(b.scale.to_vec::<f32>()?, [0.5; 4]);
    assert!(b.scale.needs_grad());
    Ok(())
}

#[test]
fn load_errors_tell_everything_and_change_nothing() {
    let dev = cpu();
    let net = net(&dev);
    let before = net.state_dict();
    let mut dict = net.state_dict();
    dict.remove("head.0.bias");
    dict.insert("surprise".into(), Tensor::ones([1], &dev));
    dict.insert("mean".into(), Tensor::ones([5], &dev));
    dict.insert("type".into(), Tensor::new([1], &dev));
    dict.insert("gamma".into(), Tensor::full([2, 2], 7.0, &dev));
    let error = net.load_state_dict(&dict, Strict).unwrap_err();
    assert_eq!(
        error,
        Error::Load(
            "missing: head.0.bias; unexpected: surprise; type is of type i32, which does not \
             become f32; mean has shape [5], not [4]"
                .into()
        )
    );
    // Wrong shapes are wrong in loose mode too.
    let error = net.load_state_dict(&dict, Loose).unwrap_err();
    assert!(!error.to_string().contains("missing"), "{error}");
    for (name, tensor) in net.state_dict() {
        assert_eq!(values(&tensor), values(&before[&name]), "{name}");
    }
    // A tensor that is no variable takes no value.
    #[derive(Module)]
    #[module(crate = wgrad_nn)]
    struct Plain {
        weight: Tensor,
    }
    let plain = Plain {
        weight: Tensor::ones([2], &dev),
    };
    let error = plain
        .load_state_dict(&plain.state_dict(), Strict)
        .unwrap_err();
    assert!(
        error.to_string().contains("weight takes no value"),
        "{error}"
    );
    // A failed tensor is an error, and reaches nothing.
    let failed = Tensor::ones([2], &dev) + Tensor::ones([3], &dev);
    let dict = StateDict::from([("gamma".to_string(), failed)]);
    assert!(matches!(
        net.load_state_dict(&dict, Loose),
        Err(Error::Broadcast { .. })
    ));
}

#[test]
fn errors_carry_the_path() {
    let dev = cpu();
    let inner = Sequential::from((Linear::new(2, 4, &dev), Tanh, Linear::new(3, 1, &dev)));
    let model = Sequential::new().add(Relu).add(inner);
    let x = Tensor::ones([5, 2], &dev);
    let error = model.forward(&x).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("1.2: Linear(3, 1): linear: shapes [5, 4] and [3, 1]"),
        "{text}"
    );
    assert!(matches!(error.root(), Error::Shape { .. }));
    let text = model.forward(&x).in_module("head").unwrap_err().to_string();
    assert!(text.starts_with("head.1.2: Linear(3, 1): linear"), "{text}");

    // A layer made of failed tensors says why it failed.
    let bad = Linear::new(3, usize::MAX / 2, &dev);
    let error = bad.forward(&Tensor::ones([1, 3], &dev)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(bad.description(), "Linear(failed)");
    assert_eq!(bad.num_parameters(), 0);

    let text = format!("{}", Sequential::from((Linear::new(2, 4, &dev), Tanh)));
    assert_eq!(text, "Sequential(\n  (0): Linear(2, 4)\n  (1): Tanh\n)");
}

#[test]
fn zero_grad_forgets() -> Result<()> {
    let dev = cpu();
    let model = Sequential::from((Linear::new(2, 4, &dev), Tanh, Linear::new(4, 1, &dev)));
    model
        .forward(&Tensor::ones([5, 2], &dev))?
        .sum()
        .backward()?;
    assert!(model.parameters().iter().all(|p| p.grad().is_ok()));
    model.zero_grad();
    assert!(model.parameters().iter().all(|p| p.grad().is_err()));
    Ok(())
}
