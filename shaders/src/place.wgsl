// A view laid into zeros: along each dimension d its elements stand at start + step * q, q below from_size.
//
// Varies: steps (for each dimension whether its step is above 1), filled (whether the view has any elements), t (the type
// of an element in a register).

fn element(e: u32) -> {{t}} {
    #if filled
    var rest = e;
    var at = params.from_start;
    #for d in range(steps|length)|reverse
    // What lies before the first position wraps to a huge number, and so outside.
    let c{{d}} = {{"rest" if d == 0 else "rest % params.size" ~ d}} - params.start{{d}};
    #if steps[d]
    let q{{d}} = c{{d}} / params.step{{d}};
    if q{{d}} >= params.from_size{{d}} || q{{d}} * params.step{{d}} != c{{d}} {
    #else
    let q{{d}} = c{{d}};
    if q{{d}} >= params.from_size{{d}} {
    #endif
        return {{t}}();
    }
    #if d > 0
    rest = rest / params.size{{d}};
    #endif
    at += q{{d}} * params.from_stride{{d}};
    #endfor
    return load_from(at);
    #else
    return {{t}}();
    #endif
}

#include "elements.wgsl"
