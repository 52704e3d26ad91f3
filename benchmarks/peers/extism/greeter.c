/* A greeter in WebAssembly, for extism: text crosses into and out of the module's memory through the host's functions,
 * eight bytes at a time, as extism's own kit for C does it. */
#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

typedef unsigned char u8;
typedef unsigned long long u64;

IMPORT(input_length) u64 input_length(void);
IMPORT(input_load_u8) u8 input_load_u8(u64 offset);
IMPORT(input_load_u64) u64 input_load_u64(u64 offset);
IMPORT(alloc) u64 alloc(u64 size);
IMPORT(store_u8) void store_u8(u64 offset, u8 byte);
IMPORT(store_u64) void store_u64(u64 offset, u64 word);
IMPORT(output_set) void output_set(u64 offset, u64 size);

static u64 store(u64 to, const char *text, u64 size) {
    u64 i = 0;
    for (; i + 8 <= size; i += 8) {
        u64 word;
        __builtin_memcpy(&word, text + i, 8);
        store_u64(to + i, word);
    }
    for (; i < size; i++) {
        store_u8(to + i, (u8)text[i]);
    }
    return to + size;
}

static u64 store_input(u64 to, u64 size) {
    u64 i = 0;
    for (; i + 8 <= size; i += 8) {
        store_u64(to + i, input_load_u64(i));
    }
    for (; i < size; i++) {
        store_u8(to + i, input_load_u8(i));
    }
    return to + size;
}

EXPORT(greet) int greet(void) {
    static const char before[] = "Hello, ", after[] = "! Nice to meet you.";
    const u64 len = input_length(), size = sizeof before - 1 + len + sizeof after - 1;
    const u64 start = alloc(size);
    store(store_input(store(start, before, sizeof before - 1), len), after, sizeof after - 1);
    output_set(start, size);
    return 0;
}

EXPORT(lang) int lang(void) {
    static const char text[] = "English";
    const u64 start = alloc(sizeof text - 1);
    store(start, text, sizeof text - 1);
    output_set(start, sizeof text - 1);
    return 0;
}
