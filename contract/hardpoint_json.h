/* hardpoint_json.h - reads a config that is JSON (RFC 8259), in three lines of `create`:
 *
 *     hp_json json = hp_json_parse(config, config_len, out);
 *     made->wanted = hp_json_int(&json, "wanted", 10);
 *     if (json.status != HP_OK) { return json.status; }
 *
 * hp_json_parse checks the whole text. A value that is absent or null reads as the default, and so does each if there
 * is no config. The first failure (malformed text, another type, a number out of range) is kept: `json.status` is
 * HP_INVALID, `out` has the reason with line and column, and every later read gives its default.
 *
 * An object in an object, and a list:
 *
 *     hp_json limits = hp_json_get(&json, "limits");
 *     made->depth = hp_json_int(&limits, "depth", 3);
 *     hp_json ports = hp_json_get(&json, "ports");
 *     for (hp_json port = hp_json_first(&ports); port.at != NULL; port = hp_json_next(&port)) {
 *         add(made, hp_json_int(&port, NULL, 0));
 *     }
 *
 * C11 and C++17, with nothing to link with. It allocates nothing, does not recurse, and does not depend on the locale.
 * Limits: 64 levels of objects and lists, 127 characters of a float. A read takes time in proportion to the text.
 * Of two members of the same name, the last counts, as in Python. A host passes a config in valid UTF-8, and strings are
 * taken byte by byte: text from elsewhere needs a check of its own.
 *
 * Owner: the text and `out` stay the caller's. Lifetime: the text and the first hp_json outlive all that were read from
 * it. Thread: one at a time. */
#ifndef HARDPOINT_JSON_H
#define HARDPOINT_JSON_H

#include <float.h>
#include <stdlib.h>

#include "hardpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A value in the text. Read `status` and `at`; the other members may change. */
typedef struct hp_json hp_json;
struct hp_json {
    hp_status status; /* HP_OK, or HP_INVALID after a failure: of the one that hp_json_parse returned */
    const char *at;   /* the value; NULL if there is none */
    const char *end;  /* the end of the whole text */
    const char *key;  /* the quoted name of a member, else NULL */
    const char *text; /* the whole text */
    hp_json *root;    /* the one that hp_json_parse returned, whose own is NULL */
    hp_out *out;      /* where it writes the reason */
};

#define HP_JSON_DEPTH 64
#define HP_JSON_NUMBER 128

/* ---- the text ---------------------------------------------------------------------------------------------------- */

/* A place in the text, and what the grammar needs there if it has something else. */
typedef struct hp_json_cursor_ {
    const char *at, *end, *needs;
} hp_json_cursor_;

static inline bool hp_json_wrong_(hp_json_cursor_ *c, const char *needs) {
    c->needs = needs;
    return false;
}

static inline char hp_json_peek_(const hp_json_cursor_ *c) {
    if (c->at == c->end) {
        return '\0';
    }
    return *c->at;
}

static inline void hp_json_space_(hp_json_cursor_ *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r')) {
        c->at++;
    }
}

static inline bool hp_json_take_(hp_json_cursor_ *c, char wanted) {
    const bool there = c->at < c->end && *c->at == wanted;
    c->at += there;
    return there;
}

static inline bool hp_json_digits_(hp_json_cursor_ *c) {
    const char *start = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        c->at++;
    }
    return c->at > start || hp_json_wrong_(c, "a digit");
}

static inline bool hp_json_number_(hp_json_cursor_ *c) {
    (void)hp_json_take_(c, '-');
    if (!hp_json_take_(c, '0') && !hp_json_digits_(c)) {
        return false;
    }
    if (hp_json_take_(c, '.') && !hp_json_digits_(c)) {
        return false;
    }
    if (hp_json_take_(c, 'e') || hp_json_take_(c, 'E')) {
        if (!hp_json_take_(c, '+')) {
            (void)hp_json_take_(c, '-');
        }
        return hp_json_digits_(c);
    }
    return true;
}

/* Takes the four digits of \uXXXX. Result: the number, or -1. */
static inline int32_t hp_json_hex_(hp_json_cursor_ *c) {
    int32_t code = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        const char digit = hp_json_peek_(c);
        const int value = digit >= '0' && digit <= '9'   ? digit - '0'
                          : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                          : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                         : -1;
        if (value < 0) {
            return -1;
        }
        code = code * 16 + value;
    }
    return code;
}

