// Tensors one after the other along a dimension. Position e of the result is (outer, along, inner), with
// `total` places along the dimension and `inner` elements behind it; each tensor takes as many places as it
// has, and place_x0(i) is where the first one's element at row-major position i lies.
//
// Varies: parts (how many tensors), t (the type of an element in a register); quads (whether four positions from a multiple
// of four on are always neighbours along the last dimension of one tensor), vectors (the tensors whose quads are read at
// once).

fn {{"quad" if quads else "element"}}(e: u32) -> {{"vec4<" ~ t ~ ">" if quads else t}} {
    let inner = e % params.inner;
    let rest = e / params.inner;
    let outer = rest / params.total;
    var along = rest % params.total;
    #for k in range(parts)
    #set x = "x" ~ k
    if along < params.{{x}}_size {
        let at = place_{{x}}((outer * params.{{x}}_size + along) * params.inner + inner);
        #if x in vectors
        return load4_{{x}}(at);
        #elif quads
        return vec4<{{t}}>(
            #for j in range(4)
            load_{{x}}(at + {{j}}u * params.{{x}}_step),
            #endfor
        );
        #else
        return load_{{x}}(at);
        #endif
    }
    along -= params.{{x}}_size;
    #endfor
    return {{"vec4<" ~ t ~ ">" if quads else t}}();
}

#include "elements.wgsl"
