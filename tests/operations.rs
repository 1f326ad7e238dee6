//! Operations against an independent, naive implementation: plain loops over `f64` in row-major
//! order, on every device, fused and unfused, at odd sizes and strange layouts.

mod devices;

use devices::{all, assert_close, fill};
use wgrad::prelude::*;

/// A row-major array of f64 and its shape.
#[derive(Clone, Debug)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f64>,
}

/// All coordinates of a shape in row-major order.
fn coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &d in shape {
        all = all
            .iter()
            .flat_map(|c| (0..d).map(move |i| [c.as_slice(), &[i]].concat()))
            .collect();
    }
    all
}

impl Array {
    fn random(seed: u64, shape: &[usize]) -> Array {
        let data = fill(seed, shape.iter().product(), 2.0)
            .into_iter()
            .map(f64::from)
            .collect();
        Array {
            shape: shape.to_vec(),
            data,
        }
    }

    fn at(&self, c: &[usize]) -> f64 {
        let mut i = 0;
        for (&c, &d) in c.iter().zip(&self.shape) {
            i = i * d + c;
        }
        self.data[i]
    }

    fn build(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Array {
        Array {
            shape: shape.to_vec(),
            data: coordinates(shape).iter().map(|c| f(c)).collect(),
        }
    }

    fn tensor(&self, dev: &Device) -> Tensor {
        let data: Vec<f32> = self.data.iter().map(|&v| v as f32).collect();
        Tensor::from_vec(data, &self.shape, dev)
    }
}

#[track_caller]
fn same(t: &Tensor, want: &Array, tolerance: f32) {
    assert_eq!(t.shape().unwrap().dims(), want.shape, "{}", t.device());
    let data: Vec<f32> = want.data.iter().map(|&v| v as f32).collect();
    assert_close(&t.to_vec::<f32>().unwrap(), &data, tolerance, tolerance);
}

#[test]
fn views_of_views() {
    for dev in all() {
        let a = Array::random(1, &[4, 6, 5]);
        let x = a.tensor(&dev);
        let (permuted, p) = (
            x.permute([2, 0, 1]),
            Array::build(&[5, 4, 6], |c| a.at(&[c[1], c[2], c[0]])),
        );
        same(&permuted, &p, 0.0);
        let sliced = permuted.slice((1..4, .., s(0..6).step(2)));
        let s3 = Array::build(&[3, 4, 3], |c| p.at(&[c[0] + 1, c[1], c[2] * 2]));
        same(&sliced, &s3, 0.0);
        same(
            &(&sliced + 1.0),
            &Array::build(&[3, 4, 3], |c| s3.at(c) + 1.0),
            1e-6,
        );
        let flat = sliced.reshape((-1,));
        same(
            &flat,
            &Array {
                shape: vec![36],
                data: s3.data.clone(),
            },
            0.0,
        );
        let t = sliced.transpose(0, 2).reshape([9, 4]);
        let want = Array::build(&[3, 4, 3], |c| s3.at(&[c[2], c[1], c[0]]));
        same(
            &t,
            &Array {
                shape: vec![9, 4],
                data: want.data,
            },
            0.0,
        );
        let row = x.select(0, 2).select(1, 3);
        same(&row, &Array::build(&[6], |c| a.at(&[2, c[0], 3])), 0.0);
        let wide = row.unsqueeze(0).unsqueeze(-1).expand((3, -1, 2));
        same(
            &wide,
            &Array::build(&[3, 6, 2], |c| a.at(&[2, c[1], 3])),
            0.0,
        );
        same(
            &wide.contiguous(),
            &Array::build(&[3, 6, 2], |c| a.at(&[2, c[1], 3])),
            0.0,
        );
        same(
            &x.flatten(0, 1),
            &Array {
                shape: vec![24, 5],
                data: a.data.clone(),
            },
            0.0,
        );
        same(
            &x.flatten_from(1),
            &Array {
                shape: vec![4, 30],
                data: a.data.clone(),
            },
            0.0,
        );
        let parts = x.chunk(4, 1);
        assert_eq!(parts.len(), 3);
        same(
            &parts[2],
            &Array::build(&[4, 2, 5], |c| a.at(&[c[0], c[1] + 4, c[2]])),
            0.0,
        );
        assert_eq!(x.narrow(2, 5, 0).shape().unwrap(), [4, 6, 0]);
    }
}

#[test]
fn elementwise_with_strange_layouts() {
    for dev in all() {
        for (m, n) in [(1, 1), (3, 5), (7, 4), (16, 33), (64, 65), (5, 1021)] {
            let (a, b) = (Array::random(1, &[m, n]), Array::random(2, &[n, m]));
            let (row, column) = (Array::random(3, &[n]), Array::random(4, &[m, 1]));
            let y = (a.tensor(&dev) * b.tensor(&dev).t() + row.tensor(&dev))
                / (column.tensor(&dev).sqr() + 1.0);
            let want = Array::build(&[m, n], |c| {
                (a.at(c) * b.at(&[c[1], c[0]]) + row.at(&[c[1]]))
                    / (column.at(&[c[0], 0]).powi(2) + 1.0)
            });
            same(&y, &want, 1e-5);
            if n > 4 {
                // Offsets and sizes that are no multiple of 4.
                let cut = a.tensor(&dev).slice((.., 1..n - 2)) * column.tensor(&dev);
                same(
                    &cut,
                    &Array::build(&[m, n - 3], |c| {
                        a.at(&[c[0], c[1] + 1]) * column.at(&[c[0], 0])
                    }),
                    1e-5,
                );
            }
        }
    }
}

#[test]
fn reductions_over_any_dimensions() {
    for dev in all() {
        for shape in [
            vec![3, 5, 7],
            vec![2, 1, 65],
            vec![33, 4, 2],
            vec![1, 1030, 3],
            vec![130, 3, 1],
        ] {
            let a = Array::random(5, &shape);
            for mask in 1..8usize {
                let dims: Vec<isize> = (0..3)
                    .filter(|d| mask >> d & 1 == 1)
                    .map(|d| d as isize)
                    .collect();
                let kept: Vec<usize> = (0..3)
                    .filter(|d| mask >> d & 1 == 0)
                    .map(|d| shape[d])
                    .collect();
                let fold = |start: f64, f: &dyn Fn(f64, f64) -> f64| {
                    let mut out = Array::build(&kept, |_| start);
                    for c in coordinates(&shape) {
                        let k: Vec<usize> = (0..3)
                            .filter(|d| mask >> d & 1 == 0)
                            .map(|d| c[d])
                            .collect();
                        let i = k.iter().zip(&kept).fold(0, |i, (&c, &d)| i * d + c);
                        out.data[i] = f(out.data[i], a.at(&c));
                    }
                    out
                };
                // Read through a permutation, so that the layout is not row-major.
                let x = a
                    .tensor(&dev)
                    .permute([2, 0, 1])
                    .contiguous()
                    .permute([1, 2, 0]);
                same(
                    &x.sum_dims(&dims[..], false),
                    &fold(0.0, &|s, v| s + v),
                    2e-5,
                );
                same(
                    &x.max_dims(&dims[..], false),
                    &fold(f64::NEG_INFINITY, &f64::max),
                    0.0,
                );
                same(
                    &x.min_dims(&dims[..], false),
                    &fold(f64::INFINITY, &f64::min),
                    0.0,
                );
                let mut squares = fold(0.0, &|s, v| s + v * v * 0.5 + 0.1);
                squares.data.iter_mut().for_each(|v| *v = v.sqrt());
                same(
                    &(x.sqr() * 0.5 + 0.1).sum_dims(&dims[..], false).sqrt(),
                    &squares,
                    2e-5,
                );
                let any = x.gt(1.9).any_dims(&dims[..], false).to_dtype(DType::F32);
                same(&any, &fold(0.0, &|s, v| if v > 1.9 { 1.0 } else { s }), 0.0);
            }
            let mut flat = 0;
            for (i, &v) in a.data.iter().enumerate() {
                flat = if v > a.data[flat] { i } else { flat };
            }
            let all = a.tensor(&dev).argmax(.., false).item::<i32>().unwrap();
            assert_eq!(all as usize, flat, "{dev}: argmax of all of {shape:?}");
            for d in 0..3 {
                let best = a.tensor(&dev).argmax(d as isize, true).to_dtype(DType::F32);
                let mut kept = shape.clone();
                kept[d] = 1;
                let want = Array::build(&kept, |c| {
                    let value = |i: usize| {
                        let mut c = c.to_vec();
                        c[d] = i;
                        a.at(&c)
                    };
                    (0..shape[d]).fold(0, |b, i| if value(i) > value(b) { i } else { b }) as f64
                });
                same(&best, &want, 0.0);
            }
        }
        let n = 1_000_003;
        let x = Tensor::arange(n, &dev).ge(0).to_dtype(DType::I32);
        assert_eq!(x.sum().item::<i32>().unwrap(), n);
        let big = Array::random(9, &[300_007]);
        let sum: f64 = big.data.iter().sum();
        let got = big.tensor(&dev).sum().item::<f32>().unwrap();
        assert!(
            (f64::from(got) - sum).abs() < 0.05,
            "{dev}: {got} but expected {sum}"
        );
    }
}

#[test]
fn products_of_every_kind() {
    for dev in all() {
        for (m, k, n) in [
            (1, 1, 1),
            (2, 3, 5),
            (17, 16, 15),
            (33, 65, 31),
            (64, 64, 64),
            (1, 257, 129),
            (130, 7, 1),
        ] {
            let (a, b) = (Array::random(1, &[m, k]), Array::random(2, &[k, n]));
            let want = Array::build(&[m, n], |c| {
                (0..k).map(|i| a.at(&[c[0], i]) * b.at(&[i, c[1]])).sum()
            });
            let (x, y) = (a.tensor(&dev), b.tensor(&dev));
            let (xt, yt) = (x.t().contiguous().t(), y.t().contiguous().t());
            for (x, y) in [(&x, &y), (&xt, &y), (&x, &yt), (&xt, &yt)] {
                same(&x.matmul(y), &want, 3e-4);
            }
            // Every second row and column of larger matrices.
            let (p, q) = (Array::random(3, &[2 * m, k]), Array::random(4, &[k, 3 * n]));
            let product = p
                .tensor(&dev)
                .slice(s(..).step(2))
                .matmul(&q.tensor(&dev).slice((.., s(1..3 * n).step(3))));
            let want = Array::build(&[m, n], |c| {
                (0..k)
                    .map(|i| p.at(&[2 * c[0], i]) * q.at(&[i, 3 * c[1] + 1]))
                    .sum()
            });
            same(&product, &want, 3e-4);
            let bias = Array::random(5, &[n]);
            let z = p.tensor(&dev).narrow(0, 0, m).matmul(&y) + bias.tensor(&dev);
            let want = Array::build(&[m, n], |c| {
                ((0..k)
                    .map(|i| p.at(&[c[0], i]) * b.at(&[i, c[1]]))
                    .sum::<f64>()
                    + bias.at(&[c[1]]))
                .max(0.0)
            });
            same(&z.relu(), &want, 3e-4);
        }
        let (a, b) = (
            Array::random(1, &[3, 1, 4, 5]),
            Array::random(2, &[2, 5, 6]),
        );
        let want = Array::build(&[3, 2, 4, 6], |c| {
            (0..5)
                .map(|i| a.at(&[c[0], 0, c[2], i]) * b.at(&[c[1], i, c[3]]))
                .sum()
        });
        same(&a.tensor(&dev).matmul(&b.tensor(&dev)), &want, 1e-4);
        let v = Array::random(3, &[5]);
        let want = Array::build(&[3, 1, 4], |c| {
            (0..5).map(|i| a.at(&[c[0], 0, c[2], i]) * v.at(&[i])).sum()
        });
        same(&a.tensor(&dev).matmul(&v.tensor(&dev)), &want, 1e-4);
        let want = Array::build(&[2, 6], |c| {
            (0..5).map(|i| v.at(&[i]) * b.at(&[c[0], i, c[1]])).sum()
        });
        same(&v.tensor(&dev).matmul(&b.tensor(&dev)), &want, 1e-4);
    }
}

/// The elements of what a function makes, which keeps nothing else: all of it may be one kernel.
fn alone(make: impl FnOnce() -> Tensor) -> Vec<f32> {
    make().to_vec().unwrap()
}

/// A sum of nothing is a 0 like any other: times infinity, and divided by 0, it is NaN, also where one kernel does it
/// all.
#[test]
fn sums_of_nothing_are_zeros_for_what_follows() {
    for dev in all() {
        let check = |what: &str, value: f32, make: &dyn Fn() -> Tensor| {
            for x in [f32::INFINITY, f32::NAN, 2.0, 0.0] {
                for (sign, got, want) in [
                    ("*", alone(|| make() * f64::from(x)), value * x),
                    ("/", alone(|| make() / f64::from(x)), value / x),
                ] {
                    let same = |got: &f32| *got == want || (got.is_nan() && want.is_nan());
                    assert!(got.iter().all(same), "{dev}: {what} {sign} {x} = {got:?}");
                }
            }
        };
        let empty = |shape: [usize; 2]| Tensor::zeros(shape, &dev);
        check("sum", 0.0, &|| empty([0, 3]).tanh().sum());
        check("sum of rows", 0.0, &|| {
            empty([5, 0]).tanh().sum_dims([1], false)
        });
        check("sum of columns", 0.0, &|| {
            empty([0, 5]).tanh().sum_dims([0], false)
        });
        check("clamped", 0.0, &|| {
            empty([0, 5]).clamp(-1, 1).sum_dims([0], true)
        });
        check("matrix product", 0.0, &|| {
            empty([2, 0]).tanh().matmul(&empty([0, 3]))
        });
        check("product of all", 1.0, &|| empty([0, 3]).tanh().prod());
        let mean = alone(|| empty([0, 3]).tanh().mean_dims([0], false));
        assert!(mean.iter().all(|x| x.is_nan()), "{dev}: {mean:?}");
        let one = || Tensor::ones([1, 3], &dev).tanh();
        let variance = alone(|| one().var_dims([0], 1.0, false));
        assert!(variance.iter().all(|x| x.is_nan()), "{dev}: {variance:?}");
    }
}

#[test]
fn indexing_and_joining() {
    for dev in all() {
        let a = Array::random(1, &[5, 3, 4]);
        let x = a.tensor(&dev);
        let rows = Tensor::new([4, 0, 4, 2], &dev);
        let pick = [4, 0, 4, 2];
        same(
            &x.index_select(0, &rows),
            &Array::build(&[4, 3, 4], |c| a.at(&[pick[c[0]], c[1], c[2]])),
            0.0,
        );
        let index = Tensor::new([[[2, 0, 1, 1]], [[0, 0, 2, 2]]], (DType::U8, &dev));
        let numbers = [[2, 0, 1, 1], [0, 0, 2, 2]];
        let want = Array::build(&[2, 1, 4], |c| a.at(&[c[0], numbers[c[0]][c[2]], c[2]]));
        same(&x.gather(1, &index), &want, 0.0);
        let table = Array::random(2, &[7, 9]);
        let e = table
            .tensor(&dev)
            .embedding(&Tensor::new([[6, 1], [0, 6]], &dev));
        let ids = [[6, 1], [0, 6]];
        same(
            &e,
            &Array::build(&[2, 2, 9], |c| table.at(&[ids[c[0]][c[1]], c[2]])),
            0.0,
        );
        for d in 0..3 {
            let parts: Vec<Tensor> = x.chunk(2, d).into_iter().rev().collect();
            let back = Tensor::cat(&[&parts[1], &parts[0]], d);
            same(&back, &a, 0.0);
        }
        let many: Vec<Tensor> = (0..17).map(|i| &x * f64::from(i)).collect();
        let stacked = Tensor::stack(&many, 1);
        same(
            &stacked,
            &Array::build(&[5, 17, 3, 4], |c| a.at(&[c[0], c[2], c[3]]) * c[1] as f64),
            1e-6,
        );
    }
}

#[test]
fn types_promote_and_convert() {
    use half::{bf16, f16};
    for dev in all() {
        let i = Tensor::new([1, 2, -3], &dev);
        let f = Tensor::new([0.5, -1.5, 2.5], &dev);
        assert_eq!((&i + &f).dtype().unwrap(), DType::F32);
        assert_eq!((&i + 1).dtype().unwrap(), DType::I32);
        assert_eq!((&i * 0.5).to_vec::<f32>().unwrap(), [0.5, 1.0, -1.5]);
        assert_eq!((&i / 2).to_vec::<f32>().unwrap(), [0.5, 1.0, -1.5]);
        assert_eq!(i.gt(1).to_vec::<bool>().unwrap(), [false, true, false]);
        assert_eq!(i.gt(0).sum().item::<i32>().unwrap(), 2);
        assert_eq!(f.round().to_vec::<f32>().unwrap(), [0.0, -2.0, 2.0]);
        assert_eq!(f.to_dtype(DType::U8).to_vec::<u8>().unwrap(), [0, 0, 2]);
        let h = Tensor::from_vec(
            vec![f16::from_f32(1.5), f16::from_f32(-2.0), f16::MAX],
            3,
            &dev,
        );
        assert_eq!((&h + &h).dtype().unwrap(), DType::F16);
        assert_eq!((&h + &f).dtype().unwrap(), DType::F32);
        assert_eq!(
            (&h * 2.0).to_vec::<f16>().unwrap(),
            [f16::from_f32(3.0), f16::from_f32(-4.0), f16::INFINITY]
        );
        assert_eq!(
            h.slice(0..2).sum().item::<f16>().unwrap(),
            f16::from_f32(-0.5)
        );
        let values: Vec<f32> = fill(3, 1001, 300.0);
        let b: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
        let x = Tensor::from_vec(values.clone(), 1001, &dev);
        assert_eq!(x.to_dtype(DType::BF16).to_vec::<bf16>().unwrap(), b);
        let e: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
        assert_eq!(x.to_dtype(DType::F16).to_vec::<f16>().unwrap(), e);
        let zero = Tensor::scalar(2.0, &dev);
        assert_eq!(
            (&h + &zero).dtype().unwrap(),
            DType::F16,
            "a tensor without dimensions gives way"
        );
        let small = Tensor::from_vec(vec![200u8, 100], 2, &dev);
        assert_eq!((&small + &small).to_vec::<u8>().unwrap(), [144, 200]);
        assert_eq!(small.sum().item::<i32>().unwrap(), 300);
        let long = Tensor::from_vec(vec![1i64, -5], 2, &dev);
        let wanted = if dev.is_cpu() { DType::I64 } else { DType::I32 };
        assert_eq!(long.dtype().unwrap(), wanted);
        let product = h
            .slice(0..2)
            .reshape([1, 2])
            .matmul(&h.slice(0..2).reshape([2, 1]));
        assert_eq!(product.to_vec::<f16>().unwrap(), [f16::from_f32(6.25)]);
    }
}

#[test]
fn random_numbers_are_equal_everywhere() {
    let mut uniform: Option<Vec<f32>> = None;
    let mut normal: Option<Vec<f32>> = None;
    for dev in all() {
        dev.seed(42);
        let u = Tensor::rand([1003], &dev).to_vec::<f32>().unwrap();
        let n = Tensor::randn([17, 59], &dev);
        let twice = (&n + 0.0).to_vec::<f32>().unwrap();
        let n = n.to_vec::<f32>().unwrap();
        assert_close(&twice, &n, 0.0, 0.0);
        let mean = u.iter().sum::<f32>() / 1003.0;
        assert!((mean - 0.5).abs() < 0.03 && u.iter().all(|v| (0.0..1.0).contains(v)));
        let spread = n.iter().map(|v| v * v).sum::<f32>() / 1003.0;
        assert!((spread - 1.0).abs() < 0.15, "{spread}");
        assert_eq!(*uniform.get_or_insert_with(|| u.clone()), u, "{dev}");
        assert_close(&n, normal.get_or_insert_with(|| n.clone()), 1e-6, 1e-6);
        let later = Tensor::rand([1003], &dev).to_vec::<f32>().unwrap();
        assert_ne!(later, u);
        dev.seed(42);
        assert_eq!(Tensor::rand([1003], &dev).to_vec::<f32>().unwrap(), u);
        let dice = Tensor::randint(1000, 1, 7, &dev).to_vec::<i32>().unwrap();
        assert!((1..7).all(|face| dice.contains(&face)) && dice.iter().all(|d| (1..7).contains(d)));
    }
}

#[test]
fn creation_and_printing() {
    for dev in all() {
        assert_eq!(
            Tensor::arange(5, &dev).to_vec::<i32>().unwrap(),
            [0, 1, 2, 3, 4]
        );
        assert_close(
            &Tensor::linspace(0.0, 1.0, 5, &dev).to_vec().unwrap(),
            &[0.0, 0.25, 0.5, 0.75, 1.0],
            1e-6,
            0.0,
        );
        assert_eq!(
            Tensor::eye(2, &dev).to_vec::<f32>().unwrap(),
            [1.0, 0.0, 0.0, 1.0]
        );
        assert_eq!(
            Tensor::full([2, 2], 7, &dev).to_vec::<i32>().unwrap(),
            [7; 4]
        );
        let x = Tensor::new([[1.0, -2.5], [0.25, 1000.0]], &dev);
        assert_eq!(
            x.to_string(),
            "tensor([[   1.0000,   -2.5000],\n        [   0.2500, 1000.0000]])"
        );
        assert_eq!(Tensor::new([1, 20], &dev).to_string(), "tensor([ 1, 20])");
        assert_eq!(
            Tensor::new([true, false], &dev).to_string(),
            "tensor([ true, false])"
        );
        assert_eq!(
            format!("{:?}", Tensor::zeros([2, 3], &dev)),
            format!("Tensor([2, 3], f32, {dev})")
        );
        assert_eq!(
            Tensor::new([f32::NAN, 1.0], &dev).to_string(),
            "tensor([nan,  1.])"
        );
    }
}
