//! Uses what Zig's library has for plugins, in a folder that `greet` is given, and answers `done`.
const std = @import("std");
const c = @import("c");
const hardpoint = @import("hardpoint");

var count: std.atomic.Value(u32) = .init(0);

fn add(_: usize) void {
    _ = count.fetchAdd(1, .acq_rel);
}

fn tryThreads() !void {
    var threads: [8]std.Thread = undefined;
    const before = count.load(.acquire);
    for (&threads, 0..) |*thread, index| {
        thread.* = try std.Thread.spawn(.{}, add, .{index});
    }
    for (threads) |thread| thread.join();
    if (count.load(.acquire) != before + 8) return error.Threads;
    _ = try std.Thread.getCpuCount();
}

fn tryMemory() !void {
    for ([_]std.mem.Allocator{ std.heap.page_allocator, std.heap.smp_allocator, std.heap.c_allocator }) |allocator| {
        var numbers: std.ArrayList(u32) = .empty;
        defer numbers.deinit(allocator);
        for (0..100_000) |number| try numbers.append(allocator, @intCast(number));
    }
}

fn tryFiles(folder: []const u8) !void {
    var threaded: std.Io.Threaded = .init(std.heap.smp_allocator, .{});
    defer threaded.deinit();
    const io = threaded.io();
    var inside = try std.Io.Dir.cwd().openDir(io, folder, .{ .iterate = true });
    defer inside.close(io);
    try inside.writeFile(io, .{ .sub_path = "runtime-zig", .data = "1\n" });
    try inside.rename("runtime-zig", inside, "runtime-zig.new", io);
    var text: [8]u8 = undefined;
    if ((try inside.readFile(io, "runtime-zig.new", &text)).len != 2) return error.Files;
    var found: u32 = 0;
    var list = inside.iterate();
    while (try list.next(io)) |_| found += 1;
    if (found == 0) return error.Folders;
    try inside.deleteFile(io, "runtime-zig.new");
}

fn greet(_: ?*anyopaque, name: [*c]const u8, name_len: usize, out: [*c]c.hp_out) callconv(.c) c.hp_status {
    tryThreads() catch |err| return hardpoint.write(out, @errorName(err));
    tryMemory() catch |err| return hardpoint.write(out, @errorName(err));
    tryFiles(name[0..name_len]) catch |err| return hardpoint.write(out, @errorName(err));
    return hardpoint.write(out, "done");
}

fn lang(_: ?*anyopaque, out: [*c]c.hp_out) callconv(.c) c.hp_status {
    return hardpoint.write(out, "Zig");
}

pub const panic = hardpoint.panic;

comptime {
    hardpoint.plugin(c.greeter_v1, c.GREETER_V1_MANIFEST("runtime", "1.0.0"), .{
        .greet = greet,
        .lang = lang,
    });
}
