## What a thread of a matrix product works at: tile, batch and part of k, and where A and B begin there.
## Varies: unit (what numbers the tiles); sums (see matmul/beside.wgsl), threads (of a workgroup); split (k in
## parts); batch (text: the batch's coordinates), base.a and base.b (addresses).
let group_index = linear_group(group, groups);
#if sums
// Sums of an operand have threads of their own behind the product's.
if group_index >= params.product_groups {
    sum_beside((group_index - params.product_groups) * {{threads}}u + lane);
    return;
}
#endif
// Tiles in row-major order, then batches, then parts of k.
var tile = {{unit}};
let tile_n = tile % params.tiles_n;
tile = tile / params.tiles_n;
let tile_m = tile % params.tiles_m;
tile = tile / params.tiles_m;
let batch = tile % params.batches;
let part = tile / params.batches;
#if split
if part >= params.parts {
    return;
}
let k_begin = part * params.chunk;
let k_end = min(k_begin + params.chunk, params.k);
#else
if part >= 1u {
    return;
}
let k_begin = 0u;
let k_end = params.k;
#endif
{{batch}}
let a_base = {{base.a}};
let b_base = {{base.b}};
