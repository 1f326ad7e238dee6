// Division with a rest, and integers' bits. Integers divided by 0 give 0 and leave 0.

// C's fmod without rounding: the dividend's mantissa is divided by the divisor's, eight bits at a time.
fn fmod_lane(x: f32, y: f32) -> f32 {
    let sign = bitcast<u32>(x) & 0x80000000u;
    let a = bitcast<u32>(x) & 0x7fffffffu;
    let b = bitcast<u32>(y) & 0x7fffffffu;
    if a >= 0x7f800000u || b > 0x7f800000u || b == 0u {
        return bitcast<f32>(sign | 0x7fc00000u);
    }
    if a < b {
        return x;
    }
    var exponent_a = i32(a >> 23u);
    var exponent_b = i32(b >> 23u);
    var mantissa_a = (a & 0x7fffffu) | 0x800000u;
    var mantissa_b = (b & 0x7fffffu) | 0x800000u;
    if exponent_a == 0 {
        let shift = countLeadingZeros(a) - 8u;
        mantissa_a = a << shift;
        exponent_a = 1 - i32(shift);
    }
    if exponent_b == 0 {
        let shift = countLeadingZeros(b) - 8u;
        mantissa_b = b << shift;
        exponent_b = 1 - i32(shift);
    }
    var rest = mantissa_a % mantissa_b;
    var left = exponent_a - exponent_b;
    while left > 0 {
        let bits = min(left, 8);
        rest = (rest << u32(bits)) % mantissa_b;
        left = left - bits;
    }
    if rest == 0u {
        return bitcast<f32>(sign);
    }
    let shift = countLeadingZeros(rest) - 8u;
    let exponent = exponent_b - i32(shift);
    rest = rest << shift;
    if exponent > 0 {
        return bitcast<f32>(sign | (u32(exponent) << 23u) | (rest & 0x7fffffu));
    }
    return bitcast<f32>(sign | (rest >> u32(1 - exponent)));
}

fn fmod_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(fmod_lane(a.x, b.x), fmod_lane(a.y, b.y), fmod_lane(a.z, b.z), fmod_lane(a.w, b.w));
}

// Whether a rest has another sign than the divisor.
fn turned_f32(rest: vec4<f32>, b: vec4<f32>) -> vec4<bool> {
    return (rest != vec4<f32>(0.0)) & ((rest < vec4<f32>(0.0)) != (b < vec4<f32>(0.0)));
}

fn remainder_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let rest = fmod_f32(a, b);
    return select(rest, rest + b, turned_f32(rest, b) & !is_nan(rest));
}

// a / 0: infinite, NaN for 0 / 0.
fn over_zero(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let value = signed_as_quotient(inf_f32(a), a, b);
    return select(value, nan_f32(a), (a == vec4<f32>(0.0)) | is_nan(a));
}

// The magnitude with the sign of a / b.
fn signed_as_quotient(magnitude: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let sign = (bitcast<vec4<u32>>(a) ^ bitcast<vec4<u32>>(b)) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>((bitcast<vec4<u32>>(magnitude) & vec4<u32>(0x7fffffffu)) | sign);
}

// What is divided is a multiple of b, so that its quotient is whole but for its rounding.
fn floor_divide_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let rest = fmod_f32(a, b);
    let zero = b == vec4<f32>(0.0);
    let quotient = select((a - rest) / select(b, vec4<f32>(1.0), zero), vec4<f32>(0.0), is_inf(b));
    let whole = round(quotient) - select(vec4<f32>(0.0), vec4<f32>(1.0), turned_f32(rest, b));
    let value = select(whole, signed_as_quotient(whole, a, b), whole == vec4<f32>(0.0));
    return select(select(value, nan_f32(a), is_nan(rest)), over_zero(a, b), zero & !is_nan(b));
}

