// Special functions: the error function's complement and inverse, the gamma function's logarithm and derivatives.

// 1 - erf(x). As in gelu_f32 erfc(y) = 2 Phi(-sqrt(2) y) for y >= 0, where nothing cancels.
fn erfc_f32(x: vec4<f32>) -> vec4<f32> {
    let y = min(abs(x), vec4<f32>(10.25));
    let head = upper_f32(y);
    let power = exp_f32(-head * head) * exp_f32(-(y - head) * (y + head));
    let t = 1.0 / fma(y, vec4<f32>(0.424264069), vec4<f32>(1.0));
    let tail = 2.0 * t * normal_tail(t) * power;
    return select(select(tail, 2.0 - tail, x < vec4<f32>(0.0)), x, is_nan(x));
}

// x P(w) with w = -ln(1 - x^2) (M. Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011).
fn erfinv_f32(x: vec4<f32>) -> vec4<f32> {
    let w = -ln_f32((1.0 - x) * (1.0 + x));
    let u = w - 2.5;
    var near = vec4<f32>(2.81022636e-8);
    near = fma(near, u, vec4<f32>(3.43273939e-7));
    near = fma(near, u, vec4<f32>(-3.5233877e-6));
    near = fma(near, u, vec4<f32>(-4.39150654e-6));
    near = fma(near, u, vec4<f32>(2.1858087e-4));
    near = fma(near, u, vec4<f32>(-1.25372503e-3));
    near = fma(near, u, vec4<f32>(-4.17768164e-3));
    near = fma(near, u, vec4<f32>(2.46640727e-1));
    near = fma(near, u, vec4<f32>(1.50140941));
    let v = sqrt_f32(w) - 3.0;
    var far = vec4<f32>(-2.00214257e-4);
    far = fma(far, v, vec4<f32>(1.00950558e-4));
    far = fma(far, v, vec4<f32>(1.34934322e-3));
    far = fma(far, v, vec4<f32>(-3.67342844e-3));
    far = fma(far, v, vec4<f32>(5.73950773e-3));
    far = fma(far, v, vec4<f32>(-7.6224613e-3));
    far = fma(far, v, vec4<f32>(9.43887047e-3));
    far = fma(far, v, vec4<f32>(1.00167406));
    far = fma(far, v, vec4<f32>(2.83297682));
    var value = select(far, near, w < vec4<f32>(5.0)) * x;
    value = select(value, copysign_f32(inf_f32(x), x), abs(x) == vec4<f32>(1.0));
    return select(value, nan_f32(x), (abs(x) > vec4<f32>(1.0)) | is_nan(x));
}

// ln Gamma(x) for x > 0: (x - 1) (x - 2) P(x - 2) in [1, 3], P of degree 12 interpolating at the Chebyshev nodes
// (relative error 7e-9); ln Gamma(x + 1) - ln x below, Stirling's series above.
fn lgamma_positive(x: vec4<f32>) -> vec4<f32> {
    let small = x < vec4<f32>(1.0);
    let u = select(x - 1.0, x, small);
    let t = clamp(select(x - 2.0, x - 1.0, small), vec4<f32>(-1.0), vec4<f32>(1.0));
    var p = vec4<f32>(1.809151334e-5);
    p = fma(p, t, vec4<f32>(-3.858047518e-5));
    p = fma(p, t, vec4<f32>(2.388160655e-5));
    p = fma(p, t, vec4<f32>(-5.283973566e-5));
    p = fma(p, t, vec4<f32>(1.917396875e-4));
    p = fma(p, t, vec4<f32>(-4.251541309e-4));
    p = fma(p, t, vec4<f32>(9.125944835e-4));
    p = fma(p, t, vec4<f32>(-2.102242432e-3));
    p = fma(p, t, vec4<f32>(4.998996089e-3));
    p = fma(p, t, vec4<f32>(-1.238494322e-2));
    p = fma(p, t, vec4<f32>(3.296498784e-2));
    p = fma(p, t, vec4<f32>(-1.003172746e-1));
    p = fma(p, t, vec4<f32>(4.227843351e-1));
    let logarithm = ln_f32(x);
    let near = u * t * p - select(vec4<f32>(0.0), logarithm, small);
    let z = max(x, vec4<f32>(3.0));
    let r = 1.0 / z;
    let s = r * r;
    var rest = vec4<f32>(8.417508418e-4);
    rest = fma(rest, s, vec4<f32>(-5.952380952e-4));
    rest = fma(rest, s, vec4<f32>(7.936507937e-4));
    rest = fma(rest, s, vec4<f32>(-2.777777778e-3));
    rest = fma(rest, s, vec4<f32>(8.333333333e-2));
    // ln sqrt(2 pi) - 1/2
    let far = (z - 0.5) * (logarithm - 1.0) + fma(rest, r, vec4<f32>(0.418938533));
    return select(near, far, x >= vec4<f32>(3.0));
}

