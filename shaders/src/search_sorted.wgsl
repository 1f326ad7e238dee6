// Places of values among sorted ones: out[.., i] = the number of elements of the row sorted[.., :] that are
// smaller than values[.., i], by halving. For position e of the result, place_values(e) is where its value lies,
// and place_row(e) where its row of `length` elements begins, which are `step` apart. Elements are compared by
// their keys (see the prelude), of which that of NaN is the largest.
//
// Varies: right (whether equal elements are counted, too), key (the type of an operand's element in a register).

fn element(e: u32) -> i32 {
    let value = key_{{key}}(vec4<{{key}}>(load_values(place_values(e)))).x;
    let row = place_row(e);
    var low = 0u;
    var high = params.length;
    while low < high {
        let middle = low + (high - low) / 2u;
        let other = key_{{key}}(vec4<{{key}}>(load_sorted(row + middle * params.step))).x;
        #if right
        let before = other <= value;
        #else
        let before = other < value;
        #endif
        low = select(low, middle + 1u, before);
        high = select(middle, high, before);
    }
    return i32(low);
}

#include "elements.wgsl"
