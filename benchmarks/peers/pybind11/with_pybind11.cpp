#include <pybind11/pybind11.h>

#include "vtable.hpp"

namespace py = pybind11;

static py::str text(const char *data, size_t len) { return py::str(data, len); }

PYBIND11_MODULE(with_pybind11, module) {
    py::class_<Greeter>(module, "Greeter")
        .def(py::init<const std::string &>())
        .def("greet", [](const Greeter &self, std::string_view name) { return self.greet(name, text); })
        .def("lang", [](const Greeter &self) { return self.lang(text); });
}
