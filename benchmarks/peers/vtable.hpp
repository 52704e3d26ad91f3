// vtable.h for C++: a text that the plugin wrote, valid for the lifetime of the object.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "vtable.h"

class Greeter {
  public:
    explicit Greeter(const std::string &path) : vtable(open_greeter(path.c_str())) {
        if (vtable == nullptr) {
            throw std::runtime_error(dlerror());
        }
    }

    // Calls `done(data, len)` with the text while it is valid.
    template <typename Done> auto greet(std::string_view name, Done done) const {
        Room room;
        return room.read(vtable->greet(nullptr, name.data(), name.size(), &room.out), done);
    }
    template <typename Done> auto lang(Done done) const {
        Room room;
        return room.read(vtable->lang(nullptr, &room.out), done);
    }

  private:
    struct Room : room {
        Room() { room_open(this); }
        ~Room() { room_close(this); }
        template <typename Done> auto read(hp_status status, Done done) const {
            if (!room_is_good(this, status)) {
                throw std::runtime_error("the plugin failed with status " + std::to_string(status));
            }
            return done(out.data, out.len);
        }
    };

    const greeter_v1 *vtable;
};
