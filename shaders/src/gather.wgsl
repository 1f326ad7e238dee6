// Elements by an index along a dimension: out[.., i, ..] = from[.., index[.., i, ..], ..]. For position e
// of the result, place_index(e) is where its index lies, and place_from(e) where the elements that it may
// name begin, which are from_step apart.
//
// Varies: signed (whether the index is i32), t (the type of an element in a register).

#include "index.wgsl"

fn element(e: u32) -> {{t}} {
    let value = index_value(place_index(e));
    if value < 0 || u32(value) >= params.size {
        bad_index(value);
        #if t == "f32"
        return nan_f32(vec4<f32>(f32(value))).x;
        #else
        return {{t}}();
        #endif
    }
    return load_from(place_from(e) + u32(value) * params.from_step);
}

#include "elements.wgsl"
