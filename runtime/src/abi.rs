pub const DTYPE_NAMES: [&str; 6] = ["f32", "f64", "i32", "u32", "u8", "bool"];
