//! Derivatives of functions, hooks of gradients, and where NaN arose.

mod devices;

use std::sync::{Arc, Mutex};

use wgrad::autograd::{detect_anomaly, grad, hessian, hvp, jacobian, jvp, vjp};
use wgrad::prelude::*;

fn vec(x: &Tensor) -> Vec<f32> {
    x.to_vec().unwrap()
}

#[track_caller]
fn close(got: &Tensor, want: &Tensor) {
    assert_eq!(got.shape().unwrap(), want.shape().unwrap());
    devices::assert_close(&vec(got), &vec(want), 1e-5, 1e-5);
}

/// y = tanh(x W) of a vector, and its Jacobian (1 - y^2) W^T.
fn tanh_of_product(dev: &Device) -> (Tensor, Tensor, impl Fn(&[Tensor]) -> Tensor, Tensor) {
    let x = Tensor::from_vec(devices::fill(1, 4, 1.0), [4], dev);
    let w = Tensor::from_vec(devices::fill(2, 12, 1.0), [4, 3], dev);
    let y = x.matmul(&w).tanh();
    let jacobian = (1.0 - y.sqr()).unsqueeze(1) * w.t();
    let weights = w.clone();
    (
        x,
        w,
        move |x: &[Tensor]| x[0].matmul(&weights).tanh(),
        jacobian,
    )
}

#[test]
fn products_with_the_jacobian() {
    for dev in devices::all() {
        let (x, _, f, want) = tanh_of_product(&dev);
        let v = Tensor::from_vec(devices::fill(3, 3, 1.0), [3], &dev);
        let (y, grads) = vjp(&f, &[&x], &v).unwrap();
        close(&y, &f(std::slice::from_ref(&x)));
        close(&grads[0], &v.matmul(&want));
        let u = Tensor::from_vec(devices::fill(4, 4, 1.0), [4], &dev);
        let (y, along) = jvp(&f, &[&x], &[&u]).unwrap();
        close(&y, &f(std::slice::from_ref(&x)));
        close(&along, &want.matmul(&u));
        close(&jacobian(&f, &[&x]).unwrap()[0], &want);
        assert!(!y.needs_grad() && x.grad().is_err());
    }
}

#[test]
fn jacobians_of_several_inputs() {
    for dev in devices::all() {
        let a = Tensor::new([1.0, 2.0], &dev);
        let b = Tensor::new([[3.0], [4.0]], &dev);
        let unused = Tensor::new(5.0, &dev);
        let all = jacobian(|x| &x[0] * &x[1], &[&a, &b, &unused]).unwrap();
        // y[i, j] = a[j] b[i, 0].
        assert_eq!(all[0].shape().unwrap(), [2, 2, 2]);
        assert_eq!(vec(&all[0]), [3.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 4.0]);
        assert_eq!(all[1].shape().unwrap(), [2, 2, 2, 1]);
        assert_eq!(vec(&all[1]), [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
        assert_eq!(all[2].shape().unwrap(), [2, 2]);
        assert_eq!(vec(&all[2]), [0.0; 4]);
    }
}

#[test]
fn second_derivatives() {
    for dev in devices::all() {
        let x = Tensor::new([1.0, 2.0, 3.0], &dev);
        let y = Tensor::new([0.5, -1.0, 2.0], &dev);
        // sum x^3 y: by x twice 6 x y on the diagonal, by x and y 3 x^2.
        let f = |x: &[Tensor]| (x[0].powi(3) * &x[1]).sum();
        let h = hessian(f, &[&x, &y]).unwrap();
        close(&h[0][0], &(&x * &y * 6.0).diag(0));
        close(&h[0][1], &(x.sqr() * 3.0).diag(0));
        close(&h[1][0], &(x.sqr() * 3.0).diag(0));
        close(&h[1][1], &Tensor::zeros([3, 3], &dev));
        let v = [
            Tensor::new([1.0, -1.0, 0.5], &dev),
            Tensor::new([2.0, 0.0, 1.0], &dev),
        ];
        let (value, product) = hvp(f, &[&x, &y], &[&v[0], &v[1]]).unwrap();
        close(&value, &f(&[x, y]));
        close(
            &product[0],
            &(h[0][0].matmul(&v[0]) + h[0][1].matmul(&v[1])),
        );
        close(
            &product[1],
            &(h[1][0].matmul(&v[0]) + h[1][1].matmul(&v[1])),
        );
    }
}

#[test]
fn functions_that_depend_on_nothing() {
    let dev = devices::cpu();
    let x = Tensor::new([1.0, 2.0], &dev);
    let c = Tensor::new([3.0], &dev);
    let f = |_: &[Tensor]| c.clone();
    assert_eq!(vec(&vjp(f, &[&x], &c).unwrap().1[0]), [0.0, 0.0]);
    assert_eq!(vec(&jvp(f, &[&x], &[&x]).unwrap().1), [0.0]);
    assert_eq!(vec(&jacobian(f, &[&x]).unwrap()[0]), [0.0, 0.0]);
    assert_eq!(vec(&hessian(f, &[&x]).unwrap()[0][0]), [0.0; 4]);
    assert_eq!(vec(&hvp(f, &[&x], &[&x]).unwrap().1[0]), [0.0, 0.0]);
    // And linear ones have second derivatives of 0.
    assert_eq!(
        vec(&hessian(|x| x[0].sum(), &[&x]).unwrap()[0][0]),
        [0.0; 4]
    );
}

#[test]
fn what_does_not_fit_is_an_error_with_the_line() {
    let dev = devices::cpu();
    let x = Tensor::new([1.0, 2.0], &dev);
    let wide = Tensor::ones([3], &dev);
    let errors = [
        vjp(|x| x[0].sqr(), &[&x], &wide).unwrap_err(),
        jvp(|x| x[0].sqr(), &[&x], &[&wide]).unwrap_err(),
        jvp(|x| x[0].sqr(), &[&x], &[]).unwrap_err(),
        hvp(|x| x[0].sum(), &[&x], &[&wide]).unwrap_err(),
        hessian(|x| x[0].sqr(), &[&x]).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("tests/functional.rs"), "{error}");
    }
    assert!(vjp(|x| x[0].matmul(&wide), &[&x], &wide).is_err());
}

#[test]
fn hooks_see_and_replace_gradients() {
    for dev in devices::all() {
        let x = Tensor::new([1.0, 2.0], &dev).requires_grad();
        let hidden = &x * 3.0;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = seen.clone();
        let first = hidden
            .register_hook(move |grad| {
                note.lock().unwrap().push(grad.clone());
                None
            })
            .unwrap();
        let _second = hidden.register_hook(|grad| Some(grad * 10.0)).unwrap();
        let leaf = x.register_hook(|grad| Some(grad + 1.0)).unwrap();
        let options = GradOptions {
            retain_graph: true,
            ..GradOptions::default()
        };
        hidden
            .sqr()
            .sum()
            .backward_with_options(None, options)
            .unwrap();
        // 2 * 3 x reaches `hidden`, ten times that goes on, through the 3; then 1 is added.
        assert_eq!(vec(&seen.lock().unwrap()[0]), [6.0, 12.0]);
        assert_eq!(vec(&x.grad().unwrap()), [181.0, 361.0]);
        first.remove();
        leaf.remove();
        x.zero_grad();
        hidden.sum().backward().unwrap();
        assert_eq!(seen.lock().unwrap().len(), 1);
        assert_eq!(vec(&x.grad().unwrap()), [30.0, 30.0]);
    }
}

#[test]
fn hooks_must_keep_the_shape_and_the_tensor_have_a_gradient() {
    let dev = devices::cpu();
    let x = Tensor::new([1.0, 2.0], &dev).requires_grad();
    let y = &x * 2.0;
    let _handle = y.register_hook(|grad| Some(grad.sum())).unwrap();
    let error = y.sum().backward().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a hook gave a gradient of shape []"),
        "{error}"
    );
    assert!(x.grad().is_err());
    let plain = Tensor::new(1.0, &dev);
    let Err(error) = plain.register_hook(|_| None) else {
        panic!("nothing to see there");
    };
    assert!(matches!(error, Error::Grad { .. }), "{error}");
}