// What is beyond the nearest whole number.
fn fraction_f32(x: vec4<f32>) -> vec4<f32> {
    return select(x - round(x), vec4<f32>(0.0), is_inf(x));
}

// Below 0 by Gamma(x) Gamma(-x) = -pi / (x sin(pi x)).
fn lgamma_f32(x: vec4<f32>) -> vec4<f32> {
    let y = abs(x);
    let positive = lgamma_positive(y);
    let sine = abs(sin_half_turn(fraction_f32(y)));
    let negative = ln_f32(3.14159265 / sine) - ln_f32(y) - positive;
    let below = x <= vec4<f32>(0.0);
    var value = select(positive, negative, below);
    value = select(value, inf_f32(x), (below & (floor(x) == x)) | is_inf(x));
    return select(value, x, is_nan(x));
}

// The derivative: six steps of the recurrence below 6, the asymptotic series behind them, and below 0
// digamma(1 - x) - pi / tan(pi x).
fn digamma_f32(x: vec4<f32>) -> vec4<f32> {
    let below = x < vec4<f32>(0.0);
    let y = select(x, 1.0 - x, below);
    let near = y < vec4<f32>(6.0);
    var sum = vec4<f32>(0.0);
    for (var i = 0; i < 6; i++) {
        sum = sum + 1.0 / (y + f32(i));
    }
    let z = select(y, y + 6.0, near);
    let s = 1.0 / (z * z);
    var rest = vec4<f32>(3.968253968e-3);
    rest = fma(rest, s, vec4<f32>(-8.333333333e-3));
    rest = fma(rest, s, vec4<f32>(8.333333333e-2));
    let positive = ln_f32(z) - 0.5 / z - rest * s - select(vec4<f32>(0.0), sum, near);
    let r = fraction_f32(x);
    let cosine = sin_half_turn(0.5 - abs(r));
    let negative = positive - 3.14159265 * cosine / sin_half_turn(r);
    var value = select(positive, negative, below);
    value = select(value, nan_f32(x), (below & (floor(x) == x)) | is_nan(x));
    value = select(value, x, is_inf(x) & !below);
    return select(value, copysign_f32(inf_f32(x), -x), x == vec4<f32>(0.0));
}

// Hurwitz' zeta function for q > 0: nine terms, and the others by Euler and Maclaurin's formula, whose coefficients
// are Bernoulli's numbers by factorials.
fn zeta_positive(s: vec4<f32>, q: vec4<f32>) -> vec4<f32> {
    var sum = vec4<f32>(0.0);
    for (var k = 0; k < 9; k++) {
        sum = sum + pow_f32(q + f32(k), -s);
    }
    let a = q + 9.0;
    let power = pow_f32(a, -s);
    let r = 1.0 / a;
    let square = r * r;
    sum = sum + pow_f32(a, 1.0 - s) / (s - 1.0) + 0.5 * power;
    let head = sum;
    var factor = power * s * r;
    sum = fma(factor, vec4<f32>(8.333333333e-2), sum);
    factor = factor * (s + 1.0) * (s + 2.0) * square;
    sum = fma(factor, vec4<f32>(-1.388888889e-3), sum);
    factor = factor * (s + 3.0) * (s + 4.0) * square;
    sum = fma(factor, vec4<f32>(3.306878307e-5), sum);
    factor = factor * (s + 5.0) * (s + 6.0) * square;
    sum = fma(factor, vec4<f32>(-8.267195767e-7), sum);
    factor = factor * (s + 7.0) * (s + 8.0) * square;
    sum = fma(factor, vec4<f32>(2.087675699e-8), sum);
    factor = factor * (s + 9.0) * (s + 10.0) * square;
    sum = fma(factor, vec4<f32>(-5.284190139e-10), sum);
    // Where the powers are 0 their factors may be infinite.
    sum = select(sum, head, power == vec4<f32>(0.0));
    return select(sum, vec4<f32>(0.0), is_inf(q));
}

// At negative q the terms above 0 are those of the fraction, those below a finite part of its complement's.
fn zeta_f32(s: vec4<f32>, q: vec4<f32>) -> vec4<f32> {
    let below = q < vec4<f32>(0.0);
    let fraction = q - floor(q);
    var value = zeta_positive(s, select(q, fraction, below));
    if any(below) {
        let part = zeta_positive(s, ceil(q) - q) - zeta_positive(s, 1.0 - q);
        let even = round(s * 0.5) == s * 0.5;
        value = select(value, value + select(-part, part, even), below);
    }
    value = select(value, nan_f32(q), below & ((floor(s) != s) | is_inf(s)));
    let pole = (q <= vec4<f32>(0.0)) & (floor(q) == q);
    value = select(value, inf_f32(q), pole | (s == vec4<f32>(1.0)));
    return select(value, nan_f32(q), (s < vec4<f32>(1.0)) | is_nan(s) | is_nan(q));
}
