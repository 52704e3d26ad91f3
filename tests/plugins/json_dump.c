/* Reads configs from stdin, each after its length as 4 bytes, and prints a line for each: all that hp_json reads in it,
 * or the reason of a failure. Built with sanitizers by tests/test_json.py. */
#include "hardpoint_json.h"

static hp_status no_growth(hp_out *out, size_t need) {
    (void)out;
    (void)need;
    return HP_NO_MEMORY;
}

static void hex(const char *text) {
    for (; *text != '\0'; text++) {
        printf("%02x", (unsigned)(unsigned char)*text);
    }
}

static void dump(hp_json *value) {
    static char text[4096];
    text[0] = '\0';
    if (*value->at == '{' || *value->at == '[') {
        putchar(*value->at);
        for (hp_json item = hp_json_first(value); item.at != NULL; item = hp_json_next(&item)) {
            if (item.key != NULL) {
                hp_json_key(&item, text, sizeof text);
                hex(text);
                putchar(':');
            }
            dump(&item);
            putchar(',');
        }
        putchar(*value->at == '{' ? '}' : ']');
    } else if (*value->at == '"') {
        hp_json_str(value, NULL, text, sizeof text);
        putchar('s');
        hex(text);
    } else if (*value->at == 't' || *value->at == 'f') {
        printf("b%d", hp_json_bool(value, NULL, false));
    } else if (*value->at == 'n') {
        printf("n%d", (int)hp_json_int(value, NULL, -1));
    } else {
        printf("f%.17g", hp_json_float(value, NULL, -1));
    }
}

int main(void) {
    static char reason[512];
    uint32_t len;
    while (fread(&len, sizeof len, 1, stdin) == 1) {
        char *config = malloc(len > 0 ? len : 1); /* of its own size: a byte read beyond it is reported */
        hp_out out = {reason, 0, sizeof reason, no_growth};
        if (config == NULL || fread(config, 1, len, stdin) != len) {
            return 1;
        }
        hp_json json = hp_json_parse(config, len, &out);
        hp_json item = hp_json_get(&json, NULL);
        if (json.status == HP_OK && item.at != NULL) {
            dump(&item);
        }
        if (json.status != HP_OK) {
            printf("!%.*s", (int)out.len, out.data);
        }
        putchar('\n');
        free(config);
    }
    return 0;
}
