//! hardpoint.zig - the parts of hardpoint.h that do not translate to Zig: the macro that defines a plugin, and formats.
//!
//!     const c = @import("c"); // zig translate-c -lc -I"$(hardpoint include)" "$(hardpoint include)/greeter.h" > c.zig
//!     const hardpoint = @import("hardpoint"); // this file, which imports the same `c`
//!
//!     fn greet(_: ?*anyopaque, name: [*c]const u8, len: usize, out: [*c]c.hp_out) callconv(.c) c.hp_status {
//!         return hardpoint.print(out, "Hello, {s}!", .{name[0..len]});
//!     }
//!     ...
//!     pub const panic = hardpoint.panic;
//!     comptime {
//!         const manifest = c.GREETER_V1_MANIFEST("english", "1.0.0");
//!         hardpoint.plugin(c.greeter_v1, manifest, .{ .greet = greet, .lang = lang });
//!     }
//!
//! hardpoint.h has the rules. A panic in Zig cannot be caught: it ends the process, so a failure has to be an error
//! that becomes a status. Zig's own panic handler adds much of std.Io, and 256 KiB of memory for each thread. Zig 0.16
//! or newer; no allocator is needed.

const std = @import("std");
const c = @import("c");

/// Defines a plugin: the note, and the vtable under its exported name. Slots that are left out are NULL, which only
/// those of @since methods may be; Zig accepts others, `hardpoint check` does not.
pub fn plugin(comptime Vtable: type, comptime manifest: [:0]const u8, comptime slots: Vtable) void {
    const name = @typeName(Vtable);
    const start = std.mem.lastIndexOf(u8, name, "struct_") orelse
        @compileError(name ++ " is not a vtable of a generated header");
    const Written = struct {
        const vtable: Vtable = vtable: {
            var filled = slots;
            filled.head = .{
                .size = @sizeOf(Vtable),
                .abi_major = c.HP_ABI_MAJOR,
                .abi_minor = c.HP_ABI_MINOR,
                .manifest = manifest.ptr,
            };
            break :vtable filled;
        };
        const note: Note(manifest.len + 1) = .{ .description = padded(manifest) };
    };
    @export(&Written.note, .{
        .name = "hp_note_" ++ name[start + 7 ..],
        .section = ".note.hardpoint",
        .visibility = .hidden,
    });
    @export(&Written.vtable, .{ .name = "hardpoint_" ++ name[start + 7 ..] });
}

/// The note (ELF gABI, "Note Section"): name size, description size, type, name, description, each padded to 4 bytes.
fn Note(comptime size: u32) type {
    if (size > c.HP_MANIFEST_MAX) @compileError("the manifest is longer than 4096 bytes");
    return extern struct {
        name_size: u32 = 10,
        description_size: u32 = size,
        kind: u32 = 1,
        owner: [12]u8 = "hardpoint\x00\x00\x00".*,
        description: [(size + 3) / 4 * 4]u8,
    };
}

fn padded(comptime manifest: [:0]const u8) [(manifest.len + 4) / 4 * 4]u8 {
    var description: [(manifest.len + 4) / 4 * 4]u8 = @splat(0);
    @memcpy(description[0..manifest.len], manifest);
    return description;
}

/// Appends text. HP_OK, or HP_NO_MEMORY with the text discarded.
pub fn write(out: [*c]c.hp_out, text: []const u8) c.hp_status {
    return c.hp_write(out, text.ptr, text.len);
}

/// Appends as std.fmt does: "{s}", .{name}. HP_OK, or HP_NO_MEMORY with the text discarded.
pub fn print(out: [*c]c.hp_out, comptime format: []const u8, arguments: anytype) c.hp_status {
    const status = c.hp_reserve(out, std.fmt.count(format, arguments));
    if (status == c.HP_OK) {
        const room = out.*.data[out.*.len..out.*.cap];
        const text = std.fmt.bufPrint(room, format, arguments) catch {
            out.*.len = 0;
            return c.HP_FAILED;
        };
        out.*.len += text.len;
    }
    return status;
}

/// Fails with a reason: writes it to `out` in place of its content, and returns `status`, for the method to return.
/// A `status` of 0 or less becomes HP_FAILED. If memory runs out, the reason is truncated at the end of a character.
pub fn fail(out: [*c]c.hp_out, status: c.hp_status, comptime format: []const u8, arguments: anytype) c.hp_status {
    out.*.len = 0;
    if (print(out, format, arguments) != c.HP_OK) {
        const room = out.*.data[0..out.*.cap];
        out.*.len = if (std.fmt.bufPrint(room, format, arguments)) |text|
            text.len
        else |_|
            c.hp_whole_(room.ptr, room.len);
    }
    return if (status > 0) status else c.HP_FAILED;
}

/// Logs as std.fmt does, with c.HP_LOG_INFO and the like; a text too long for a record is truncated at the end of a
/// character and ends in "...". Else as hp_log.
pub fn log(host: [*c]const c.hp_host, level: c_int, comptime format: []const u8, arguments: anytype) void {
    if (host == null or host.*.log_fd < 0) return;
    var record: extern struct { head: c.hp_log_record, text: [c.HP_LOG_MAX]u8 } = undefined;
    record.head = .{ .source = host.*.log_source, .level = level, .reserved = 0 };
    var len: usize = c.HP_LOG_MAX;
    if (std.fmt.bufPrint(&record.text, format, arguments)) |text| {
        len = text.len;
    } else |_| {
        len = c.hp_whole_(&record.text, c.HP_LOG_MAX - 3) + 3;
        @memcpy(record.text[len - 3 .. len], "...");
    }
    const sent = c.send(host.*.log_fd, &record, @sizeOf(c.hp_log_record) + len, c.MSG_DONTWAIT | c.MSG_NOSIGNAL);
    if (sent < 0) _ = @atomicRmw(u64, host.*.log_dropped, .Add, 1, .monotonic);
}

/// For the root file: the message goes to stderr, and the process ends. The host of an isolated plugin survives.
pub const panic = std.debug.FullPanic(struct {
    fn end(message: []const u8, _: ?usize) noreturn {
        for ([_][]const u8{ "panic: ", message, "\n" }) |text| _ = std.c.write(2, text.ptr, text.len);
        std.c.abort();
    }
}.end);
