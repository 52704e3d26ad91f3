/* A plugin for tests/support/kinds.py in C++: every type, and exceptions of every kind. */
#include <unistd.h>

#include <atomic>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "kinds.h"
#include "hardpoint.hpp"

namespace {

#if __cplusplus >= 202002L
using In = std::span<const uint8_t>;
using InOut = std::span<uint8_t>;
#else
using In = const hp::Bytes &;
using InOut = hp::MutableBytes;
#endif

struct Counting { /* methods are inherited from several bases, so `self` has to be converted to each */
    virtual ~Counting() = default;
    int32_t count() { return ++calls; }
    std::atomic<int32_t> calls{0};
};

struct Texts {
    const std::string &text(std::string_view value) {
        thread_local std::string kept;
        return kept = value;
    }
    std::vector<uint8_t> raw(hp::Bytes value) const noexcept { return {value.begin(), value.end()}; }
    char padding[24] = {};
};

template <typename Buffer> std::string list(const Buffer &buffer) {
    std::string text = "[";
    for (const uint8_t byte : buffer) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(byte);
    }
    return text + "]";
}

class Kinds final : public Counting, public Texts {
public:
    Kinds(hp::Host host, hp::Config config) : host_(host), has_config_(config), config_(config.value_or("absent")) {
        if (config == "refuse") {
            throw hp::Error(HP_INVALID, "the config says refuse");
        }
        if (config == "whatever") {
            throw 42;
        }
        host.log(HP_LOG_WARNING, config_);
    }
    Kinds(const Kinds &) = delete;
    ~Kinds() override { host_.log(HP_LOG_INFO, "ended"); }

    int64_t join(In left, InOut right) {
        const std::vector<uint8_t> kept(left.begin(), left.end()); /* a copy, since they may be the same memory */
        const size_t len = left.size() < right.size() ? left.size() : right.size();
        for (size_t i = 0; i < len; i++) {
            right[i] = kept[i];
        }
        return static_cast<int64_t>(len);
    }
    void flip(InOut value) {
        for (uint8_t &byte : value) {
            byte = static_cast<uint8_t>(~byte);
        }
    }
    void all(long long a, double b, bool c, std::string_view d, hp::Bytes e, const double &f, int64_t g,
             hp::MutableBytes h, hp::Out out) const {
        for (uint8_t &byte : h) {
            byte = 7;
        }
        if (h.size() > 0) {
            h[0] = e.empty() ? 9 : e[0];
        }
        out.write(std::to_string(a) + " " + std::to_string(b) + (c ? " true " : " false "));
        out.write(d);
        out.write(" " + list(e) + " " + std::to_string(f) + " " + std::to_string(g) + " " + list(h));
    }
    static double half(double value) { return value / 2; }
    bool negate(bool value) const noexcept { return !value; }
    int64_t unnamed(int64_t left, int64_t right) {
        int64_t result = 0;
        if (__builtin_sub_overflow(left, right, &result)) {
            throw hp::Error(HP_AUTHOR + 7, "too far apart");
        }
        return result;
    }
    void fail(std::string_view how) {
        if (how == "invalid") {
            throw hp::Error(HP_INVALID, "not this");
        } else if (how == "status") {
            throw hp::Error(-3, "no status");
        } else if (how == "memory") {
            throw std::bad_alloc();
        } else if (how == "length") {
            std::string().resize(std::numeric_limits<size_t>::max());
        } else if (how == "std") {
            (void)std::string("short").at(7);
        } else if (how == "format") {
            throw std::runtime_error("%s%n {}");
        } else if (how == "long") {
            throw std::runtime_error(std::string(100000, 'x'));
        } else if (how == "int") {
            throw 42;
        } else if (how == "log") {
            host_.log(HP_LOG_ERROR, std::string(2000, 'x'));
        } else if (how == "wait") {
            (void)!write(STDOUT_FILENO, "waiting\n", 8);
            for (;;) {
                pause();
            }
        }
    }
    int64_t fn(int64_t type, int64_t crate, int64_t crate_, int64_t Some, int64_t match, int64_t defer, int64_t func,
               int64_t var) {
        uint64_t rest = static_cast<uint64_t>(type); /* unsigned, since it may overflow */
        for (const int64_t each : {crate, crate_, Some, match, defer, func, var}) {
            rest -= static_cast<uint64_t>(each);
        }
        return static_cast<int64_t>(rest);
    }
    void Self() {}
    void config(const hp::Out &out) {
        out.write(has_config_ ? "config: " : "");
        if (config_ == "half") {
            throw std::runtime_error("only half of it was written");
        }
        out.write(config_);
    }
    int go(int64_t value) { return value > -1000 && value < 1000 ? static_cast<int>(value) + 1 : 0; }

private:
    hp::Host host_;
    bool has_config_;
    std::string config_;
};

} // namespace

using plugin = hp::Plugin<Kinds>;

#if __cplusplus >= 202002L
KINDS_PLUGIN("kinds", "1.0.0", .create = plugin::create, .destroy = plugin::destroy,
             .text = plugin::method<&Kinds::text>, .raw = plugin::method<&Kinds::raw>,
             .join = plugin::method<&Kinds::join>, .flip = plugin::method<&Kinds::flip>,
             .all = plugin::method<&Kinds::all>, .half = plugin::method<&Kinds::half>,
             .negate = plugin::method<&Kinds::negate>, .unnamed = plugin::method<&Kinds::unnamed>,
             .fail = plugin::method<&Kinds::fail>, .fn = plugin::method<&Kinds::fn>,
             .count = plugin::method<&Kinds::count>, .Self = plugin::method<&Kinds::Self>,
             .config = plugin::method<&Kinds::config>, .go = plugin::method<&Kinds::go>);
#else
KINDS_PLUGIN("kinds", "1.0.0", p.create = plugin::create, p.destroy = plugin::destroy,
             p.text = plugin::method<&Kinds::text>, p.raw = plugin::method<&Kinds::raw>,
             p.join = plugin::method<&Kinds::join>, p.flip = plugin::method<&Kinds::flip>,
             p.all = plugin::method<&Kinds::all>, p.half = plugin::method<&Kinds::half>,
             p.negate = plugin::method<&Kinds::negate>, p.unnamed = plugin::method<&Kinds::unnamed>,
             p.fail = plugin::method<&Kinds::fail>, p.fn = plugin::method<&Kinds::fn>,
             p.count = plugin::method<&Kinds::count>, p.Self = plugin::method<&Kinds::Self>,
             p.config = plugin::method<&Kinds::config>, p.go = plugin::method<&Kinds::go>);
#endif
