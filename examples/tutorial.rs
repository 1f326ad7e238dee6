//! First steps: values, slopes, and training, each a few lines.
//!
//! ```text
//! cargo run --release --example tutorial
//! ```
//!
//! The same numbers are checked in `tests/tutorial.rs`.

use wgrad::prelude::*;

fn main() -> wgrad::Result<()> {
    // In f64, which the CPU has, to show all digits.
    let dev = wgrad::cpu();
    slopes(&dev)?;
    higher_slopes(&dev)?;
    cross_entropy(&dev)?;
    linear_layer(&dev)?;
    one_neuron(&dev)
}

fn f64s(value: f64, dev: &Device) -> Tensor {
    Tensor::scalar(value, (DType::F64, dev)).requires_grad()
}

/// What a small change of an operand does to the result.
fn slopes(dev: &Device) -> wgrad::Result<()> {
    println!("y = a^2 + b at a = 3, b = 2");
    let (a, b) = (f64s(3.0, dev), f64s(2.0, dev));
    let y = a.powi(2) + &b;
    y.backward()?;
    println!("  y = {}", y.item::<f64>()?);
    println!("  dy/da = {}", a.grad()?.item::<f64>()?);
    println!("  dy/db = {}", b.grad()?.item::<f64>()?);

    println!("loss = (w x + b - y)^2 at w = 5, x = 2, b = 2, y = 7");
    let (w, b) = (f64s(5.0, dev), f64s(2.0, dev));
    let loss = (&w * 2.0 + &b - 7.0).powi(2);
    loss.backward()?;
    println!("  loss = {}", loss.item::<f64>()?);
    println!("  dloss/dw = {}", w.grad()?.item::<f64>()?);
    println!("  dloss/db = {}", b.grad()?.item::<f64>()?);

    println!("slopes of x^2 at 2, 3, 4, 5");
    let x = Tensor::new([2.0, 3.0, 4.0, 5.0], (DType::F64, dev)).requires_grad();
    x.powi(2).sum().backward()?;
    println!("  {:?}", x.grad()?.to_vec::<f64>()?);

    println!("slope of sin(x^2) at 4");
    let x = f64s(4.0, dev);
    x.powi(2).sin().backward()?;
    println!("  {}", x.grad()?.item::<f64>()?);

    println!("exp(sin(x^2)) at 1.5");
    let x = f64s(1.5, dev);
    let y = x.powi(2).sin().exp();
    y.backward()?;
    println!("  value {}", y.item::<f64>()?);
    println!("  slope {}", x.grad()?.item::<f64>()?);
    Ok(())
}

/// A slope is a tensor like any other, and has slopes itself.
fn higher_slopes(dev: &Device) -> wgrad::Result<()> {
    println!("slopes of x^3 at 2: first, second, third");
    let x = f64s(2.0, dev);
    let record = GradOptions {
        create_graph: true,
        ..Default::default()
    };
    let mut y = x.powi(3);
    for _ in 0..3 {
        y = autograd::grad(&y, &[&x], record)?.swap_remove(0);
        println!("  {}", y.item::<f64>()?);
    }

    println!("second slope of sin(x^2) at 4");
    let x = f64s(4.0, dev);
    let first = autograd::grad(&x.powi(2).sin(), &[&x], record)?.swap_remove(0);
    let second = autograd::grad(&first, &[&x], record)?.swap_remove(0);
    println!("  {}", second.item::<f64>()?);
    Ok(())
}

fn cross_entropy(dev: &Device) -> wgrad::Result<()> {
    println!("cross-entropy of the logits [2, 8] and [5, 5] where the classes are 0 and 1");
    let logits = Tensor::new([[2.0, 8.0], [5.0, 5.0]], (DType::F64, dev));
    let loss = logits.cross_entropy(&Tensor::new([0, 1], dev));
    println!("  {}", loss.item::<f64>()?);
    Ok(())
}

/// A layer with given weights, and ten steps of Adam.
fn linear_layer(dev: &Device) -> wgrad::Result<()> {
    println!("ten steps of Adam on a layer of four inputs and two outputs");
    let weight = Tensor::new([[0.5, -0.3, 0.2, 0.1], [-0.4, 0.25, 0.35, -0.15]], dev);
    let bias = Tensor::new([0.1, -0.2], dev);
    let layer = nn::Linear::from_tensors(weight, Some(bias));
    let x = Tensor::new([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]], dev);
    let classes = Tensor::new([0, 1], dev);
    let mut adam = Adam::new(layer.parameters(), AdamOptions::default());
    for step in 0..10 {
        adam.zero_grad();
        let loss = layer.forward(&x)?.cross_entropy(&classes);
        loss.backward()?;
        adam.step()?;
        println!("  step {step}: loss {:.7}", loss.item::<f32>()?);
    }
    Ok(())
}

/// Logistic regression: does a student of this grade find a place?
fn one_neuron(dev: &Device) -> wgrad::Result<()> {
    println!("one neuron: from grades to places");
    let grades = Tensor::new([9.11, 8.9, 7.0, 6.56, 4.56], (DType::F64, dev));
    let placed = Tensor::new([1.0, 1.0, 0.0, 1.0, 0.0], (DType::F64, dev));
    let (w, b) = (f64s(0.3, dev), f64s(-2.0, dev));
    let options = SgdOptions {
        lr: 0.02,
        ..Default::default()
    };
    let mut sgd = Sgd::new(vec![w.clone(), b.clone()], options);
    for step in 0..=2000 {
        sgd.zero_grad();
        let chance = (&grades * &w + &b).sigmoid();
        let loss = loss::binary_cross_entropy(&chance, &placed);
        loss.backward()?;
        if step == 0 {
            println!("  dloss/dw = {}", w.grad()?.item::<f64>()?);
            println!("  dloss/db = {}", b.grad()?.item::<f64>()?);
        }
        if step % 500 == 0 {
            println!("  step {step}: loss {}", loss.item::<f64>()?);
        }
        sgd.step()?;
    }
    let chance = (&grades * &w + &b).sigmoid();
    println!("  chances after training: {:.3?}", chance.to_vec::<f64>()?);
    Ok(())
}
