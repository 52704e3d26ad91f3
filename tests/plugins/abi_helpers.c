/* Test the helpers for authors at their limits, with well-behaved and misbehaving hosts, under ASan and UBSan.
 * Prints the failed checks, and the number of checks. */
#include "abi_out.h"

#include <unistd.h>

/* ---- hosts ------------------------------------------------------------------------------------------------------ */

/* Return success without growing, as a callback does that raised in its own language. */
static hp_status grow_dies(hp_out *out, size_t need) {
    (void)grow_never(out, need);
    return HP_OK;
}

/* Return success with one byte less than requested. */
static hp_status grow_short(hp_out *out, size_t need) { return grow_well(out, need - 1); }

/* Grow, but return failure. */
static hp_status grow_denies(hp_out *out, size_t need) {
    (void)grow_well(out, need);
    return HP_FAILED;
}

/* Return `count` bytes of x and a NUL. */
static char *text_of(size_t count) {
    char *text = malloc(count + 1);
    if (text == NULL) {
        abort();
    }
    memset(text, 'x', count);
    text[count] = 0;
    return text;
}

/* ---- reserve, write, puts --------------------------------------------------------------------------------------- */

static void test_exactly_what_there_is_room_for(void) {
    hp_out out = start(8, grow_never);
    CHECK(hp_reserve(&out, 0) == HP_OK && hp_reserve(&out, 8) == HP_OK && out.len == 0);
    CHECK(hp_write(&out, "1234", 4) == HP_OK && hp_puts(&out, "5678") == HP_OK);
    CHECK(hp_reserve(&out, 0) == HP_OK && hp_write(&out, NULL, 0) == HP_OK && hp_puts(&out, "") == HP_OK);
    CHECK(grown == 0 && holds(&out, "12345678"));
    CHECK(hp_reserve(&out, 1) == HP_NO_MEMORY && grown == 1 && wanted == 9);
    free(out.data);
}

/* A part of a result is never left: a method that returns the status of a helper would leave it as the reason. */
static void test_a_failure_discards_the_text(void) {
    const wchar_t broken[] = {0x7fffffff, 0};
    hp_out out = start(8, grow_never);
    CHECK(hp_puts(&out, "12345678") == HP_OK && hp_reserve(&out, 1) == HP_NO_MEMORY && holds(&out, ""));
    CHECK(hp_puts(&out, "12345678") == HP_OK && hp_write(&out, "9", 1) == HP_NO_MEMORY && holds(&out, ""));
    CHECK(hp_puts(&out, "12345678") == HP_OK && hp_puts(&out, "9") == HP_NO_MEMORY && holds(&out, ""));
    CHECK(hp_puts(&out, "12345678") == HP_OK && hp_printf(&out, "%d", 9) == HP_NO_MEMORY && holds(&out, ""));
    CHECK(hp_puts(&out, "1234567") == HP_OK && hp_reserve(&out, SIZE_MAX) == HP_NO_MEMORY && holds(&out, ""));
    CHECK(hp_puts(&out, "1234567") == HP_OK && hp_printf(&out, "%ls", broken) == HP_FAILED && holds(&out, ""));
    free(out.data);
}

static void test_one_byte_more_grows_to_the_whole_capacity(void) {
    hp_out out = start(8, grow_well);
    CHECK(hp_write(&out, "123456789", 9) == HP_OK && grown == 1 && wanted == 9 && holds(&out, "123456789"));
    CHECK(hp_puts(&out, "ab") == HP_OK && grown == 2 && wanted == 11 && holds(&out, "123456789ab"));
    CHECK(hp_reserve(&out, 100) == HP_OK && wanted == 111 && out.len == 11);
    memset(out.data + out.len, 'y', 100);
    free(out.data);
}

