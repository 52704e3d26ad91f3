//! A greeter that speaks English.
const c = @import("c");
const hardpoint = @import("hardpoint");

fn greet(
    _: ?*anyopaque,
    name: [*c]const u8,
    name_len: usize,
    out: [*c]c.hp_out,
) callconv(.c) c.hp_status {
    return hardpoint.print(out, "Hello, {s}! Nice to meet you.", .{name[0..name_len]});
}

fn lang(_: ?*anyopaque, out: [*c]c.hp_out) callconv(.c) c.hp_status {
    return hardpoint.write(out, "English");
}

pub const panic = hardpoint.panic;

comptime {
    hardpoint.plugin(c.greeter_v1, c.GREETER_V1_MANIFEST("english", "1.0.0"), .{
        .greet = greet,
        .lang = lang,
    });
}
