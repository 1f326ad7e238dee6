## Varies: t, split, whole (rows of C are whole quads), epilogue (text: what the planner fused behind the
## product, of `acc`), stores (the buffers it writes, each with the register that holds its value).
#if split
// Puts away four elements of a row of a part's product; another launch adds the parts up.
#else
// Finishes four elements of a row and stores them.
#endif
fn store_block(batch: u32, part: u32, row: u32, col: u32, acc: vec4<{{t}}>) {
    if row >= params.m || col >= params.n {
        return;
    }
    let to = (batch * params.m + row) * params.n + col;
    {{epilogue}}
    #for y in stores
    #set place = "part * params.pitch + to" if split else "to"
    #if whole
    store4_{{y.name}}({{place}}, {{y.value}});
    #else
    store_{{y.name}}({{place}}, {{y.value}}.x);
    #for i in ["y", "z", "w"]
    if col + {{loop.index}}u < params.n {
        store_{{y.name}}({{place}} + {{loop.index}}u, {{y.value}}.{{i}});
    }
    #endfor
    #endif
    #endfor
}