static void test_sizes_that_do_not_exist(void) {
    const volatile size_t most = SIZE_MAX; /* volatile: or gcc 16 warns about memcpy of SIZE_MAX */
    hp_out out = start(8, grow_well);
    CHECK(hp_puts(&out, "12") == HP_OK && hp_reserve(&out, SIZE_MAX) == HP_NO_MEMORY);
    CHECK(hp_puts(&out, "12") == HP_OK && hp_reserve(&out, SIZE_MAX - 1) == HP_NO_MEMORY);
    CHECK(hp_puts(&out, "12") == HP_OK && hp_write(&out, "x", most) == HP_NO_MEMORY && grown == 0);
    CHECK(hp_puts(&out, "12") == HP_OK && hp_reserve(&out, SIZE_MAX - 2) == HP_NO_MEMORY);
    CHECK(grown == 1 && wanted == SIZE_MAX);
    free(out.data);
}

static void test_hosts_that_lie(void) {
    hp_status (*const liars[])(hp_out *, size_t) = {grow_never, grow_dies, grow_short, grow_denies};
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        hp_out out = start(4, liars[i]);
        CHECK(hp_puts(&out, "12") == HP_OK);
        CHECK(hp_reserve(&out, 3) == HP_NO_MEMORY && holds(&out, ""));
        free(out.data);
        out = start(4, liars[i]);
        CHECK(hp_write(&out, "12345", 5) == HP_NO_MEMORY && out.len == 0);
        free(out.data);
        out = start(4, liars[i]);
        CHECK(hp_printf(&out, "%s", "1234567") == HP_NO_MEMORY && out.len == 0);
        free(out.data);
    }
}

static void test_nuls_are_text(void) {
    hp_out out = start(2, grow_well);
    CHECK(hp_write(&out, "a\0b", 3) == HP_OK && hp_printf(&out, "c%cd", 0) == HP_OK);
    CHECK(out.len == 6 && memcmp(out.data, "a\0bc\0d", 6) == 0);
    free(out.data);
}

/* ---- printf ----------------------------------------------------------------------------------------------------- */

static void test_printf_at_the_limit(void) {
    for (size_t count = 0; count <= 20; count++) {
        char *text = text_of(count);
        hp_out out = start(8, grow_well);
        CHECK(hp_printf(&out, "%s", text) == HP_OK && holds(&out, text));
        CHECK(grown == (count > 7) && (count <= 7 || wanted == count + 1)); /* vsnprintf's NUL needs room too */
        free(out.data);
        out = start(8, grow_well);
        CHECK(hp_puts(&out, "12345678") == HP_OK && hp_printf(&out, "%s", text) == HP_OK);
        CHECK(out.len == 8 + count && memcmp(out.data, "12345678", 8) == 0 && memcmp(out.data + 8, text, count) == 0);
        free(out.data);
        free(text);
    }
}

static void test_printf_of_what_cannot_be_rendered(void) {
    const wchar_t broken[] = {0x7fffffff, 0};
    hp_out out = start(64, grow_well);
    CHECK(hp_puts(&out, "before") == HP_OK);
    CHECK(hp_printf(&out, "%ls", broken) == HP_FAILED && holds(&out, "") && grown == 0);
    CHECK(hp_fail(&out, HP_INVALID, "%ls", broken) == HP_INVALID && holds(&out, "%ls"));
    free(out.data);
}

/* ---- fail ------------------------------------------------------------------------------------------------------- */

static void test_fail_starts_afresh_and_gives_the_status_back(void) {
    hp_out out = start(512, grow_never);
    CHECK(hp_puts(&out, "half a result") == HP_OK);
    CHECK(hp_fail(&out, HP_INVALID, "%d is not %s", 7, "eight") == HP_INVALID && holds(&out, "7 is not eight"));
    CHECK(hp_fail(&out, HP_AUTHOR + 5, "%s", "") == 261 && holds(&out, ""));
    CHECK(hp_fail(&out, HP_OK, "no status") == HP_FAILED && holds(&out, "no status"));
    CHECK(hp_fail(&out, HP_FAILED, "a%cb", 0) == HP_FAILED && out.len == 3 && memcmp(out.data, "a\0b", 3) == 0);
    free(out.data);
}