// The quotient, correctly rounded, without its fraction. Just below a whole number it is rounded up to that: where
// the rest is nearer to b than half of the quotient's last place.
fn div_trunc_f32(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    let rest = abs(fmod_f32(a, b));
    let zero = b == vec4<f32>(0.0);
    let divisor = abs(select(b, vec4<f32>(1.0), zero));
    let whole = round(select((abs(a) - rest) / divisor, vec4<f32>(0.0), is_inf(b)));
    let exponent = vec4<i32>(bitcast<vec4<u32>>(max(whole, vec4<f32>(0.5))) >> vec4<u32>(23u)) - 127;
    let half = exp2_integer(max(exponent - 24, vec4<i32>(-126)));
    let up = (divisor - rest <= divisor * half) & (whole < vec4<f32>(8388608.0)) & !is_inf(b);
    var value = signed_as_quotient(whole + select(vec4<f32>(0.0), vec4<f32>(1.0), up), a, b);
    value = select(value, nan_f32(a), is_nan(rest));
    value = select(value, signed_as_quotient(inf_f32(a), a, b), is_inf(a) & !is_inf(b) & !is_nan(b));
    return select(value, over_zero(a, b), zero);
}

// A divisor that takes no processor out of its way: 1 for 0, and for -1 beside the smallest integer, whose quotient
// wraps to itself.
fn divisor_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    let wraps = (b == vec4<i32>(-1)) & (bitcast<vec4<u32>>(a) == vec4<u32>(0x80000000u));
    return select(b, vec4<i32>(1), wraps | (b == vec4<i32>(0)));
}

fn divisor_u32(b: vec4<u32>) -> vec4<u32> {
    return max(b, vec4<u32>(1u));
}

fn fmod_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return a % divisor_i32(a, b);
}

fn fmod_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return a % divisor_u32(b);
}

fn turned_i32(rest: vec4<i32>, b: vec4<i32>) -> vec4<bool> {
    return (rest != vec4<i32>(0)) & ((rest < vec4<i32>(0)) != (b < vec4<i32>(0)));
}

fn remainder_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    let rest = fmod_i32(a, b);
    return select(rest, rest + b, turned_i32(rest, b));
}

fn remainder_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return fmod_u32(a, b);
}

fn div_trunc_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return select(a / divisor_i32(a, b), vec4<i32>(0), b == vec4<i32>(0));
}

fn div_trunc_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return select(a / divisor_u32(b), vec4<u32>(0u), b == vec4<u32>(0u));
}

fn floor_divide_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    let turned = turned_i32(fmod_i32(a, b), b);
    return div_trunc_i32(a, b) - select(vec4<i32>(0), vec4<i32>(1), turned);
}

fn floor_divide_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return div_trunc_u32(a, b);
}

// Euclid's algorithm.
fn gcd_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    var x = a;
    var y = b;
    while any(y != vec4<u32>(0u)) {
        let rest = x % divisor_u32(y);
        x = select(y, x, y == vec4<u32>(0u));
        y = select(rest, vec4<u32>(0u), y == vec4<u32>(0u));
    }
    return x;
}

fn gcd_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return bitcast<vec4<i32>>(gcd_u32(bitcast<vec4<u32>>(abs(a)), bitcast<vec4<u32>>(abs(b))));
}

// Shifts by more bits than there are, or by a negative number, leave nothing but the sign of shifts to the right.
fn shift_left_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return bitcast<vec4<i32>>(shift_left_u32(bitcast<vec4<u32>>(a), bitcast<vec4<u32>>(b)));
}

fn shift_left_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return select(vec4<u32>(0u), a << (b & vec4<u32>(31u)), b < vec4<u32>(32u));
}

fn shift_right_i32(a: vec4<i32>, b: vec4<i32>) -> vec4<i32> {
    return a >> min(bitcast<vec4<u32>>(b), vec4<u32>(31u));
}

fn shift_right_u32(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return select(vec4<u32>(0u), a >> (b & vec4<u32>(31u)), b < vec4<u32>(32u));
}
