/* The recipe, taken apart. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_recipe.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "_program.h"

char *take(List *list, size_t size) {
    char *data = list->at;
    if ((size_t)(list->end - list->at) < size) {
        fail("a malformed recipe: it ends too early");
    }
    list->at += size;
    return data;
}

uint32_t take_u32(List *list) {
    uint32_t number;
    memcpy(&number, take(list, sizeof number), sizeof number);
    return number;
}

uint64_t take_u64(List *list) {
    uint64_t number;
    memcpy(&number, take(list, sizeof number), sizeof number);
    return number;
}

Text take_text(List *list) {
    const uint32_t size = take_u32(list); /* first: an initializer's parts are evaluated in no particular order */
    return (Text){.size = size, .data = take(list, size)};
}

/* A text with a NUL. There is no room behind it, so it moves by one byte, over its length, and is taken only once. */
static char *take_string(List *list) {
    const Text text = take_text(list);
    char *moved = memmove(text.data - 1, text.data, text.size);
    moved[text.size] = '\0';
    return moved;
}

/* A list of rows of `size` bytes. */
static List take_rows(List *from, size_t size) {
    List rows = {.left = take_u32(from)};
    rows.at = from->at;
    take(from, rows.left * size);
    rows.end = from->at;
    return rows;
}

static List take_rules(List *from) {
    List rules = {.left = take_u32(from)};
    rules.at = from->at;
    for (uint32_t rule = 0; rule < rules.left; rule++) {
        take_u64(from);
        take_text(from);
    }
    rules.end = from->at;
    return rules;
}

static void take_sandbox(Recipe *recipe, List *all) {
    recipe->limits = take_rows(all, 20);
    recipe->landlock_abi = take_u32(all);
    recipe->handled_files = take_u64(all);
    recipe->handled_network = take_u64(all);
    recipe->scoped = take_u64(all);
    recipe->rules = take_rules(all);
    recipe->capabilities = take_u32(all);
    recipe->placeholder = take_u32(all);
    recipe->bpf = take_text(all);
}

static void take_vtable(Recipe *recipe, List *all) {
    recipe->vtable = take_u64(all);
    recipe->head = take_u64(all);
    recipe->vtable_flags = take_u64(all);
    recipe->manifest = take_text(all);
    recipe->mapped = take_rows(all, 16);
    recipe->slots = take_rows(all, 8);
    recipe->methods = take_rows(all, METHOD_ROW);
}

static void take_recipe(Recipe *recipe, List *all) {
    if (take_u32(all) != RECIPE_MAGIC) {
        fail("a malformed recipe: it is of another version");
    }
    recipe->flags = take_u32(all);
    recipe->title = take_string(all);
    recipe->path = take_string(all);
    recipe->symbol = take_string(all);
    recipe->identity.device = take_u64(all);
    recipe->identity.inode = take_u64(all);
    recipe->identity.size = take_u64(all);
    recipe->identity.modified = take_u64(all);
    take_sandbox(recipe, all);
    take_vtable(recipe, all);
    if ((recipe->flags & RECIPE_HAS_CONFIG) != 0) {
        recipe->config = take_text(all);
    }
    recipe->host_version = take_string(all);
}

void recipe_read(Recipe *recipe, int fd, uint64_t offset, uint64_t size) {
    memset(recipe, 0, sizeof *recipe);
    recipe->memory_size = size + 1; /* mmap refuses a size of 0 */
    recipe->memory =
        mmap(NULL, recipe->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (recipe->memory == MAP_FAILED) {
        out_of_memory();
    }
    List all = {.at = recipe->memory, .end = recipe->memory};
    while ((uint64_t)(all.end - all.at) < size) {
        const uint64_t done = (uint64_t)(all.end - all.at);
        const ssize_t got = pread(fd, all.end, size - done, (off_t)(offset + done));
        if (got <= 0) {
            fail("the recipe cannot be read");
        }
        all.end += got;
    }
    take_recipe(recipe, &all);
}

void recipe_drop(Recipe *recipe) {
    munmap(recipe->memory, recipe->memory_size);
}
