/* A greeter that speaks English, in C++. */
#include "greeter.h"
#include "hardpoint.hpp"

namespace {

class English {
public:
    std::string greet(std::string_view name) const {
        return std::string("Hello, ").append(name).append("! Nice to meet you.");
    }
    std::string_view lang() const { return "English"; }
};

} // namespace

using plugin = hp::Plugin<English>;

GREETER_PLUGIN("english_cpp", "1.0.0", p.create = plugin::create, p.destroy = plugin::destroy,
               p.greet = plugin::method<&English::greet>,
               p.lang = plugin::method<&English::lang>);