/* Takes an escape after its backslash. Result: the character, or -1; half a surrogate pair is none. */
static inline int32_t hp_json_escape_(hp_json_cursor_ *c) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char letter = hp_json_peek_(c);
    if (letter == '\0') {
        return -1;
    }
    const char *known = strchr(letters, letter);
    c->at++;
    if (known != NULL) {
        return meant[known - letters];
    }
    const int32_t first = letter == 'u' ? hp_json_hex_(c) : -1;
    if (first < 0xd800 || first > 0xdfff) {
        return first;
    }
    if (first > 0xdbff || !hp_json_take_(c, '\\') || !hp_json_take_(c, 'u')) {
        return -1;
    }
    const int32_t second = hp_json_hex_(c);
    return second < 0xdc00 || second > 0xdfff ? -1 : 0x10000 + (first - 0xd800) * 0x400 + (second - 0xdc00);
}

/* Takes a character of a string as UTF-8, 1 to 4 bytes. Result: their number; 0 at the closing quote and if wrong. */
static inline int hp_json_char_(hp_json_cursor_ *c, char bytes[4]) {
    const char *start = c->at;
    if (c->at == c->end || *c->at == '"') {
        return 0;
    }
    bytes[0] = *c->at++;
    if (HP_CAST_(unsigned char, bytes[0]) < 0x20) {
        c->at = start;
        return hp_json_wrong_(c, "an escape for this control character");
    }
    if (bytes[0] != '\\') {
        return 1;
    }
    const int32_t code = hp_json_escape_(c);
    if (code < 0) {
        c->at = start;
        return hp_json_wrong_(c, "a valid escape");
    }
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int marks[] = {0, 0xc0, 0xe0, 0xf0};
    bytes[0] = HP_CAST_(char, code >> (6 * more) | marks[more]);
    for (int i = 1; i <= more; i++) {
        bytes[i] = HP_CAST_(char, ((code >> (6 * (more - i))) & 0x3f) | 0x80);
    }
    return more + 1;
}

static inline bool hp_json_string_(hp_json_cursor_ *c) {
    char bytes[4];
    if (!hp_json_take_(c, '"')) {
        return hp_json_wrong_(c, "a name in double quotes");
    }
    while (hp_json_char_(c, bytes) > 0) {
    }
    return c->needs == NULL && (hp_json_take_(c, '"') || hp_json_wrong_(c, "a closing \""));
}

static inline bool hp_json_word_(hp_json_cursor_ *c, const char *word) {
    const size_t len = strlen(word);
    if (HP_CAST_(size_t, c->end - c->at) < len || memcmp(c->at, word, len) != 0) {
        return false;
    }
    c->at += len;
    return true;
}

/* Takes a value that is neither an object nor a list. */
static inline bool hp_json_scalar_(hp_json_cursor_ *c) {
    const char next = hp_json_peek_(c);
    if (next == '"') {
        return hp_json_string_(c);
    }
    if (next == '-' || (next >= '0' && next <= '9')) {
        return hp_json_number_(c);
    }
    return hp_json_word_(c, "true") || hp_json_word_(c, "false") || hp_json_word_(c, "null") ||
           hp_json_wrong_(c, "a value");
}

static inline bool hp_json_name_(hp_json_cursor_ *c) {
    hp_json_space_(c);
    if (!hp_json_string_(c)) {
        return false;
    }
    hp_json_space_(c);
    return hp_json_take_(c, ':') || hp_json_wrong_(c, "a colon");
}

/* Takes a value of any kind. `objects` has a bit for each level that is an object. */
static inline bool hp_json_value_(hp_json_cursor_ *c) {
    uint64_t objects = 0;
    int depth = 0;
    do {
        hp_json_space_(c);
        const bool object = hp_json_peek_(c) == '{';
        if (object || hp_json_peek_(c) == '[') {
            if (depth == HP_JSON_DEPTH) {
                return hp_json_wrong_(c, "at most 64 levels of objects and lists");
            }
            c->at++;
            depth++;
            objects = objects << 1 | object;
            hp_json_space_(c);
            if (hp_json_peek_(c) != (object ? '}' : ']')) {
                if (object && !hp_json_name_(c)) {
                    return false;
                }
                continue;
            }
        } else if (!hp_json_scalar_(c)) {
            return false;
        }
        for (hp_json_space_(c); depth > 0 && hp_json_take_(c, (objects & 1) != 0 ? '}' : ']'); hp_json_space_(c)) {
            objects >>= 1;
            depth--;
        }
        if (depth > 0 && !hp_json_take_(c, ',')) {
            return hp_json_wrong_(c, (objects & 1) != 0 ? "a comma or }" : "a comma or ]");
        }
        if (depth > 0 && (objects & 1) != 0 && !hp_json_name_(c)) {
            return false;
        }
    } while (depth > 0);
    return true;
}

