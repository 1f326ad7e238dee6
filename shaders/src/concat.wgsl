// Tensors one after the other along a dimension. Position e of the result is (outer, along, inner), with
// `total` places along the dimension and `inner` elements behind it; each tensor takes as many places as it
// has, and place_x0(i) is where the first one's element at row-major position i lies.
//
// Varies: parts (how many tensors), t (the type of an element in a register).

fn element(e: u32) -> {{t}} {
    let inner = e % params.inner;
    let rest = e / params.inner;
    let outer = rest / params.total;
    var along = rest % params.total;
    #for k in range(parts)
    #set x = "x" ~ k
    if along < params.{{x}}_size {
        return load_{{x}}(place_{{x}}((outer * params.{{x}}_size + along) * params.inner + inner));
    }
    along -= params.{{x}}_size;
    #endfor
    return {{t}}();
}

#include "elements.wgsl"
