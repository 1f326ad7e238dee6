// Elements by an index along a dimension: out[.., i, ..] = from[.., index[.., i, ..], ..]. For position e
// of the result, place_index(e) is where its index lies, and place_from(e) where the elements that it may
// name begin, which are from_step apart.
//
// Varies: signed (whether the index is i32), t (the type of an element in a register); quads (whether four positions from a
// multiple of four on have the same index and their elements are `step` apart), vector (whether these are read at once).

#include "index.wgsl"

#set result = "vec4<" ~ t ~ ">" if quads else t
fn {{"quad" if quads else "element"}}(e: u32) -> {{result}} {
    let value = index_value(place_index(e));
    if value < 0 || u32(value) >= params.size {
        bad_index(value);
        #if t == "f32"
        return nan_f32(vec4<f32>(f32(value))){{"" if quads else ".x"}};
        #else
        return {{result}}();
        #endif
    }
    let at = place_from(e) + u32(value) * params.from_step;
    #if vector
    return load4_from(at);
    #elif quads
    return {{result}}(load_from(at), load_from(at + params.step), load_from(at + 2u * params.step), load_from(at + 3u * params.step));
    #else
    return load_from(at);
    #endif
}

#include "elements.wgsl"
