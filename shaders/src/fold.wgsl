// Windows added up: a thread for each element of the result goes over the windows that cover it, so that nothing is
// added by two threads. Windows are of three dimensions, the outer ones of a single element where there are fewer.
// Along dimension d, element t of window o stands at `o * step + t * dilation - low`.
//
// Varies: positions (each window has one element, and the position in the plane where it belongs), filled (whether
// there are any windows), t (the type of an element in a register).
fn element(e: u32) -> {{t}} {
    #if filled
    var rest = e;
    let s2 = rest % params.elements2;
    rest /= params.elements2;
    let s1 = rest % params.elements1;
    rest /= params.elements1;
    let s0 = rest % params.elements0;
    let lead = rest / params.elements0;
    let plane = place_x(lead);
    #if positions
    let own = place_at(lead);
    let position = i32((s0 * params.elements1 + s1) * params.elements2 + s2);
    #endif
    var sum = {{t}}();
    for (var t0 = 0u; t0 < params.size0; t0++) {
        // What lies before the first window wraps to a huge number, and so behind the last.
        let c0 = s0 + params.low0 - t0 * params.dilation0;
        let o0 = c0 / params.step0;
        if o0 >= params.count0 || o0 * params.step0 != c0 {
            continue;
        }
        for (var t1 = 0u; t1 < params.size1; t1++) {
            let c1 = s1 + params.low1 - t1 * params.dilation1;
            let o1 = c1 / params.step1;
            if o1 >= params.count1 || o1 * params.step1 != c1 {
                continue;
            }
            for (var t2 = 0u; t2 < params.size2; t2++) {
                let c2 = s2 + params.low2 - t2 * params.dilation2;
                let o2 = c2 / params.step2;
                if o2 >= params.count2 || o2 * params.step2 != c2 {
                    continue;
                }
                let outer = plane + o0 * params.outer0 + o1 * params.outer1 + o2 * params.outer2;
                #if positions
                if load_at(own + o0 * params.at0 + o1 * params.at1 + o2 * params.at2) == position {
                    sum += load_x(outer);
                }
                #else
                sum += load_x(outer + t0 * params.inner0 + t1 * params.inner1 + t2 * params.inner2);
                #endif
            }
        }
    }
    return sum;
    #else
    return {{t}}();
    #endif
}

#include "elements.wgsl"
