//! Optimizers' kernels.

mod harness;

use harness::*;
use wgrad_core::*;

#[test]
fn adam_in_every_form() {
    let mut rng = Rng(61);
    for gpu in gpus() {
        for (segments, in_place, decoupled, maximize, amsgrad) in [
            (1, true, false, false, false),
            (2, false, true, false, true),
            (11, false, false, true, true),
            (11, true, true, false, false),
        ] {
            let len = 400;
            let p = rng.values(DType::F32, len);
            let g = rng.values(DType::F32, len);
            let m = rng.values(DType::F32, len);
            let v: Vec<f64> = rng.values(DType::F32, len).iter().map(|x| x * x).collect();
            let vmax: Vec<f64> = v.iter().map(|x| x * 0.9).collect();
            let mut t = Trial::new(&gpu);
            let [param, grad, mb, vb, xb] = [&p, &g, &m, &v, &vmax].map(|x| t.input(DType::F32, x));
            let target = if in_place {
                param
            } else {
                t.buffer(DType::F32, len)
            };
            let mut scalars = Vec::new();
            let (mut wp, mut wm, mut wv, mut wx) = (p.clone(), m.clone(), v.clone(), vmax.clone());
            for s in 0..segments {
                let (start, end) = (s * 32, s * 32 + 24);
                let (decay, b1, b2, step, scale, eps) = (
                    if decoupled { 0.99 } else { 0.01 },
                    0.9,
                    0.999,
                    0.01 + s as f64 * 0.001,
                    3.0,
                    1e-8,
                );
                scalars.extend([
                    ScalarBits::integer(start as i64),
                    ScalarBits::integer(end as i64),
                ]);
                scalars.extend([decay, b1, b2, step, scale, eps].map(ScalarBits::float));
                for i in start..end {
                    let mut d = if maximize { -g[i] } else { g[i] };
                    if decoupled {
                        wp[i] *= decay
                    } else {
                        d += decay * wp[i]
                    }
                    wm[i] = b1 * wm[i] + (1.0 - b1) * d;
                    wv[i] = b2 * wv[i] + (1.0 - b2) * d * d;
                    let mut u = wv[i];
                    if amsgrad {
                        wx[i] = wx[i].max(u);
                        u = wx[i];
                    }
                    wp[i] -= step * wm[i] / (u.sqrt() * scale + eps);
                }
            }
            t.launch(
                Kernel::Adam {
                    dtype: DType::F32,
                    len,
                    param,
                    target,
                    grad,
                    m: mb,
                    v: vb,
                    vmax: amsgrad.then_some(xb),
                    decoupled,
                    maximize,
                    segments,
                },
                &scalars,
            );
            t.run();
            let what = format!("adam {segments} {in_place}");
            for (buffer, want) in [(target, &wp), (mb, &wm), (vb, &wv), (xb, &wx)] {
                close(
                    &t.read(
                        Output {
                            buffer,
                            dtype: DType::F32,
                        },
                        len,
                    ),
                    want,
                    1e-6,
                    1e-6,
                    &what,
                );
            }
        }
    }
}

#[test]
fn sgd_in_every_form() {
    let mut rng = Rng(71);
    for gpu in gpus() {
        for (segments, in_place, momentum, nesterov, maximize, first) in [
            (1, true, false, false, false, 0),
            (3, false, true, false, true, 0),
            (9, true, true, true, false, 1),
            (9, false, true, true, false, 0),
        ] {
            let len = 404;
            let p = rng.values(DType::F32, len);
            let g = rng.values(DType::F32, len);
            // What the first step finds must not matter.
            let b = if first == 1 {
                vec![f64::NAN; len]
            } else {
                rng.values(DType::F32, len)
            };
            let mut t = Trial::new(&gpu);
            let [param, grad, bb] = [&p, &g, &b].map(|x| t.input(DType::F32, x));
            let target = if in_place {
                param
            } else {
                t.buffer(DType::F32, len)
            };
            let mut scalars = Vec::new();
            let mut wp = p.clone();
            for s in 0..segments {
                let (start, end) = (s * 40, s * 40 + 36);
                let (lr, decay, mu, damp) = (0.1 + s as f64 * 0.01, 0.02, 0.9, 0.3);
                scalars.extend([
                    ScalarBits::integer(start as i64),
                    ScalarBits::integer(end as i64),
                ]);
                scalars.extend([lr, decay, mu, damp].map(ScalarBits::float));
                scalars.push(ScalarBits::integer(first));
                for i in start..end {
                    let mut d = if maximize { -g[i] } else { g[i] } + decay * p[i];
                    if momentum {
                        let buf = if first == 1 {
                            d
                        } else {
                            mu * b[i] + (1.0 - damp) * d
                        };
                        d = if nesterov { d + mu * buf } else { buf };
                    }
                    wp[i] -= lr * d;
                }
            }
            t.launch(
                Kernel::Sgd {
                    dtype: DType::F32,
                    len,
                    param,
                    target,
                    grad,
                    momentum: momentum.then_some(bb),
                    nesterov,
                    maximize,
                    segments,
                },
                &scalars,
            );
            t.run();
            close(
                &t.read(
                    Output {
                        buffer: target,
                        dtype: DType::F32,
                    },
                    len,
                ),
                &wp,
                1e-6,
                1e-6,
                &format!("sgd {segments} {in_place}"),
            );
        }
    }
}