static void test_a_long_reason_grows_or_is_cut(void) {
    char *reason = text_of(2000);
    hp_out out = start(512, grow_well);
    CHECK(hp_fail(&out, HP_FAILED, "%s", reason) == HP_FAILED && holds(&out, reason) && grown == 1);
    free(out.data);
    hp_status (*const liars[])(hp_out *, size_t) = {grow_never, grow_dies};
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        out = start(512, liars[i]);
        CHECK(hp_fail(&out, HP_NO_MEMORY, "%s", reason) == HP_NO_MEMORY);
        CHECK(out.len == 511 && memcmp(out.data, reason, 511) == 0);
        free(out.data);
    }
    for (size_t count = 510; count <= 513; count++) {
        out = start(512, grow_never);
        CHECK(hp_fail(&out, HP_FAILED, "%s", reason + 2000 - count) == HP_FAILED);
        CHECK(out.len == (count < 511 ? count : 511));
        free(out.data);
    }
    free(reason);
}

static void test_a_reason_when_grow_moved_the_memory_and_then_failed(void) {
    hp_status (*const liars[])(hp_out *, size_t) = {grow_short, grow_denies};
    char *reason = text_of(2000);
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        hp_out out = start(512, liars[i]);
        CHECK(hp_fail(&out, HP_FAILED, "%s", reason) == HP_FAILED);
        CHECK(out.len < out.cap && memcmp(out.data, reason, out.len) == 0);
        free(out.data);
    }
    free(reason);
}

/* Return `count` bytes of x, and then `character` until it is longer than `enough`. */
static char *text_with(size_t count, const char *character, size_t enough) {
    const size_t size = strlen(character);
    char *text = malloc(enough + 2 * size);
    if (text == NULL) {
        abort();
    }
    memset(text, 'x', count);
    size_t len = count;
    for (; len <= enough; len += size) {
        memcpy(text + len, character, size);
    }
    text[len] = 0;
    return text;
}

static const char *const characters[] = {"x", "\u00e9", "\u20ac", "\U0001f600"};
enum { CHARACTERS = sizeof characters / sizeof *characters };

static void test_a_reason_is_cut_at_the_end_of_a_character(void) {
    for (size_t i = 0; i < CHARACTERS; i++) {
        const size_t size = strlen(characters[i]);
        for (size_t count = 0; count < size; count++) {
            char *reason = text_with(count, characters[i], 600);
            hp_out out = start(512, grow_never);
            CHECK(hp_fail(&out, HP_FAILED, "%s", reason) == HP_FAILED && memcmp(out.data, reason, out.len) == 0);
            CHECK(out.len == count + (511 - count) / size * size);
            free(out.data);
            free(reason);
        }
    }
    hp_out out = start(512, grow_never); /* what is no UTF-8 stays as it is */
    char *reason = text_with(0, "\xa9", 600);
    CHECK(hp_fail(&out, HP_FAILED, "%s", reason) == HP_FAILED && out.len == 511);
    free(out.data);
    free(reason);
}

/* ---- log -------------------------------------------------------------------------------------------------------- */

typedef struct {
    int ends[2];
    uint64_t dropped;
    hp_host host;
} listener;

static void listen_to(listener *l, int type) {
    if (socketpair(AF_UNIX, type, 0, l->ends) != 0) {
        abort();
    }
    l->dropped = 0;
    l->host = (hp_host){.size = sizeof l->host, .log_dropped = &l->dropped, .log_source = 77, .log_fd = l->ends[1]};
}

/* True if the next record has this level and this text. */
static bool heard(const listener *l, int level, const char *text) {
    char data[2048];
    hp_log_record head;
    const ssize_t size = recv(l->ends[0], data, sizeof data, MSG_DONTWAIT);
    if (size < (ssize_t)sizeof head) {
        return false;
    }
    memcpy(&head, data, sizeof head);
    return head.source == 77 && head.level == level && head.reserved == 0 &&
           (size_t)size == sizeof head + strlen(text) && memcmp(data + sizeof head, text, strlen(text)) == 0;
}