/* ---- for authors ------------------------------------------------------------------------------------------------- */

static inline hp_json *hp_json_root_(hp_json *json) { return json->root != NULL ? json->root : json; }

/* Writes the reason of the first failure, such as `config, line 1, column 12: "wanted" is not an integer`. `key` is the
 * name that was read, and NULL for a value itself: then its own name is given, as the text has it. */
static inline void hp_json_fail_(hp_json *value, const char *at, const char *key, const char *what) {
    hp_json *root = hp_json_root_(value);
    size_t line = 1, column = 1, len = key != NULL ? strlen(key) : 0;
    if (root->status != HP_OK) {
        return;
    }
    if (key == NULL && value->key != NULL) {
        hp_json_cursor_ c = {value->key, value->end, NULL};
        (void)hp_json_string_(&c);
        key = value->key + 1;
        len = HP_CAST_(size_t, c.at - key) - 1;
    }
    if (len > 64) {
        for (len = 64; (key[len] & 0xc0) == 0x80; len--) { /* not within a character */
        }
    }
    for (const char *p = root->text; p < at; p++) {
        column = *p == '\n' ? 1 : column + 1;
        line += *p == '\n';
    }
    const char *quote = key != NULL ? "\"" : "";
    root->status = hp_fail(root->out, HP_INVALID, "config, line %zu, column %zu: %s%.*s%s%s%s", line, column, quote,
                           HP_CAST_(int, len), key != NULL ? key : "", quote, key != NULL ? " is " : "", what);
}

static inline hp_json hp_json_none_(hp_json *json) {
    hp_json none;
    memset(&none, 0, sizeof none);
    none.root = hp_json_root_(json);
    none.end = none.root->end;
    return none;
}

/* The item of a list or the member of an object that begins at `c`. */
static inline hp_json hp_json_item_(hp_json *json, hp_json_cursor_ *c, bool member) {
    hp_json item = hp_json_none_(json);
    hp_json_space_(c);
    if (member) {
        item.key = c->at;
        (void)hp_json_name_(c);
        hp_json_space_(c);
    }
    item.at = c->at;
    return item;
}

/* Compares a member's name, in which characters may be escaped; an item of a list has none. */
static inline bool hp_json_is_(const hp_json *member, const char *name, size_t len) {
    if (member->key == NULL) {
        return false;
    }
    hp_json_cursor_ c = {member->key + 1, member->end, NULL};
    char bytes[4];
    size_t n = HP_CAST_(size_t, hp_json_char_(&c, bytes));
    for (; n > 0; n = HP_CAST_(size_t, hp_json_char_(&c, bytes))) {
        if (len < n || memcmp(name, bytes, n) != 0) {
            return false;
        }
        name += n;
        len -= n;
    }
    return len == 0;
}

/* Copies the string at `at`. */
static inline void hp_json_copy_(hp_json *value, const char *at, const char *key, char *buffer, size_t size) {
    char bytes[4];
    size_t len = 0;
    for (int copying = 0; copying < 2; copying++) { /* first measured, so that a failure leaves the buffer as it is */
        hp_json_cursor_ c = {at + 1, value->end, NULL};
        len = 0;
        for (int n = hp_json_char_(&c, bytes); n > 0; n = hp_json_char_(&c, bytes)) {
            if (bytes[0] == '\0') {
                hp_json_fail_(value, at, key, "a text with a NUL");
                return;
            }
            if (copying != 0) {
                memcpy(buffer + len, bytes, HP_CAST_(size_t, n));
            }
            len += HP_CAST_(size_t, n);
        }
        if (len >= size) {
            char what[64];
            (void)snprintf(what, sizeof what, "longer than %zu bytes", size > 0 ? size - 1 : 0);
            hp_json_fail_(value, at, key, what);
            return;
        }
    }
    buffer[len] = '\0';
}

