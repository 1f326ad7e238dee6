// The inverses of the angle functions, hyperbolic functions and theirs, and what is made of logarithms: the same
// formulas as the CPU's (crates/cpu-backend/src/math).

// ---- Angles ----

// The arc tangent for |x| <= tan(pi/8) (Cephes' atanf.c).
fn atan_small(x: vec4<f32>) -> vec4<f32> {
    let z = x * x;
    var p = vec4<f32>(8.05374449538e-2);
    p = fma(p, z, vec4<f32>(-1.38776856032e-1));
    p = fma(p, z, vec4<f32>(1.99777106478e-1));
    p = fma(p, z, vec4<f32>(-3.33329491539e-1));
    return fma(p * z, x, x);
}

// Beyond tan(3 pi/8) the angle of -1 / x and a quarter turn, beyond tan(pi/8) that of (x - 1) / (x + 1) and an eighth.
fn atan_f32(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let far = t > vec4<f32>(2.41421356);
    let middle = t > vec4<f32>(0.41421357);
    let u = select(select(t, (t - 1.0) / (t + 1.0), middle), -1.0 / t, far);
    let base = select(select(vec4<f32>(0.0), vec4<f32>(0.785398163), middle), vec4<f32>(1.57079633), far);
    let value = base + atan_small(select(u, vec4<f32>(0.0), is_inf(x)));
    return select(copysign_f32(value, x), x, is_nan(x));
}

// The angle of the point (x, y).
fn atan2_f32(y: vec4<f32>, x: vec4<f32>) -> vec4<f32> {
    let a = abs(x);
    let b = abs(y);
    let steep = b > a;
    let top = select(b, a, steep);
    let bottom = select(a, b, steep);
    // Also of two infinities and of two zeros.
    var ratio = select(top / bottom, vec4<f32>(1.0), top == bottom);
    ratio = select(ratio, vec4<f32>(0.0), (bottom == vec4<f32>(0.0)) | (is_inf(bottom) & !is_inf(top)));
    let middle = ratio > vec4<f32>(0.41421357);
    let u = select(ratio, (ratio - 1.0) / (ratio + 1.0), middle);
    var angle = select(vec4<f32>(0.0), vec4<f32>(0.785398163), middle) + atan_small(u);
    angle = select(angle, 1.57079633 - angle, steep);
    let behind = (bitcast<vec4<u32>>(x) & vec4<u32>(0x80000000u)) != vec4<u32>(0u);
    angle = select(angle, 3.14159265 - angle, behind);
    return select(copysign_f32(angle, y), nan_f32(x), is_nan(x) | is_nan(y));
}

// Below 1/2 a polynomial (Cephes' asinf.c), else that of sqrt((1 - |x|) / 2), of which it is half the complement.
fn asin_part(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let far = t > vec4<f32>(0.5);
    let z = select(t * t, 0.5 * (1.0 - t), far);
    let s = select(t, sqrt_f32(z), far);
    var p = vec4<f32>(4.2163199048e-2);
    p = fma(p, z, vec4<f32>(2.4181311049e-2));
    p = fma(p, z, vec4<f32>(4.5470025998e-2));
    p = fma(p, z, vec4<f32>(7.4953002686e-2));
    p = fma(p, z, vec4<f32>(1.6666752422e-1));
    return fma(p * z, s, s);
}

fn asin_f32(x: vec4<f32>) -> vec4<f32> {
    let part = asin_part(x);
    let value = copysign_f32(select(part, 1.57079633 - 2.0 * part, abs(x) > vec4<f32>(0.5)), x);
    return select(value, nan_f32(x), !(abs(x) <= vec4<f32>(1.0)) | is_nan(x));
}

fn acos_f32(x: vec4<f32>) -> vec4<f32> {
    let part = asin_part(x);
    let far = select(2.0 * part, 3.14159265 - 2.0 * part, x < vec4<f32>(0.0));
    let value = select(1.57079633 - copysign_f32(part, x), far, abs(x) > vec4<f32>(0.5));
    return select(value, nan_f32(x), !(abs(x) <= vec4<f32>(1.0)) | is_nan(x));
}

// The sine of pi r for r in [-1/2, 1/2].
fn sin_half_turn(r: vec4<f32>) -> vec4<f32> {
    let near = abs(r) < vec4<f32>(0.25);
    // cos(pi/2 - pi |r|) beyond an eighth of a turn.
    let sine = sin_small(3.14159265 * r);
    let cosine = cos_small(3.14159265 * (0.5 - abs(r)));
    return select(copysign_f32(cosine, r), sine, near);
}

// sin(pi x) / (pi x): what is beyond the nearest whole number is exact.
fn sinc_f32(x: vec4<f32>) -> vec4<f32> {
    let whole = round(x);
    let sine = sin_half_turn(select(x - whole, vec4<f32>(0.0), is_inf(x)));
    let odd = round(whole * 0.5) != whole * 0.5;
    let value = select(select(sine, -sine, odd) / (3.14159265 * x), vec4<f32>(1.0), x == vec4<f32>(0.0));
    return select(value, nan_f32(x), is_nan(x) | is_inf(x));
}

// ---- Hyperbolic functions ----

// With e = e^|x| - 1 the sine is (e + e / (e + 1)) / 2, where nothing cancels; large ones are the square of
// e^(|x| / 2), which does not overflow before they do.
fn sinh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let large = t > vec4<f32>(40.0);
    let e = expm1_f32(min(t, vec4<f32>(40.0)));
    let root = exp_f32(0.5 * t);
    let value = select(0.5 * (e + e / (e + 1.0)), 0.5 * root * root, large);
    return select(copysign_f32(value, x), x, is_nan(x));
}