static void test_log(void) {
    listener l;
    listen_to(&l, SOCK_DGRAM);
    errno = EDOM;
    hp_log(&l.host, HP_LOG_WARNING, "%d bytes", 3);
    CHECK(errno == EDOM && heard(&l, 30, "3 bytes"));
    hp_log(&l.host, -5, "%s", "");
    CHECK(heard(&l, -5, "") && l.dropped == 0);
    char *text = text_of(HP_LOG_MAX + 1);
    hp_log(&l.host, HP_LOG_INFO, "%s", text);
    memcpy(text + HP_LOG_MAX - 3, "...", 4);
    CHECK(heard(&l, 20, text));
    memset(text + HP_LOG_MAX - 3, 'x', 3);
    hp_log(&l.host, HP_LOG_INFO, "%s", text);
    CHECK(strlen(text) == HP_LOG_MAX && heard(&l, 20, text));
    free(text);
    close(l.ends[0]);
    close(l.ends[1]);
}

static void test_a_log_record_is_cut_at_the_end_of_a_character(void) {
    listener l;
    listen_to(&l, SOCK_DGRAM);
    for (size_t i = 0; i < CHARACTERS; i++) {
        const size_t size = strlen(characters[i]);
        for (size_t count = 0; count < size; count++) {
            char *text = text_with(count, characters[i], HP_LOG_MAX);
            hp_log(&l.host, HP_LOG_INFO, "%s", text);
            memcpy(text + count + (HP_LOG_MAX - 3 - count) / size * size, "...", 4);
            CHECK(heard(&l, 20, text));
            free(text);
        }
    }
    close(l.ends[0]);
    close(l.ends[1]);
}

static void test_log_without_a_listener(void) {
    uint64_t dropped = 0;
    const hp_host nobody = {.size = sizeof nobody, .log_dropped = &dropped, .log_fd = -1};
    errno = EDOM;
    hp_log(NULL, HP_LOG_ERROR, "%d", 1);
    hp_log(&nobody, HP_LOG_ERROR, "%d", 1);
    CHECK(errno == EDOM && dropped == 0);
}

static void test_log_that_finds_no_room_is_counted(void) {
    listener l;
    listen_to(&l, SOCK_DGRAM);
    int sent = 0;
    errno = EDOM;
    while (l.dropped == 0 && sent < 1000000) {
        hp_log(&l.host, HP_LOG_DEBUG, "%d", sent++);
    }
    hp_log(&l.host, HP_LOG_DEBUG, "one more");
    CHECK(l.dropped == 2 && sent > 1 && errno == EDOM);
    CHECK(heard(&l, 10, "0"));
    close(l.ends[0]);
    close(l.ends[1]);
}

static void test_log_to_an_end_that_was_closed_is_counted(void) {
    const int types[] = {SOCK_DGRAM, SOCK_STREAM}; /* a stream would raise SIGPIPE without MSG_NOSIGNAL */
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        listener l;
        listen_to(&l, types[i]);
        close(l.ends[0]);
        errno = EDOM;
        hp_log(&l.host, HP_LOG_DEBUG, "to nobody");
        CHECK(l.dropped == 1 && errno == EDOM);
        close(l.ends[1]);
    }
}

int main(void) {
    test_exactly_what_there_is_room_for();
    test_one_byte_more_grows_to_the_whole_capacity();
    test_a_failure_discards_the_text();
    test_sizes_that_do_not_exist();
    test_hosts_that_lie();
    test_nuls_are_text();
    test_printf_at_the_limit();
    test_printf_of_what_cannot_be_rendered();
    test_fail_starts_afresh_and_gives_the_status_back();
    test_a_long_reason_grows_or_is_cut();
    test_a_reason_when_grow_moved_the_memory_and_then_failed();
    test_a_reason_is_cut_at_the_end_of_a_character();
    test_log();
    test_a_log_record_is_cut_at_the_end_of_a_character();
    test_log_without_a_listener();
    test_log_that_finds_no_room_is_counted();
    test_log_to_an_end_that_was_closed_is_counted();
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