/// The error of what is recorded in `f`, which must name this line's operation.
#[track_caller]
fn anomaly(f: impl FnOnce() -> Result<()>, op: &str, part: &str, line: u32) {
    match detect_anomaly(f) {
        Err(Error::NotANumber {
            op: found,
            part: of,
            place,
        }) => {
            assert_eq!((found, of), (op, part));
            assert!(
                place
                    .to_string()
                    .ends_with(&format!("functional.rs:{line}"))
                    || place
                        .to_string()
                        .contains(&format!("functional.rs:{line}:")),
                "{place}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nan_is_told_where_it_arose() {
    for dev in devices::all() {
        let x = Tensor::new([-1.0, 4.0], &dev).requires_grad();
        let line = line!() + 2;
        anomaly(
            || (x.ln() * 2.0 + 1.0).sum().backward(),
            "ln",
            "result",
            line,
        );
        // The square root's slope at 0 is infinite, and times 0 it is NaN.
        let x = Tensor::new([0.0, 4.0], &dev).requires_grad();
        let line = line!() + 3;
        anomaly(
            || {
                let y = (&x * 0.0).sqrt();
                (y * 0.0).sum().backward()
            },
            "sqrt",
            "derivative",
            line,
        );
        // What is masked is no anomaly.
        let x = Tensor::new([-1.0, 4.0], &dev).requires_grad();
        let masked = || {
            let y = x.detach().gt(0.0).where_cond(x.detach().ln() + &x, &x);
            y.sum().backward()
        };
        detect_anomaly(masked).unwrap();
        // And nothing is told outside.
        (x.ln() * 2.0).sum().backward().unwrap();
    }
}

#[test]
fn gradients_of_results_of_any_shape() {
    for dev in devices::all() {
        let x = Tensor::new([1.0, 2.0], &dev).requires_grad();
        let y = x.sqr();
        let v = Tensor::new([10.0, 100.0], &dev);
        let options = GradOptions {
            retain_graph: true,
            ..GradOptions::default()
        };
        let by_vector = wgrad::autograd::grad_with(&y, &[&x], &v, options).unwrap();
        assert_eq!(vec(&by_vector[0]), [20.0, 400.0]);
        let plain = grad(&(y * v).sum(), &[&x], GradOptions::default()).unwrap();
        assert_eq!(vec(&plain[0]), [20.0, 400.0]);
    }
}
