// A view laid into zeros: along each dimension d its elements stand at start + step * q, q below from_size.
//
// Varies: rank, filled (whether the view has any elements), t (the type of an element in a register).

fn element(e: u32) -> {{t}} {
    #if filled
    var rest = e;
    var at = params.from_start;
    #for d in range(rank)|reverse
    // What lies before the first position wraps to a huge number, and so outside.
    let c{{d}} = rest % params.size{{d}} - params.start{{d}};
    let q{{d}} = c{{d}} / params.step{{d}};
    if q{{d}} >= params.from_size{{d}} || q{{d}} * params.step{{d}} != c{{d}} {
        return {{t}}();
    }
    rest = rest / params.size{{d}};
    at += q{{d}} * params.from_stride{{d}};
    #endfor
    return load_from(at);
    #else
    return {{t}}();
    #endif
}

#include "elements.wgsl"
