"""Names that contracts, methods and parameters cannot have: C, C++, Python or the generated header uses them."""

C_WORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "alignas alignof bool complex constexpr false imaginary noreturn nullptr static_assert thread_local true typeof "
    "typeof_unqual asm".split()
)
CXX_WORDS = frozenset(
    "and and_eq bitand bitor catch char16_t char32_t char8_t class co_await co_return co_yield compl concept "
    "const_cast consteval constinit decltype delete dynamic_cast explicit export final friend module mutable "
    "namespace new noexcept not not_eq operator or or_eq override private protected public reinterpret_cast "
    "requires static_cast template this throw try typeid typename using virtual wchar_t xor xor_eq import "
    "contract_assert".split()
)
MACROS = frozenset(
    # `linux` and `unix` are 1 in gcc's default mode; the others are macros of the headers that hardpoint.h includes.
    "linux unix i386 errno assert stdin stdout stderr offsetof va_arg va_copy va_end va_list va_start "
    "AF_DECnet PF_DECnet L_ctermid L_cuserid L_tmpnam P_tmpdir".split()
)
TYPES = frozenset(
    "size_t ssize_t ptrdiff_t max_align_t int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t "
    "uint64_t intptr_t uintptr_t intmax_t uintmax_t hp_status hp_out hp_host hp_head hp_vtable".split()
)
PYTHON_WORDS = frozenset(
    # Not `keyword.kwlist`: the list is a part of the ABI, and the same with every Python.
    "False None True and as assert async await break class continue def del elif else except finally for from global "
    "if import in is lambda nonlocal not or pass raise return try while with yield".split()
)
HEADERS = frozenset(
    # A contract's header has its name, and one in a folder of -I would be found before the system's.
    "assert complex ctype errno fenv float inttypes iso646 limits locale math memory pthread sched semaphore setjmp "
    "signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings tgmath threads "
    "time uchar unistd utility version wchar wctype".split()
)
SLOTS = frozenset("head flags create destroy query".split())
ARGUMENTS = frozenset("self result out".split())

_LANGUAGE = C_WORDS | CXX_WORDS | MACROS | TYPES


def is_identifier(name: str) -> bool:
    """True for a letter followed by letters, digits and `_`, all ASCII, at most 64."""
    return len(name) <= 64 and name.isascii() and name.isidentifier() and name[0] != "_"


def owner_of(name: str, *, slot: bool) -> str | None:
    """Name the owner of a reserved name, for a method (`slot`) or else a parameter; None if it is free."""
    if owner := _owner_in_c(name, SLOTS if slot else ARGUMENTS):
        return owner
    return "Python" if name in PYTHON_WORDS else None


def _owner_in_c(name: str, own: frozenset[str]) -> str | None:
    if name in _LANGUAGE:
        return "C or C++"
    if len(name) > 2 and name.isupper():  # EOF, EINVAL, INT_MAX and some 450 others
        return "C, where upper case is for macros"
    if name in own:
        return "the generated header"
    return "the header's own prefix" if name.startswith(("hp_", "hardpoint")) else None


def check_name(name: str, what: str, *, slot: bool) -> None:
    """Raise ValueError unless a method (`slot`) or else a parameter can have the name; errors call it `what`."""
    if not is_identifier(name):
        raise ValueError(f"{what} needs to be an ASCII identifier of at most 64 characters that starts with a letter")
    if owner := owner_of(name, slot=slot):
        raise ValueError(f"{what} is taken by {owner}; choose another")


def check_contract_name(name: object) -> None:
    """Raise ValueError unless `name` can be a contract's name: it becomes part of C names, and the header's name."""
    if not isinstance(name, str) or not is_identifier(name) or not name.islower():
        raise ValueError(
            f"the name {name!r}, which is not a lower-case ASCII identifier of at most 64 characters that starts with "
            "a letter"
        )
    owner = "the header's own prefix" if name == "hp" else _owner_in_c(name, SLOTS)
    if owner := owner or ("a header of the system" if name in HEADERS else None):
        raise ValueError(f"the name {name!r}, which is taken by {owner}; choose another")
    stem = name.rstrip("0123456789")
    if stem != name and stem.endswith("_v"):
        raise ValueError(f"the name {name!r}, which ends in a version; leave that out")