fn cosh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let large = t > vec4<f32>(40.0);
    let e = exp_f32(min(t, vec4<f32>(40.0)));
    let root = exp_f32(0.5 * t);
    return select(select(fma(vec4<f32>(0.5), e, 0.5 / e), 0.5 * root * root, large), x, is_nan(x));
}

// ln(1 + (x + x^2 / (1 + sqrt(x^2 + 1)))); ln(2 x) for large ones.
fn asinh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let u = min(t, vec4<f32>(1.0e4));
    let square = u * u;
    let near = log1p_f32(u + square / (1.0 + sqrt_f32(square + 1.0)));
    let value = select(near, ln_f32(t) + 0.693147181, t > vec4<f32>(1.0e4));
    return select(copysign_f32(value, x), x, is_nan(x));
}

// With t = x - 1: ln(1 + (t + sqrt(2 t + t^2))).
fn acosh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = clamp(x, vec4<f32>(1.0), vec4<f32>(1.0e4)) - 1.0;
    let near = log1p_f32(t + sqrt_f32(fma(t, t, 2.0 * t)));
    let value = select(near, ln_f32(x) + 0.693147181, x > vec4<f32>(1.0e4));
    return select(value, nan_f32(x), (x < vec4<f32>(1.0)) | is_nan(x));
}

// ln(1 + 2 x / (1 - x)) / 2.
fn atanh_f32(x: vec4<f32>) -> vec4<f32> {
    let t = abs(x);
    let inside = t < vec4<f32>(1.0);
    let u = select(vec4<f32>(0.0), t, inside);
    let value = select(0.5 * log1p_f32(2.0 * u / (1.0 - u)), inf_f32(x), t == vec4<f32>(1.0));
    return select(copysign_f32(value, x), nan_f32(x), (t > vec4<f32>(1.0)) | is_nan(x));
}

// ---- Logarithms and powers of other bases ----

// 2^x: what is left of x beyond a whole number is exact.
fn exp2_f32(x: vec4<f32>) -> vec4<f32> {
    let bounded = clamp(nan_to_zero_f32(x), vec4<f32>(-151.0), vec4<f32>(129.0));
    let n = round(bounded);
    let whole = vec4<i32>(n);
    let first = whole >> vec4<u32>(1u);
    let value = (expm1_small((bounded - n) * 0.693147181) + 1.0) * exp2_integer(first) * exp2_integer(whole - first);
    return select(value, x, is_nan(x));
}

fn log2_f32(x: vec4<f32>) -> vec4<f32> {
    let parts = ln_parts(x);
    return ln_edges(x, fma(ln_reduced(parts.f, vec4<f32>(0.0)), vec4<f32>(1.44269504), parts.k));
}

// The logarithm of 2 in two parts, so that its product with k is exact (FreeBSD's e_log10f.c).
fn log10_f32(x: vec4<f32>) -> vec4<f32> {
    let parts = ln_parts(x);
    let y = ln_reduced(parts.f, vec4<f32>(0.0)) * 0.434294482;
    return ln_edges(x, fma(parts.k, vec4<f32>(3.0102920532e-1), fma(parts.k, vec4<f32>(7.9034151668e-7), y)));
}

// ln(1 + (2 x - 1) / (1 - x)), or minus that of 1 - x: precise around 1/2. For small ones ln(x) - ln(1 - x).
fn logit_f32(x: vec4<f32>) -> vec4<f32> {
    let upper = x >= vec4<f32>(0.5);
    let inside = (x > vec4<f32>(0.0)) & (x < vec4<f32>(1.0));
    let u = select(vec4<f32>(0.5), x, inside);
    let y = log1p_f32(select(1.0 - 2.0 * u, 2.0 * u - 1.0, upper) / select(u, 1.0 - u, upper));
    let small = ln_f32(u) - log1p_f32(-u);
    var value = select(select(-y, small, u < vec4<f32>(0.1)), y, upper);
    value = select(value, inf_f32(x), x == vec4<f32>(1.0));
    value = select(value, -inf_f32(x), x == vec4<f32>(0.0));
    return select(value, nan_f32(x), (x < vec4<f32>(0.0)) | (x > vec4<f32>(1.0)) | is_nan(x));
}

// a ln(b), 0 for a = 0.
fn xlogy_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(a * ln_f32(b), vec4<f32>(0.0), (a == vec4<f32>(0.0)) & !is_nan(b));
}

// Minus the distance of two numbers; 0 of equal ones, infinities too.
fn nearness(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(-abs(a - b), vec4<f32>(0.0), a == b);
}

fn logaddexp_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return max_f32(a, b) + log1p_f32(exp_f32(nearness(a, b)));
}

fn logaddexp2_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return fma(log1p_f32(exp2_f32(nearness(a, b))), vec4<f32>(1.44269504), max_f32(a, b));
}

// sqrt(a^2 + b^2) by the smaller's share of the larger.
fn hypot_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let s = abs(a);
    let t = abs(b);
    let more = select(s, t, s < t);
    let less = select(t, s, s < t);
    let share = select(less / more, vec4<f32>(0.0), more == vec4<f32>(0.0));
    var value = more * sqrt_f32(fma(share, share, vec4<f32>(1.0)));
    value = select(value, nan_f32(a), is_nan(a) | is_nan(b));
    return select(value, inf_f32(a), is_inf(a) | is_inf(b));
}
