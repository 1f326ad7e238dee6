// The sum of each window, or its largest element and where that stands: a thread walks a window.
// Windows are of three dimensions, the outer ones of a single element where there are fewer. Along dimension d,
// element t of window o stands at `o * step + t * dilation - low`; what lies outside of the plane does not count.
//
// Varies: combine ("sum", or "max": the first of equal elements, and the last NaN); dilated (whether a window has gaps);
// alone (whether nothing is behind it: then a thread walks one window, since there may be few, and values and positions say
// what is stored; else a thread walks four), positions (whether these are what goes on, rather than values).
#if combine == "sum"
fn window(e: u32) -> f32 {
#else
struct Largest {
    value: f32,
    position: i32,
}

fn window(e: u32) -> Largest {
#endif
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
    // The elements of the window that lie in the plane.
    #for d in range(3)
    let begin{{d}} = o{{d}} * params.step{{d}};
    let behind{{d}} = max(params.elements{{d}} + params.low{{d}}, begin{{d}}) - begin{{d}};
    let before{{d}} = max(params.low{{d}}, begin{{d}}) - begin{{d}};
    #if dilated
    let first{{d}} = (before{{d}} + params.dilation{{d}} - 1u) / params.dilation{{d}};
    let end{{d}} = min(params.size{{d}}, (behind{{d}} + params.dilation{{d}} - 1u) / params.dilation{{d}});
    #else
    let first{{d}} = before{{d}};
    let end{{d}} = min(params.size{{d}}, behind{{d}});
    #endif
    #endfor
    for (var t0 = first0; t0 < end0; t0++) {
        let s0 = begin0 + t0 * params.dilation0 - params.low0;
        for (var t1 = first1; t1 < end1; t1++) {
            let s1 = begin1 + t1 * params.dilation1 - params.low1;
            let row = plane + s0 * params.stride0 + s1 * params.stride1;
            for (var t2 = first2; t2 < end2; t2++) {
                let s2 = begin2 + t2 * params.dilation2 - params.low2;
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
    return sum;
    #else
    return Largest(most, i32(position));
    #endif
}

#if alone
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
    #if combine == "sum"
    store_y(e, window(e));
    #else
    let largest = window(e);
    #if values
    store_y(e, largest.value);
    #endif
    #if positions
    store_at(e, largest.position);
    #endif
    #endif
}
#else
fn element(e: u32) -> {{t}} {
    #if combine == "sum"
    return window(e);
    #elif positions
    return window(e).position;
    #else
    return window(e).value;
    #endif
}

#include "elements.wgsl"
#endif
