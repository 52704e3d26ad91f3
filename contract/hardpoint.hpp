/* hardpoint.hpp - C++ wrapper of hardpoint.h: a class as a plugin. C++17 or later, header-only.
 *
 *     #include "greeter.h"
 *     #include "hardpoint.hpp"
 *
 *     class English {
 *     public:
 *         std::string greet(std::string_view name) { return "Hello, " + std::string(name) + "!"; }
 *         std::string_view lang() const { return "English"; }
 *     };
 *     using plugin = hp::Plugin<English>;
 *     GREETER_PLUGIN("english", "1.0.0", p.create = plugin::create, p.destroy = plugin::destroy,
 *                    p.greet = plugin::method<&English::greet>, p.lang = plugin::method<&English::lang>);
 *
 * (In C++20 also `.create = plugin::create` and so on, in the order of the struct's members.) A method that does not
 * match its slot is a compile error with a clear message. No exception leaves the plugin: hp::Error becomes its status,
 * std::bad_alloc becomes HP_NO_MEMORY, and any other exception HP_FAILED with what() as the reason. Thread cancellation
 * passes through.
 *
 *     in the contract    as a parameter                            as a result
 *     str                std::string_view                          std::string, std::string_view, const char *
 *     bytes              hp::Bytes, or a std::span of its type     std::vector<uint8_t>, other contiguous bytes
 *     bytearray          hp::MutableBytes, or a std::span          -
 *     int                int64_t                                   an integer that int64_t can hold
 *     float              double                                    double or float
 *     bool               bool                                      bool
 *     None               -                                         void
 *
 * To write a long text piece by piece, a method takes hp::Out as its last parameter and returns void. Arguments belong
 * to the host and are invalid after the return, so keep copies. A result may refer to memory of the instance. One
 * instance's methods may run on several threads at once, unless `p.flags = HP_SERIAL`.
 */
#ifndef HARDPOINT_HPP
#define HARDPOINT_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#if __cplusplus >= 202002L
#include <ranges>
#endif
#ifdef __GLIBCXX__
#include <cxxabi.h>
#endif

#include "hardpoint.h"

