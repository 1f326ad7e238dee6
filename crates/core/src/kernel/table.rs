//! The elementwise operations, one row each.
//!
//! A row is the whole definition of an operation: its class, its name, the Rust expression (over
//! the CPU backend's lane types), the WGSL expression (over 4-vectors), what its derivatives need
//! saved, the derivatives as tensor expressions, and the domain that tests draw operands from. The
//! method on `Tensor`, the CPU loop, the shader code, the fuser's entry, the gradient check and
//! the CPU-against-GPU test all come from here.
//!
//! Classes:
//! * `float`: floats; integers and bools are promoted to the default float, as in torch.
//! * `number`: floats and integers, bools promoted to `i32` (but see ``of_bools` in elementwise/binary.rs`).
//! * `compare`: numbers in, bools out. No derivative.
//! * `logic`: bools in and out; numbers are first compared with 0. No derivative.
//! * `constant`: of two operands and without a derivative: `integer` takes integers, `float` floats.
//!
//! In WGSL expressions `$0`, `$1`, `$2` stand for the operands (registers of type `vec4<..>`) and
//! `{t}` for the scalar type's name (`f32`, `i32`, `u32`); functions that WGSL lacks are in the
//! shader prelude.

/// Calls `$callback!` with all rows.
#[macro_export]
#[doc(hidden)]
macro_rules! map_rows {
    ($callback:path) => {
        $callback! {
            unary {
                /// The negative, element by element.
                Neg number neg, rust |x| x.neg(), wgsl "-$0", saves [],
                    grad |_x, _y, g| g.neg(), domain (-3.0, 3.0);
                /// The absolute value. The derivative at 0 is 0.
                Abs number abs, rust |x| x.abs(), wgsl "abs($0)", saves [x],
                    grad |x, _y, g| {
                        x.gt(0.0).where_cond(g, x.lt(0.0).where_cond(g.neg(), 0.0))
                    }, domain (-3.0, 3.0);
                /// -1, 0 or 1; NaN stays NaN.
                Sign number sign, rust |x| x.sign(), wgsl "sign_{t}($0)", saves [],
                    grad |_x, _y, g| g.zeros_like(), domain (-3.0, 3.0);
                /// `1 / x`.
                Recip float recip, rust |x| x.recip(), wgsl "(1.0 / $0)", saves [y],
                    grad |_x, y, g| (g * y * y).neg(), domain (0.3, 3.0);
                /// `x * x`.
                Sqr number sqr, rust |x| x.mul(x), wgsl "($0 * $0)", saves [x],
                    grad |x, _y, g| g * (x * 2.0), domain (-3.0, 3.0);
                /// The square root; NaN below 0.
                Sqrt float sqrt, rust |x| x.sqrt(), wgsl "sqrt_f32($0)", saves [y],
                    grad |_x, y, g| g * 0.5 / y, domain (0.2, 4.0);
                /// `1 / sqrt(x)`.
                Rsqrt float rsqrt, rust |x| x.sqrt().recip(), wgsl "rsqrt_f32($0)", saves [y],
                    grad |_x, y, g| g * (y * y * y) * -0.5, domain (0.2, 4.0);
                /// `e^x`.
                Exp float exp, rust |x| x.exp(), wgsl "exp_f32($0)", saves [y],
                    grad |_x, y, g| g * y, domain (-3.0, 3.0);
                /// `e^x - 1`, precise near 0.
                Expm1 float expm1, rust |x| x.expm1(), wgsl "expm1_f32($0)", saves [y],
                    grad |_x, y, g| g * (y + 1.0), domain (-3.0, 3.0);
                /// The natural logarithm.
                Ln float ln, rust |x| x.ln(), wgsl "ln_f32($0)", saves [x],
                    grad |x, _y, g| g / x, domain (0.1, 5.0);
                /// `ln(1 + x)`, precise near 0.
                Log1p float log1p, rust |x| x.log1p(), wgsl "log1p_f32($0)", saves [x],
                    grad |x, _y, g| g / (x + 1.0), domain (-0.8, 5.0);
                /// The sine, `x` in radians.
                Sin float sin, rust |x| x.sin(), wgsl "sin_f32($0)", saves [x],
                    grad |x, _y, g| g * x.cos(), domain (-8.0, 8.0);
                /// The cosine, `x` in radians.
                Cos float cos, rust |x| x.cos(), wgsl "cos_f32($0)", saves [x],
                    grad |x, _y, g| (g * x.sin()).neg(), domain (-8.0, 8.0);
                /// The tangent, `x` in radians.
                Tan float tan, rust |x| x.tan(), wgsl "tan_f32($0)", saves [y],
                    grad |_x, y, g| g * (y.sqr() + 1.0), domain (-1.2, 1.2);
                /// The hyperbolic tangent.
                Tanh float tanh, rust |x| x.tanh(), wgsl "tanh_f32($0)", saves [y],
                    grad |_x, y, g| g * (y.sqr() * -1.0 + 1.0), domain (-3.0, 3.0);
                /// The logistic function `1 / (1 + e^-x)`.
                Sigmoid float sigmoid, rust |x| x.sigmoid(), wgsl "sigmoid_f32($0)", saves [y],
                    grad |_x, y, g| g * (y * (y * -1.0 + 1.0)), domain (-4.0, 4.0);
                /// `max(x, 0)`; NaN stays NaN. The derivative at 0 is 0.
                Relu number relu, rust |x| x.relu(), wgsl "relu_{t}($0)", saves [y],
                    grad |_x, y, g| y.le(0.0).where_cond(0.0, g), domain (-3.0, 3.0);
                /// The Gaussian error linear unit `x Phi(x)`, exact form
                /// ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)).
                Gelu float gelu, rust |x| x.gelu(), wgsl "gelu_f32($0)", saves [x y],
                    grad |x, y, g| {
                        // Phi(x) from the result: (1 + erf) / 2 would cancel in the left tail.
                        let cdf = x.eq(0.0).where_cond(0.5, y / x);
                        let phi = (x.sqr() * -0.5).exp() * 0.398_942_280_401_432_7;
                        g * (cdf + x * phi)
                    }, domain (-4.0, 4.0);
                /// The tanh approximation of [`Tensor::gelu`].
                GeluTanh float gelu_tanh, rust |x| x.gelu_tanh(), wgsl "gelu_tanh_f32($0)", saves [x],
                    grad |x, _y, g| {
                        // (1 + tanh u) / 2 = sigmoid(2 u), which does not cancel.
                        let x2 = x.sqr();
                        let u2 = x * (&x2 * 0.071_354_816_272_600_25 + 1.595_769_121_605_730_8);
                        let slope = x2 * 0.214_064_448_817_800_75 + 1.595_769_121_605_730_8;
                        g * (u2.sigmoid() * (x * slope * u2.neg().sigmoid() + 1.0))
                    }, domain (-4.0, 4.0);
                /// The sigmoid linear unit `x sigmoid(x)`, also called swish.
                Silu float silu, rust |x| x.mul(x.sigmoid()), wgsl "($0 * sigmoid_f32($0))", saves [x],
                    grad |x, _y, g| {
                        let s = x.sigmoid();
                        g * (&s * (x * (&s * -1.0 + 1.0) + 1.0))
                    }, domain (-4.0, 4.0);
                /// `ln(1 + e^x)`.
                Softplus float softplus, rust |x| x.softplus(), wgsl "softplus_f32($0)", saves [x],
                    grad |x, _y, g| g * x.sigmoid(), domain (-4.0, 4.0);
                /// The error function.
                Erf float erf, rust |x| x.erf(), wgsl "erf_f32($0)", saves [x],
                    grad |x, _y, g| g * (x.sqr().neg().exp() * std::f64::consts::FRAC_2_SQRT_PI),
                    domain (-2.5, 2.5);
                /// The complement of the error function, `1 - erf(x)`, precise where that is small.
                Erfc float erfc, rust |x| x.erfc(), wgsl "erfc_f32($0)", saves [x],
                    grad |x, _y, g| g * (x.sqr().neg().exp() * -std::f64::consts::FRAC_2_SQRT_PI),
                    domain (-2.5, 2.5);
                /// The inverse of the error function: infinite at -1 and 1, NaN beyond.
                Erfinv float erfinv, rust |x| x.erfinv(), wgsl "erfinv_f32($0)", saves [y],
                    grad |_x, y, g| g * (y.sqr().exp() * 0.886_226_925_452_758), domain (-0.9, 0.9);
                /// The logarithm of the absolute value of the gamma function. Infinite at 0 and at negative
                /// integers.
                Lgamma float lgamma, rust |x| x.lgamma(), wgsl "lgamma_f32($0)", saves [x],
                    grad |x, _y, g| g * x.digamma(), domain (0.3, 5.0);
                /// The derivative of [`Tensor::lgamma`]. NaN at negative integers, infinite at 0, where the
                /// zero's sign says on which side.
                Digamma float digamma, rust |x| x.digamma(), wgsl "digamma_f32($0)", saves [x],
                    grad |x, _y, g| g * x.polygamma(1), domain (0.3, 5.0);
                /// `2^x`.
                Exp2 float exp2, rust |x| x.exp2(), wgsl "exp2_f32($0)", saves [y],
                    grad |_x, y, g| g * y * std::f64::consts::LN_2, domain (-3.0, 3.0);
                /// The logarithm to base 2; exact for powers of 2.
                Log2 float log2, rust |x| x.log2(), wgsl "log2_f32($0)", saves [x],
                    grad |x, _y, g| g / (x * std::f64::consts::LN_2), domain (0.1, 5.0);
                /// The logarithm to base 10.
                Log10 float log10, rust |x| x.log10(), wgsl "log10_f32($0)", saves [x],
                    grad |x, _y, g| g / (x * std::f64::consts::LN_10), domain (0.1, 5.0);
                /// The angle in [-pi/2, pi/2] whose sine is `x`; NaN beyond -1 and 1.
                Asin float asin, rust |x| x.asin(), wgsl "asin_f32($0)", saves [x],
                    grad |x, _y, g| g * (x.sqr() * -1.0 + 1.0).rsqrt(), domain (-0.9, 0.9);
                /// The angle in [0, pi] whose cosine is `x`; NaN beyond -1 and 1.
                Acos float acos, rust |x| x.acos(), wgsl "acos_f32($0)", saves [x],
                    grad |x, _y, g| g.neg() * (x.sqr() * -1.0 + 1.0).rsqrt(), domain (-0.9, 0.9);
                /// The angle in [-pi/2, pi/2] whose tangent is `x`.
                Atan float atan, rust |x| x.atan(), wgsl "atan_f32($0)", saves [x],
                    grad |x, _y, g| g / (x.sqr() + 1.0), domain (-3.0, 3.0);
                /// The hyperbolic sine.
                Sinh float sinh, rust |x| x.sinh(), wgsl "sinh_f32($0)", saves [x],
                    grad |x, _y, g| g * x.cosh(), domain (-3.0, 3.0);
                /// The hyperbolic cosine.
                Cosh float cosh, rust |x| x.cosh(), wgsl "cosh_f32($0)", saves [x],
                    grad |x, _y, g| g * x.sinh(), domain (-3.0, 3.0);
                /// The inverse of the hyperbolic sine.
                Asinh float asinh, rust |x| x.asinh(), wgsl "asinh_f32($0)", saves [x],
                    grad |x, _y, g| g * (x.sqr() + 1.0).rsqrt(), domain (-3.0, 3.0);
                /// The inverse of the hyperbolic cosine; NaN below 1.
                Acosh float acosh, rust |x| x.acosh(), wgsl "acosh_f32($0)", saves [x],
                    grad |x, _y, g| g * (x.sqr() - 1.0).rsqrt(), domain (1.2, 4.0);
                /// The inverse of the hyperbolic tangent: infinite at -1 and 1, NaN beyond.
                Atanh float atanh, rust |x| x.atanh(), wgsl "atanh_f32($0)", saves [x],
                    grad |x, _y, g| g / (x.sqr() * -1.0 + 1.0), domain (-0.9, 0.9);
                /// `sin(pi x) / (pi x)`, 1 at 0.
                Sinc float sinc, rust |x| x.sinc(), wgsl "sinc_f32($0)", saves [x],
                    grad |x, _y, g| g * sinc_slope(x), domain (-3.0, 3.0);
                /// The inverse of [`Tensor::sigmoid`], `ln(x / (1 - x))`: infinite at 0 and 1, NaN beyond.
                Logit float logit, rust |x| x.logit(), wgsl "logit_f32($0)", saves [x],
                    grad |x, _y, g| {
                        let beyond = x.lt(0.0).logical_or(x.gt(1.0));
                        beyond.where_cond(f64::NAN, g / (x * (x * -1.0 + 1.0)))
                    }, domain (0.1, 0.9);
                /// The largest integer not above `x`.
                Floor number floor, rust |x| x.floor(), wgsl "floor_{t}($0)", saves [],
                    grad |_x, _y, g| g.zeros_like(), domain (-5.0, 5.0);
                /// The smallest integer not below `x`.
                Ceil number ceil, rust |x| x.ceil(), wgsl "ceil_{t}($0)", saves [],
                    grad |_x, _y, g| g.zeros_like(), domain (-5.0, 5.0);
                /// The nearest integer, halves to even (as torch).
                Round number round, rust |x| x.round(), wgsl "round_{t}($0)", saves [],
                    grad |_x, _y, g| g.zeros_like(), domain (-5.0, 5.0);
                /// `x` without its fraction: rounded towards 0.
                Trunc number trunc, rust |x| x.trunc(), wgsl "trunc_{t}($0)", saves [],
                    grad |_x, _y, g| g.zeros_like(), domain (-5.0, 5.0);
            }
            binary {
                Add number add, rust |a, b| a.add(b), wgsl "($0 + $1)",
                    da [] |_a, _b, _y, g| g.clone(), db [] |_a, _b, _y, g| g.clone(), domain (-3.0, 3.0);
                Sub number sub, rust |a, b| a.sub(b), wgsl "($0 - $1)",
                    da [] |_a, _b, _y, g| g.clone(), db [] |_a, _b, _y, g| g.neg(), domain (-3.0, 3.0);
                Mul number mul, rust |a, b| a.mul(b), wgsl "($0 * $1)",
                    da [b] |_a, b, _y, g| g * b, db [a] |a, _b, _y, g| g * a, domain (-3.0, 3.0);
                Div float div, rust |a, b| a.div(b), wgsl "($0 / $1)",
                    da [b] |_a, b, _y, g| g / b,
                    db [b y] |_a, b, y, g| (g * y / b).neg(), domain (0.3, 3.0);
                // x^0 = 1 has the derivative 0 even at x = 0, and so has 0^p with respect to p >= 0.
                Pow number pow, rust |a, b| a.pow(b), wgsl "pow_{t}($0, $1)",
                    da [a b] |a, b, _y, g| {
                        let slope = g * (b * &a.pow(b - 1.0));
                        b.eq(0.0).where_cond(0.0, slope)
                    },
                    db [a b y] |a, b, y, g| {
                        let slope = g * (y * a.ln());
                        a.eq(0.0).logical_and(b.ge(0.0)).where_cond(0.0, slope)
                    }, domain (0.3, 3.0);
                // Ties share the gradient, as in torch; so where an operand is NaN both get all of it.
                Minimum number minimum, rust |a, b| a.minimum(b), wgsl "min_{t}($0, $1)",
                    da [a b] |a, b, _y, g| extremum_grad(&a.gt(b), &a.eq(b), g),
                    db [a b] |a, b, _y, g| extremum_grad(&b.gt(a), &a.eq(b), g), domain (-3.0, 3.0);
                Maximum number maximum, rust |a, b| a.maximum(b), wgsl "max_{t}($0, $1)",
                    da [a b] |a, b, _y, g| extremum_grad(&a.lt(b), &a.eq(b), g),
                    db [a b] |a, b, _y, g| extremum_grad(&b.lt(a), &a.eq(b), g), domain (-3.0, 3.0);
                // What is left of integers divided by 0 is 0, and so is their quotient.
                Fmod number fmod, rust |a, b| a.fmod(b), wgsl "fmod_{t}($0, $1)",
                    da [] |_a, _b, _y, g| g.clone(),
                    db [a b] |a, b, _y, g| (g * a.div_trunc(b)).neg(), domain (0.3, 3.0);
                Remainder number remainder, rust |a, b| a.remainder(b), wgsl "remainder_{t}($0, $1)",
                    da [] |_a, _b, _y, g| g.clone(),
                    db [a b] |a, b, _y, g| (g * a.floor_divide(b)).neg(), domain (0.3, 3.0);
                FloorDivide number floor_divide, rust |a, b| a.floor_divide(b),
                    wgsl "floor_divide_{t}($0, $1)",
                    da [] |_a, _b, _y, g| g.zeros_like(), db [] |_a, _b, _y, g| g.zeros_like(),
                    domain (0.3, 3.0);
                DivTrunc number div_trunc, rust |a, b| a.div_trunc(b), wgsl "div_trunc_{t}($0, $1)",
                    da [] |_a, _b, _y, g| g.zeros_like(), db [] |_a, _b, _y, g| g.zeros_like(),
                    domain (0.3, 3.0);
                Atan2 float atan2, rust |a, b| a.atan2(b), wgsl "atan2_f32($0, $1)",
                    da [a b] |a, b, _y, g| g * (b * inverse_square(a, b)),
                    db [a b] |a, b, _y, g| (g * (a * inverse_square(a, b))).neg(), domain (-3.0, 3.0);
                Hypot float hypot, rust |a, b| a.hypot(b), wgsl "hypot_f32($0, $1)",
                    da [a y] |a, _b, y, g| g * (a / y),
                    db [b y] |_a, b, y, g| g * (b / y), domain (-3.0, 3.0);
                Copysign float copysign, rust |a, b| a.copysign(b), wgsl "copysign_f32($0, $1)",
                    da [a y] |a, _b, y, g| a.eq(0.0).where_cond(0.0, g * (y / a)),
                    db [] |_a, _b, _y, g| g.zeros_like(), domain (-3.0, 3.0);
                // 0 ln(b) is 0, and so is its derivative where b is not above 0.
                Xlogy float xlogy, rust |a, b| a.xlogy(b), wgsl "xlogy_f32($0, $1)",
                    da [a b] |a, b, _y, g| {
                        a.eq(0.0).logical_and(b.le(0.0)).where_cond(0.0, g * b.ln())
                    },
                    db [a b] |a, b, _y, g| g * a / b, domain (0.3, 3.0);
                Logaddexp float logaddexp, rust |a, b| a.logaddexp(b), wgsl "logaddexp_f32($0, $1)",
                    da [a b] |a, b, _y, g| g * (a - b).sigmoid(),
                    db [a b] |a, b, _y, g| g * (b - a).sigmoid(), domain (-3.0, 3.0);
                Logaddexp2 float logaddexp2, rust |a, b| a.logaddexp2(b), wgsl "logaddexp2_f32($0, $1)",
                    da [a b] |a, b, _y, g| g * ((a - b) * std::f64::consts::LN_2).sigmoid(),
                    db [a b] |a, b, _y, g| g * ((b - a) * std::f64::consts::LN_2).sigmoid(),
                    domain (-3.0, 3.0);
            }
            compare {
                Eq eq, rust |a, b| a.eq(b), wgsl "eq_{t}($0, $1)";
                Ne ne, rust |a, b| !a.eq(b), wgsl "!eq_{t}($0, $1)";
                Lt lt, rust |a, b| a.lt(b), wgsl "lt_{t}($0, $1)";
                Le le, rust |a, b| a.le(b), wgsl "le_{t}($0, $1)";
                Gt gt, rust |a, b| b.lt(a), wgsl "lt_{t}($1, $0)";
                Ge ge, rust |a, b| b.le(a), wgsl "le_{t}($1, $0)";
            }
            logic {
                And logical_and, rust |a, b| a & b, wgsl "($0 & $1)";
                Or logical_or, rust |a, b| a | b, wgsl "($0 | $1)";
                Xor logical_xor, rust |a, b| a ^ b, wgsl "($0 != $1)";
            }
            constant {
                BitAnd integer bitwise_and, rust |a, b| a.bit_and(b), wgsl "($0 & $1)";
                BitOr integer bitwise_or, rust |a, b| a.bit_or(b), wgsl "($0 | $1)";
                BitXor integer bitwise_xor, rust |a, b| a.bit_xor(b), wgsl "($0 ^ $1)";
                // Bits beyond the type's: all are gone, and the sign's are left.
                ShiftLeft integer bitwise_left_shift, rust |a, b| a.shift_left(b),
                    wgsl "shift_left_{t}($0, $1)";
                ShiftRight integer bitwise_right_shift, rust |a, b| a.shift_right(b),
                    wgsl "shift_right_{t}($0, $1)";
                Gcd integer gcd, rust |a, b| a.gcd(b), wgsl "gcd_{t}($0, $1)";
                // The derivative by the second operand is the method's: by the first there is none.
                Zeta float zeta, rust |s, q| s.zeta(q), wgsl "zeta_f32($0, $1)";
            }
        }
    };
}
