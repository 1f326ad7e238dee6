// The sum of each window, or its largest element and where that stands: a thread for each window, which walks it.
// Windows are of three dimensions, the outer ones of a single element where there are fewer. Along dimension d,
// element t of window o stands at `o * step + t * dilation - low`; what lies outside of the plane does not count.
//
// Varies: combine ("sum", or "max": the first of equal elements, and the last NaN); values and positions (whether
// they are stored).
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let e = linear_group(group, groups) * 64u + lane;
    if e >= params.all {
        return;
    }
    var rest = e;
    let o2 = rest % params.count2;
    rest /= params.count2;
    let o1 = rest % params.count1;
    rest /= params.count1;
    let o0 = rest % params.count0;
    let plane = place_x(rest / params.count0);
    #if combine == "sum"
    var sum = 0.0;
    #else
    var most = -inf_f32(vec4<f32>(f32(e))).x;
    var position = 0u;
    var empty = true;
    #endif
    for (var t0 = 0u; t0 < params.size0; t0++) {
        // What lies before the first element wraps to a huge number, and so outside.
        let s0 = o0 * params.step0 + t0 * params.dilation0 - params.low0;
        if s0 >= params.elements0 {
            continue;
        }
        for (var t1 = 0u; t1 < params.size1; t1++) {
            let s1 = o1 * params.step1 + t1 * params.dilation1 - params.low1;
            if s1 >= params.elements1 {
                continue;
            }
            let row = plane + s0 * params.stride0 + s1 * params.stride1;
            for (var t2 = 0u; t2 < params.size2; t2++) {
                let s2 = o2 * params.step2 + t2 * params.dilation2 - params.low2;
                if s2 >= params.elements2 {
                    continue;
                }
                let x = load_x(row + s2 * params.stride2);
                #if combine == "sum"
                sum += x;
                #else
                if empty || x > most || is_nan(vec4<f32>(x)).x {
                    most = x;
                    position = (s0 * params.elements1 + s1) * params.elements2 + s2;
                    empty = false;
                }
                #endif
            }
        }
    }
    #if combine == "sum"
    store_y(e, sum);
    #else
    #if values
    store_y(e, most);
    #endif
    #if positions
    store_at(e, i32(position));
    #endif
    #endif
}