namespace hp {

/* A buffer of the host: `Byte` is const for bytes. It converts to std::span. */
template <class Byte> class Span {
public:
    constexpr Span(Byte *data, std::size_t size) noexcept : data_(data), size_(size) {}
    constexpr Byte *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr Byte *begin() const noexcept { return data_; }
    constexpr Byte *end() const noexcept { return data_ + size_; }
    constexpr Byte &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    Byte *data_;
    std::size_t size_;
};

using Bytes = Span<const std::uint8_t>;
using MutableBytes = Span<std::uint8_t>;

/* The host's config for an instance, if there is one; it may be empty. Invalid once the constructor has returned. */
using Config = std::optional<std::string_view>;

/* Thrown by a method or a constructor to fail with this status (HP_INVALID, or HP_AUTHOR and up) and reason. */
class Error : public std::runtime_error {
public:
    Error(hp_status status, const std::string &reason) : std::runtime_error(reason), status_(status) {}
    hp_status status() const noexcept { return status_; }

private:
    hp_status status_;
};

/* The host, valid until the process exits. It may be kept and copied, and used on any thread. */
class Host {
public:
    explicit constexpr Host(const hp_host *host) noexcept : host_(host) {}
    constexpr const hp_host *get() const noexcept { return host_; }
    /* Logs a text; `level` is HP_LOG_DEBUG ... HP_LOG_CRITICAL. Never waits; see hp_log. */
    void log(int level, std::string_view text) const noexcept {
        const std::size_t shown = text.size() > HP_LOG_MAX ? HP_LOG_MAX + 1 : text.size();
        hp_log(host_, level, "%.*s", static_cast<int>(shown), text.data());
    }

private:
    const hp_host *host_;
};

/* The output of a method, to be written piece by piece. Valid until the method returns, on the calling thread only. */
class Out {
public:
    explicit constexpr Out(hp_out *out) noexcept : out_(out) {}
    constexpr hp_out *get() const noexcept { return out_; }
    /* Appends. Throws std::bad_alloc if the host is out of memory. */
    void write(const void *data, std::size_t size) const {
        if (hp_write(out_, data, size) != HP_OK) {
            throw std::bad_alloc();
        }
    }
    void write(std::string_view text) const { write(text.data(), text.size()); }

private:
    hp_out *out_;
};

namespace detail {

/* The roles of a C function's arguments: the pointer of a buffer, a number, the length of a buffer, the pointer to a
 * number as the result. */
enum class Kind { str, bytes, bytearray, number, length, result, other };

template <class T> constexpr Kind kind_of() {
    return std::is_same_v<T, const char *>                     ? Kind::str
           : std::is_same_v<T, const std::uint8_t *>           ? Kind::bytes
           : std::is_same_v<T, std::uint8_t *>                 ? Kind::bytearray
           : std::is_same_v<T, std::size_t>                    ? Kind::length
           : std::is_arithmetic_v<T>                           ? Kind::number
           : std::is_arithmetic_v<std::remove_pointer_t<T>>    ? Kind::result
                                                               : Kind::other;
}

constexpr bool is_argument(Kind kind) { return kind < Kind::length; }

/* The positions of the method's arguments in those of its slot: a buffer takes two, `self` and `out` are none. */
template <class... A> constexpr auto places() {
    constexpr std::size_t count = (std::size_t{is_argument(kind_of<A>())} + ... + 0);
    constexpr std::array<Kind, sizeof...(A)> kinds{kind_of<A>()...};
    std::array<std::size_t, count + 1> found{}; /* one more, since a std::array of size 0 has no elements */
    std::size_t next = 0;
    for (std::size_t place = 0; place < kinds.size(); place++) {
        if (is_argument(kinds[place])) {
            found[next++] = place;
        }
    }
    return found;
}

/* The argument at a position, converted for the method. */
template <std::size_t Place, class Raw> constexpr auto argument(const Raw &raw) {
    constexpr Kind kind = kind_of<std::tuple_element_t<Place, Raw>>();
    if constexpr (kind == Kind::str) {
        return std::string_view(std::get<Place>(raw), std::get<Place + 1>(raw));
    } else if constexpr (kind == Kind::bytes) {
        return Bytes(std::get<Place>(raw), std::get<Place + 1>(raw));
    } else if constexpr (kind == Kind::bytearray) {
        return MutableBytes(std::get<Place>(raw), std::get<Place + 1>(raw));
    } else {
        return std::get<Place>(raw);
    }
}

/* True if a method can declare as `P` what the contract says is an `A`. No number is narrowed or converted. */
template <class A, class P> constexpr bool takes() {
    using Plain = std::remove_cv_t<std::remove_reference_t<P>>;
    if constexpr (std::is_integral_v<A> && !std::is_same_v<A, bool>) {
        return std::is_convertible_v<A, P> && std::is_integral_v<Plain> && !std::is_same_v<Plain, bool> &&
               std::is_signed_v<Plain> == std::is_signed_v<A> && sizeof(Plain) == sizeof(A);
    } else if constexpr (std::is_arithmetic_v<A>) {
        return std::is_convertible_v<A, P> && std::is_same_v<A, Plain>;
    } else {
        return std::is_convertible_v<A, P>;
    }
}

/* True if a method can return `R` where the contract has a number of type `A`: every value of `R` fits. */
template <class R, class A> constexpr bool gives() {
    using Plain = std::remove_cv_t<std::remove_reference_t<R>>;
    if constexpr (std::is_same_v<A, bool>) {
        return std::is_same_v<Plain, bool>;
    } else if constexpr (std::is_floating_point_v<A>) {
        return std::is_floating_point_v<Plain> && sizeof(Plain) <= sizeof(A);
    } else if constexpr (!std::is_integral_v<Plain> || std::is_same_v<Plain, bool>) {
        return false;
    } else if constexpr (std::is_signed_v<Plain> == std::is_signed_v<A>) {
        return sizeof(Plain) <= sizeof(A);
    } else {
        return std::is_signed_v<A> && sizeof(Plain) < sizeof(A);
    }
}

template <class R, class = void> struct IsBytes : std::false_type {};
template <class R>
struct IsBytes<R, std::void_t<decltype(std::data(std::declval<R &>())), decltype(std::size(std::declval<R &>()))>>
    : std::bool_constant<sizeof(*std::data(std::declval<R &>())) == 1 &&
                         std::is_trivially_copyable_v<
                             std::remove_reference_t<decltype(*std::data(std::declval<R &>()))>>> {};

template <class R> constexpr bool is_text() {
    return std::is_void_v<R> || std::is_convertible_v<R, std::string_view> ||
           IsBytes<std::remove_reference_t<R>>::value;
}

/* Writes a text result. */
template <class R> hp_status write(hp_out *out, const R &result) {
    if constexpr (std::is_convertible_v<const R &, std::string_view>) {
        const std::string_view text = result;
        return hp_write(out, text.data(), text.size());
    } else {
        return hp_write(out, std::data(result), std::size(result));
    }
}

/* Turns the exception that is being handled into a status and a reason. Call it in a catch block. */
inline hp_status fail(hp_out *out) {
    try {
        throw;
    }
#ifdef __GLIBCXX__
    catch (const abi::__forced_unwind &) { /* a thread's cancellation: glibc aborts if it is swallowed */
        throw;
    }
#endif
    catch (const Error &error) {
        return hp_fail(out, error.status(), "%s", error.what());
    } catch (const std::bad_alloc &) {
        return hp_fail(out, HP_NO_MEMORY, "out of memory");
    } catch (const std::exception &error) {
        return hp_fail(out, HP_FAILED, "%s", error.what());
    } catch (...) {
        return hp_fail(out, HP_FAILED, "an exception that is not a std::exception");
    }
}

/* A method's class, parameters and result. A static or free function has no class. */
template <class F> struct Signature;
template <class R, class... P> struct Signature<R (*)(P...)> {
    using Class = void;
    using Result = R;
    using Parameters = std::tuple<P...>;
};
template <class R, class... P> struct Signature<R (*)(P...) noexcept> : Signature<R (*)(P...)> {};
template <class R, class C, class... P> struct Signature<R (C::*)(P...)> {
    using Class = C;
    using Result = R;
    using Parameters = std::tuple<P...>;
};
template <class R, class C, class... P> struct Signature<R (C::*)(P...) const> : Signature<R (C::*)(P...)> {};
template <class R, class C, class... P> struct Signature<R (C::*)(P...) noexcept> : Signature<R (C::*)(P...)> {};
template <class R, class C, class... P> struct Signature<R (C::*)(P...) const noexcept> : Signature<R (C::*)(P...)> {};

/* Asserts that a parameter matches; the compiler's message has its position and the two types. */
template <std::size_t Number, class InTheContract, class InTheMethod> constexpr bool matches() {
    static_assert(takes<InTheContract, InTheMethod>(),
                  "hardpoint: a parameter of the method does not match the contract (Number counts from 0)");
    return takes<InTheContract, InTheMethod>();
}

/* The C function for a slot with parameters `A...`, which calls the method `M` of the class `T`. */
template <class T, auto M, class... A> struct Thunk {
    using Raw = std::tuple<A...>;
    using Of = Signature<decltype(M)>;
    using Parameters = typename Of::Parameters;
    using Result = typename Of::Result;
    static constexpr auto where = places<A...>();
    static constexpr std::size_t count = where.size() - 1;
    static constexpr std::size_t given = std::tuple_size_v<Parameters>;

    static constexpr bool writes() { /* true if the last parameter is an Out */
        if constexpr (given == count + 1) {
            return std::is_convertible_v<Out, std::tuple_element_t<count, Parameters>>;
        } else {
            return false;
        }
    }
    static_assert(given == count || writes(),
                  "hardpoint: the number of the method's parameters does not match the contract");

    template <std::size_t... I> static constexpr bool all_match(std::index_sequence<I...>) {
        return (matches<I, decltype(argument<where[I]>(std::declval<Raw>())), std::tuple_element_t<I, Parameters>>() &&
                ... && true);
    }

    static constexpr bool fits() {
        constexpr bool number = kind_of<std::tuple_element_t<sizeof...(A) - 2, Raw>>() == Kind::result;
        if constexpr (given != count && !writes()) {
            return false;
        } else if constexpr (number) {
            using Number = std::remove_pointer_t<std::tuple_element_t<sizeof...(A) - 2, Raw>>;
            static_assert(gives<Result, Number>(),
                          "hardpoint: the method's result does not match the contract; it needs int64_t for int, "
                          "double for float, bool for bool");
            return gives<Result, Number>() && all_match(std::make_index_sequence<count>());
        } else {
            static_assert(is_text<Result>(), "hardpoint: the method's result does not match the contract; it needs "
                                             "std::string for str, std::vector<uint8_t> for bytes, void for None");
            return is_text<Result>() && all_match(std::make_index_sequence<count>());
        }
    }

    template <std::size_t... I> static Result invoke(const Raw &raw, std::index_sequence<I...>) {
        if constexpr (std::is_void_v<typename Of::Class>) {
            if constexpr (writes()) {
                return M(argument<where[I]>(raw)..., Out(std::get<sizeof...(A) - 1>(raw)));
            } else {
                return M(argument<where[I]>(raw)...);
            }
        } else {
            T &instance = *static_cast<T *>(std::get<0>(raw));
            if constexpr (writes()) {
                return (instance.*M)(argument<where[I]>(raw)..., Out(std::get<sizeof...(A) - 1>(raw)));
            } else {
                return (instance.*M)(argument<where[I]>(raw)...);
            }
        }
    }

    static hp_status call(A... arguments) {
        const Raw raw(arguments...);
        constexpr std::make_index_sequence<count> all;
        hp_out *const out = std::get<sizeof...(A) - 1>(raw);
        if constexpr (fits()) {
            try {
                if constexpr (std::is_void_v<Result>) {
                    invoke(raw, all);
                } else if constexpr (std::is_arithmetic_v<std::remove_reference_t<Result>>) {
                    *std::get<sizeof...(A) - 2>(raw) = invoke(raw, all);
                } else {
                    return write(out, invoke(raw, all));
                }
                return HP_OK;
            } catch (...) {
                return fail(out);
            }
        }
        return hp_fail(out, HP_FAILED, "it does not match its slot"); /* unreachable: fits() asserts */
    }
};

template <class... A> using Slot = hp_status (*)(A...);

/* Converts to a function pointer for any slot. */
template <class T, auto M> struct Method {
    template <class... A> constexpr operator Slot<A...>() const noexcept { return &Thunk<T, M, A...>::call; }
};

} // namespace detail

/* The functions for the vtable's slots, made from a class.
 *
 * Its constructor takes (hp::Host, hp::Config), (hp::Config), (hp::Host) or nothing; the first one that exists is used.
 * It runs on any thread, and if it throws, loading fails with the reason. `create` and `destroy` go together, and are
 * left out if all methods are static. */
template <class T> struct Plugin {
    static hp_status create(const hp_host *host, const char *config, std::size_t config_len, void **self, hp_out *out) {
        static_assert(std::is_constructible_v<T, Host, Config> || std::is_constructible_v<T, Config> ||
                          std::is_constructible_v<T, Host> || std::is_default_constructible_v<T>,
                      "hardpoint: the class needs a constructor that takes (hp::Host, hp::Config), (hp::Config), "
                      "(hp::Host) or nothing");
        const Config text = config == nullptr ? Config() : Config(std::in_place, config, config_len);
        try {
            if constexpr (std::is_constructible_v<T, Host, Config>) {
                *self = new T(Host(host), text);
            } else if constexpr (std::is_constructible_v<T, Config>) {
                *self = new T(text);
            } else if constexpr (std::is_constructible_v<T, Host>) {
                *self = new T(Host(host));
            } else if constexpr (std::is_default_constructible_v<T>) {
                *self = new T();
            }
            return HP_OK;
        } catch (...) {
            return detail::fail(out);
        }
    }

    static void destroy(void *self) { delete static_cast<T *>(self); }

    /* A method of the class or of a base class, or a static function: `plugin::method<&English::greet>`. */
    template <auto M> static constexpr detail::Method<T, M> method{};
};

} // namespace hp

#if __cplusplus >= 202002L
template <class Byte> inline constexpr bool std::ranges::enable_borrowed_range<hp::Span<Byte>> = true;
#endif

#endif /* HARDPOINT_HPP */