/* ---- for authors ------------------------------------------------------------------------------------------------- */

/* Checks a whole text. `text` may be NULL, for no config.
 * Result: the value; or an absent one, whose `status` tells a failure from no config. */
static inline hp_json hp_json_parse(const char *text, size_t len, hp_out *out) {
    hp_json json;
    memset(&json, 0, sizeof json);
    json.out = out;
    if (text == NULL) {
        return json;
    }
    json.text = text;
    json.end = text + len;
    hp_json_cursor_ c = {text, json.end, NULL};
    hp_json_space_(&c);
    const char *start = c.at;
    if (hp_json_value_(&c)) {
        hp_json_space_(&c);
        c.needs = c.at < c.end ? "the end of the text" : NULL;
    }
    if (c.needs == NULL) {
        json.at = *start == 'n' ? NULL : start;
    } else {
        char what[64];
        (void)snprintf(what, sizeof what, "expected %s", c.needs);
        hp_json_fail_(&json, c.at, NULL, what);
    }
    return json;
}

/* The first item of a list or member of an object. Result: the item; `at` is NULL if there is none. */
static inline hp_json hp_json_first(hp_json *json) {
    if (json->at == NULL || *json->at == 'n' || hp_json_root_(json)->status != HP_OK) {
        return hp_json_none_(json);
    }
    if (*json->at != '{' && *json->at != '[') {
        hp_json_fail_(json, json->at, NULL, "neither an object nor a list");
        return hp_json_none_(json);
    }
    hp_json_cursor_ c = {json->at + 1, json->end, NULL};
    hp_json_space_(&c);
    const char next = hp_json_peek_(&c);
    return next == '}' || next == ']' ? hp_json_none_(json) : hp_json_item_(json, &c, *json->at == '{');
}

/* The item after `item`. Result: as hp_json_first. */
static inline hp_json hp_json_next(hp_json *item) {
    hp_json_cursor_ c = {item->at, item->end, NULL};
    if (item->at == NULL || hp_json_root_(item)->status != HP_OK || !hp_json_value_(&c)) {
        return hp_json_none_(item);
    }
    hp_json_space_(&c);
    return hp_json_take_(&c, ',') ? hp_json_item_(item, &c, item->key != NULL) : hp_json_none_(item);
}

/* The member `key` of an object; the value itself if `key` is NULL, here and below.
 * Result: an object, a list or any other value; `at` is NULL if it is absent or null. */
static inline hp_json hp_json_get(hp_json *json, const char *key) {
    hp_json found = hp_json_none_(json);
    if (hp_json_root_(json)->status != HP_OK || json->at == NULL || *json->at == 'n') {
        return found;
    }
    if (key == NULL) {
        found.at = json->at;
        found.key = json->key;
        return found;
    }
    if (*json->at != '{') {
        hp_json_fail_(json, json->at, NULL, "not an object");
        return found;
    }
    for (hp_json member = hp_json_first(json); member.at != NULL; member = hp_json_next(&member)) {
        if (hp_json_is_(&member, key, strlen(key))) {
            found = member;
        }
    }
    if (found.at != NULL && *found.at == 'n') {
        found.at = NULL;
    }
    return found;
}

/* Reads a bool. Result: the value, or `otherwise`. */
static inline bool hp_json_bool(hp_json *json, const char *key, bool otherwise) {
    hp_json value = hp_json_get(json, key);
    if (value.at == NULL) {
        return otherwise;
    }
    if (*value.at != 't' && *value.at != 'f') {
        hp_json_fail_(&value, value.at, key, "neither true nor false");
        return otherwise;
    }
    return *value.at == 't';
}

