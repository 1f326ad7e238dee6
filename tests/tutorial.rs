//! The numbers of `examples/tutorial.rs`: in f64 on the CPU to 1e-12, in f32 on every device to
//! 1e-5.

mod devices;

use wgrad::prelude::*;

/// Where to check, in which type, and how exactly.
fn checks() -> Vec<(Device, DType, f64)> {
    let mut checks = vec![(devices::cpu(), DType::F64, 1e-12)];
    checks.extend(devices::all().into_iter().map(|d| (d, DType::F32, 1e-5)));
    checks
}

fn values(tensor: &Tensor) -> wgrad::Result<Vec<f64>> {
    match tensor.dtype()? {
        DType::F64 => tensor.to_vec(),
        _ => Ok(tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
    }
}

#[track_caller]
fn assert_close(tensor: &Tensor, expected: &[f64], tolerance: f64) {
    let values = values(tensor).expect("values");
    assert_eq!(values.len(), expected.len());
    for (a, b) in values.iter().zip(expected) {
        let close = (a - b).abs() <= tolerance * b.abs().max(1.0);
        let device = tensor.device();
        assert!(
            close,
            "{a} for {b} on {device} (fused: {})",
            device.fusion()
        );
    }
}

const RECORD: GradOptions = GradOptions {
    create_graph: true,
    retain_graph: false,
    allow_unused: false,
};

#[test]
fn first_slopes() -> wgrad::Result<()> {
    for (dev, dtype, tolerance) in checks() {
        let variable = |v: f64| Tensor::scalar(v, (dtype, &dev)).requires_grad();
        let (a, b) = (variable(3.0), variable(2.0));
        let y = a.powi(2) + &b;
        y.backward()?;
        assert_close(&y, &[11.0], 0.0);
        assert_close(&a.grad()?, &[6.0], 0.0);
        assert_close(&b.grad()?, &[1.0], 0.0);

        let (w, b) = (variable(5.0), variable(2.0));
        let loss = (&w * 2.0 + &b - 7.0).powi(2);
        loss.backward()?;
        assert_close(&loss, &[25.0], 0.0);
        assert_close(&w.grad()?, &[20.0], 0.0);
        assert_close(&b.grad()?, &[10.0], 0.0);

        let x = Tensor::new([2.0, 3.0, 4.0, 5.0], (dtype, &dev)).requires_grad();
        x.powi(2).sum().backward()?;
        assert_close(&x.grad()?, &[4.0, 6.0, 8.0, 10.0], 0.0);

        let x = variable(4.0);
        x.powi(2).sin().backward()?;
        assert_close(&x.grad()?, &[-7.661275842587077], tolerance);

        let x = variable(1.5);
        let y = x.powi(2).sin().exp();
        y.backward()?;
        assert_close(&y, &[2.177273044783055], tolerance);
        assert_close(&x.grad()?, &[-4.1031164885938205], tolerance);
    }
    Ok(())
}

#[test]
fn higher_slopes() -> wgrad::Result<()> {
    for (dev, dtype, tolerance) in checks() {
        let x = Tensor::scalar(2.0, (dtype, &dev)).requires_grad();
        let mut y = x.powi(3);
        for expected in [12.0, 12.0, 6.0] {
            y = autograd::grad(&y, &[&x], RECORD)?.swap_remove(0);
            assert_close(&y, &[expected], tolerance);
        }
        let x = Tensor::scalar(4.0, (dtype, &dev)).requires_grad();
        let first = autograd::grad(&x.powi(2).sin(), &[&x], RECORD)?.swap_remove(0);
        let second = autograd::grad(&first, &[&x], RECORD)?.swap_remove(0);
        // 2 cos(x^2) - 4 x^2 sin(x^2)
        let expected = 2.0 * 16f64.cos() - 64.0 * 16f64.sin();
        assert_close(&second, &[expected], tolerance);
    }
    Ok(())
}

#[test]
fn cross_entropy() -> wgrad::Result<()> {
    for (dev, dtype, tolerance) in checks() {
        let logits = Tensor::new([[2.0, 8.0], [5.0, 5.0]], (dtype, &dev));
        let loss = logits.cross_entropy(&Tensor::new([0, 1], &dev));
        // (ln(1 + e^-6) + 6 + ln 2) / 2, in f32 3.3478115
        assert_close(&loss, &[3.3478114328488377], tolerance);
        let sure = Tensor::new([[100.0, 0.0], [0.0, 100.0]], (dtype, &dev));
        let loss = sure.cross_entropy(&Tensor::new([0, 1], &dev));
        // Exactly ln(1 + e^-100) = 4e-44, which f64 rounds away next to 100.
        assert_close(&loss, &[0.0], 1e-40);
    }
    Ok(())
}

#[test]
fn ten_steps_of_adam() -> wgrad::Result<()> {
    let expected = [
        0.5442575, 0.5358565, 0.5275548, 0.5193539, 0.5112548, 0.5032594, 0.4953679, 0.4875820,
        0.4799024, 0.4723297,
    ];
    for (dev, dtype, _) in checks() {
        let target = (dtype, &dev);
        let weight = Tensor::new([[0.5, -0.3, 0.2, 0.1], [-0.4, 0.25, 0.35, -0.15]], target);
        let bias = Tensor::new([0.1, -0.2], target);
        let layer = nn::Linear::from_tensors(weight, Some(bias));
        let x = Tensor::new([[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]], target);
        let classes = Tensor::new([0, 1], &dev);
        let mut adam = Adam::new(layer.parameters(), AdamOptions::default());
        for expected in expected {
            adam.zero_grad();
            let loss = layer.forward(&x)?.cross_entropy(&classes);
            loss.backward()?;
            adam.step()?;
            assert_close(&loss, &[expected], 1e-6);
        }
    }
    Ok(())
}

#[test]
fn one_neuron() -> wgrad::Result<()> {
    for (dev, dtype, tolerance) in checks() {
        let grades = Tensor::new([9.11, 8.9, 7.0, 6.56, 4.56], (dtype, &dev));
        let placed = Tensor::new([1.0, 1.0, 0.0, 1.0, 0.0], (dtype, &dev));
        let w = Tensor::scalar(0.3, (dtype, &dev)).requires_grad();
        let b = Tensor::scalar(-2.0, (dtype, &dev)).requires_grad();
        let options = SgdOptions {
            lr: 0.02,
            ..Default::default()
        };
        let mut sgd = Sgd::new(vec![w.clone(), b.clone()], options);
        let mut losses = Vec::new();
        for step in 0..200 {
            sgd.zero_grad();
            let loss = loss::binary_cross_entropy(&(&grades * &w + &b).sigmoid(), &placed);
            loss.backward()?;
            if step == 0 {
                assert_close(&loss, &[0.5371069189381948], tolerance);
                assert_close(&w.grad()?, &[-0.8088384152012253], tolerance);
                assert_close(&b.grad()?, &[-0.05979930640903658], tolerance);
            }
            sgd.step()?;
            losses.push(values(&loss)?[0]);
        }
        assert!(
            losses[199] < losses[0] - 0.03,
            "{} to {}",
            losses[0],
            losses[199]
        );
    }
    Ok(())
}
