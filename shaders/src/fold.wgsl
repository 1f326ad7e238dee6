// Windows added up: a thread for each element of the result goes over the windows that cover it, so that nothing is
// added by two threads. Windows are of three dimensions, the outer ones of a single element where there are fewer.
// Along dimension d, element t of window o stands at `o * step + t * dilation - low`.
//
// Varies: dilated (whether a window has gaps); positions (each window has one element, and the position in the plane where it belongs), filled (whether
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
    #for d in range(3)
    // The windows that reach this element begin at most `span - 1` before it.
    let c{{d}} = s{{d}} + params.low{{d}};
    let end{{d}} = min(c{{d}} / params.step{{d}} + 1u, params.count{{d}});
    var first{{d}} = 0u;
    if c{{d}} >= params.span{{d}} {
        first{{d}} = (c{{d}} - params.span{{d}}) / params.step{{d}} + 1u;
    }
    #endfor
    for (var o0 = first0; o0 < end0; o0++) {
        for (var o1 = first1; o1 < end1; o1++) {
            for (var o2 = first2; o2 < end2; o2++) {
                let outer = plane + o0 * params.outer0 + o1 * params.outer1 + o2 * params.outer2;
                #if positions
                if load_at(own + o0 * params.at0 + o1 * params.at1 + o2 * params.at2) == position {
                    sum += load_x(outer);
                }
                #else
                #for d in range(3)
                #if dilated
                let t{{d}} = (c{{d}} - o{{d}} * params.step{{d}}) / params.dilation{{d}};
                #else
                let t{{d}} = c{{d}} - o{{d}} * params.step{{d}};
                #endif
                #endfor
                #if dilated
                let at = vec3<u32>(t0, t1, t2) * vec3<u32>(params.dilation0, params.dilation1, params.dilation2);
                let begin = vec3<u32>(o0, o1, o2) * vec3<u32>(params.step0, params.step1, params.step2);
                if any(at + begin != vec3<u32>(c0, c1, c2)) {
                    continue;
                }
                #endif
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