/* Reads an integer, written without a fraction or exponent. Result: the value, or `otherwise`. */
static inline int64_t hp_json_int(hp_json *json, const char *key, int64_t otherwise) {
    hp_json value = hp_json_get(json, key);
    if (value.at == NULL) {
        return otherwise;
    }
    hp_json_cursor_ c = {value.at, value.end, NULL};
    const uint64_t minus = hp_json_take_(&c, '-') ? 1 : 0, most = HP_CAST_(uint64_t, INT64_MAX) + minus;
    const char *start = c.at;
    uint64_t number = 0;
    bool fits = true;
    for (; c.at < c.end && *c.at >= '0' && *c.at <= '9'; c.at++) {
        const uint64_t digit = HP_CAST_(uint64_t, *c.at - '0');
        fits = fits && number <= (most - digit) / 10;
        number = fits ? number * 10 + digit : 0;
    }
    const char next = hp_json_peek_(&c);
    if (c.at == start || next == '.' || next == 'e' || next == 'E') {
        hp_json_fail_(&value, value.at, key, "not an integer");
        return otherwise;
    }
    if (!fits) {
        hp_json_fail_(&value, value.at, key, "out of range for 64 bits");
        return otherwise;
    }
    return HP_CAST_(int64_t, minus != 0 ? 0 - number : number);
}

/* Reads a number. Result: the nearest double, or `otherwise`. */
static inline double hp_json_float(hp_json *json, const char *key, double otherwise) {
    hp_json value = hp_json_get(json, key);
    if (value.at == NULL) {
        return otherwise;
    }
    /* strtod takes the locale's decimal point, so it gets none: 1.5e3 is read as 15e2. */
    char digits[HP_JSON_NUMBER + 16];
    int used = 0;
    long exponent = 0;
    bool fraction = false;
    const char *p = value.at;
    for (; p < value.end && used < HP_JSON_NUMBER && strchr("-.0123456789", *p) != NULL && *p != '\0'; p++) {
        if (*p == '.') {
            fraction = true;
        } else {
            digits[used++] = *p;
            exponent -= fraction;
        }
    }
    if (p == value.at || used >= HP_JSON_NUMBER) {
        hp_json_fail_(&value, value.at, key, used == 0 ? "not a number" : "a number that is too long");
        return otherwise;
    }
    if (p < value.end && (*p == 'e' || *p == 'E')) {
        const bool minus = *++p == '-';
        long written = 0;
        for (p += *p == '-' || *p == '+'; p < value.end && *p >= '0' && *p <= '9'; p++) {
            written = written > 99999 ? written : written * 10 + (*p - '0');
        }
        exponent += minus ? -written : written;
    }
    (void)snprintf(digits + used, sizeof digits - HP_CAST_(size_t, used), "e%ld", exponent);
    const double number = strtod(digits, NULL);
    if (number > DBL_MAX || number < -DBL_MAX) {
        hp_json_fail_(&value, value.at, key, "out of range for a double");
        return otherwise;
    }
    return number;
}

/* Reads a text into `buffer`, with a NUL at its end. If it is absent or the read fails, the buffer stays as it is: put
 * the default there. A text of `size` bytes or more, or with a NUL in it, is a failure. Result: none. */
static inline void hp_json_str(hp_json *json, const char *key, char *buffer, size_t size) {
    hp_json value = hp_json_get(json, key);
    if (value.at != NULL && *value.at != '"') {
        hp_json_fail_(&value, value.at, key, "not a text");
    } else if (value.at != NULL) {
        hp_json_copy_(&value, value.at, key, buffer, size);
    }
}

/* Reads the name of a member that hp_json_first or hp_json_next gave, as hp_json_str does. Result: none. */
static inline void hp_json_key(hp_json *member, char *buffer, size_t size) {
    if (member->key != NULL && hp_json_root_(member)->status == HP_OK) {
        hp_json_copy_(member, member->key, NULL, buffer, size);
    }
}

/* Fails if an object has a member that is not in `keys`, which are separated by blanks: a name that was mistyped.
 * Result: none. */
static inline void hp_json_only(hp_json *json, const char *keys) {
    if (hp_json_root_(json)->status == HP_OK && json->at != NULL && *json->at != '{' && *json->at != 'n') {
        hp_json_fail_(json, json->at, NULL, "not an object");
        return;
    }
    for (hp_json member = hp_json_first(json); member.at != NULL; member = hp_json_next(&member)) {
        bool known = false;
        for (const char *name = keys + strspn(keys, " "); !known && *name != '\0'; name += strspn(name, " ")) {
            const size_t len = strcspn(name, " ");
            known = hp_json_is_(&member, name, len);
            name += len;
        }
        if (!known) {
            hp_json_fail_(&member, member.key != NULL ? member.key : member.at, NULL, "not a known setting");
        }
    }
}

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HARDPOINT_JSON_H */
