#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include "vtable.hpp"

namespace nb = nanobind;

static nb::str text(const char *data, size_t len) { return nb::str(data, len); }

NB_MODULE(with_nanobind, module) {
    nb::class_<Greeter>(module, "Greeter")
        .def(nb::init<const std::string &>())
        .def("greet", [](const Greeter &self, std::string_view name) { return self.greet(name, text); })
        .def("lang", [](const Greeter &self) { return self.lang(text); });
}
