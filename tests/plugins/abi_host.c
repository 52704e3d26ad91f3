/* A host in C that is linked with one plugin and calls all its methods, so that ASan and UBSan check the plugin's code.
 * Variants: -DGREETER, -DTRANSFORMER, -DPROBE. Inputs and outputs are in allocations of exactly their size. */
#include "abi_out.h"

#if defined GREETER
#include "greeter.h"
HP_EXPORT_ extern const greeter_v1 hardpoint_greeter_v1;
#elif defined TRANSFORMER
#include "transformer.h"
HP_EXPORT_ extern const transformer_v1 hardpoint_transformer_v1;
#elif defined PROBE
#include "probe.h"
HP_EXPORT_ extern const probe_v1 hardpoint_probe_v1;
#endif

static const struct {
    const char *bytes;
    size_t len;
} texts[] = {{"", 0}, {"World", 5}, {"a\0b", 3}, {"\xc2\xa1Ol\xc3\xa9! \xf0\x9f\x9b\xa9", 12},
             {"\xf0\x9f", 2}, {"\xff\x80\xe2", 3}};
enum { TEXTS = sizeof texts / sizeof *texts, LONGEST = 1100 };

/* Return text number `i`: first those above, then texts of `i` bytes; not NUL-terminated. */
static char *text_number(size_t i, size_t *len) {
    *len = i < TEXTS ? texts[i].len : i;
    char *text = malloc(*len ? *len : 1);
    if (text == NULL) {
        abort();
    }
    memset(text, 'x', *len);
    memcpy(text, i < TEXTS ? texts[i].bytes : "", i < TEXTS ? *len : 0);
    return text;
}

static void call(size_t i, hp_status (*grow)(hp_out *, size_t)) {
    size_t len;
    char *text = text_number(i, &len);
    hp_out out = start(512, grow);
#if defined GREETER
    const hp_status status = hardpoint_greeter_v1.greet(NULL, text, len, &out);
    CHECK(status == HP_OK ? out.len > len : status == HP_NO_MEMORY && grow == grow_never && len > 400);
    out.len = 0;
    CHECK(hardpoint_greeter_v1.lang(NULL, &out) == HP_OK && out.len > 0);
#elif defined TRANSFORMER
    const hp_status status = hardpoint_transformer_v1.transform(NULL, text, len, &out);
    CHECK(status == HP_OK ? out.len == len : status == HP_NO_MEMORY && grow == grow_never && len > 512);
#elif defined PROBE
    const probe_v1 *p = &hardpoint_probe_v1;
    const uint8_t *bytes = (const uint8_t *)text;
    uint8_t *changed = (uint8_t *)text;
    const hp_host host = {.size = sizeof host, .log_fd = -1};
    void *self = NULL;
    int64_t whole = 0;
    double real = 0;
    bool truth = false;
    CHECK(p->create(&host, "refuse", 6, &self, &out) == HP_INVALID && holds(&out, "the config says refuse"));
    CHECK(p->create(&host, i ? text : NULL, len, &self, &out) == HP_OK && p->instances(self, &whole, &out) == HP_OK);
    CHECK(whole == 1 && p->view(self, bytes, len, &whole, &out) == HP_OK && (size_t)whole == len);
    CHECK(p->add(self, INT64_MAX, 1, &whole, &out) == HP_OK && whole == INT64_MIN);
    CHECK(p->unnamed(self, 5, 7, &whole, &out) == HP_OK && whole == -2);
    CHECK(p->half(self, 3, &real, &out) == HP_OK && real == 1.5);
    CHECK(p->negate(self, truth, &truth, &out) == HP_OK && truth);
    for (int method = 0; method < 7; method++) {
        out.len = 0;
        hp_status status = HP_OK;
        switch (method) {
        case 0: status = p->text(self, text, len, &out); break;
        case 1: status = p->raw(self, bytes, len, &out); break;
        case 2: status = p->config(self, &out); break;
        case 3: status = p->repeat(self, text, len, 3, &out); break;
        case 4: status = p->shout(self, text, len, &out); break;
        case 5: status = p->whisper(self, text, len, &out); break;
        default: status = p->mixed(self, 1, 2.5, text, len, true, bytes, len, changed, len, 0.5, -1, &out);
        }
        CHECK(status == HP_OK || (status == HP_NO_MEMORY && grow == grow_never && 3 * len > 400));
    }
    out.len = 0;
    const hp_status status = p->fail(self, 300, text, len, &out);
    CHECK(status == 300 ? out.len == len : status == HP_NO_MEMORY && grow == grow_never && len > 512);
    CHECK(p->flip(self, changed, len, &out) == HP_OK && (len == 0 || changed[0] == 0xff)); /* mixed zeroed it */
    CHECK(p->fill(self, changed, len, 255, &whole, &out) == HP_OK && (size_t)whole == len);
    out.len = 0;
    CHECK(p->fill(self, changed, len, 256, &whole, &out) == HP_INVALID && holds(&out, "256 is not a byte"));
    CHECK(p->log(self, 20, text, len, &out) == HP_OK && p->log_from_thread(self, 20, text, len, &out) == HP_OK);
    p->destroy(self);
    CHECK(p->instances(self, &whole, &out) == HP_OK && whole == 0);
#endif
    free(out.data);
    free(text);
}

int main(void) {
    for (size_t i = 0; i < LONGEST; i += i < 8 || (i > 395 && i < 520) || i > 1015 ? 1 : 7) {
        call(i, grow_well);
        call(i, grow_never);
    }
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
