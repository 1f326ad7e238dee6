// The index at an address as i32. What does not fit is negative, and so is out of range.
fn index_value(i: u32) -> i32 {
    #if signed
    return load_index(i);
    #else
    return bitcast<i32>(load_index(i));
    #endif
}

fn bad_index(value: i32) {
    #if signed
    report_fault(bitcast<u32>(value), select(0u, 0xffffffffu, value < 0));
    #else
    report_fault(bitcast<u32>(value), 0u);
    #endif
}
