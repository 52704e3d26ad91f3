"""The kinds: the types of the contract language, one row each. Code that depends on a kind reads its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ..fields import Fields

if TYPE_CHECKING:
    from typing_extensions import Buffer as Buffer  # noqa: PLC0414 - re-exported

    # The type system has no writable buffer; the call itself refuses a read-only one.
    WritableBuffer: TypeAlias = Buffer
else:

    class Buffer:
        """In a contract: any C-contiguous readable buffer. It is not copied."""

        __module__ = "hardpoint"  # users import it from there; signatures and errors show it

    class WritableBuffer:
        """In a contract: any C-contiguous writable buffer. The plugin changes it in place."""

        __module__ = "hardpoint"


BY_VALUE = "by value"
"""A parameter is `T x`, a result `T *result`."""
POINTER_AND_LENGTH = "pointer and length"
"""A parameter is `T *x, size_t x_len`; a result is written to the hp_out."""
NOTHING = "nothing"
"""Only the status crosses."""


class Spelling(Fields):
    """A kind in the language of a plugin."""

    parameter: str
    """The type of a parameter. In C, Zig and Go that of a buffer's pointer, in C++ and Rust the wrapper's."""
    result: str
    """The type of a result; in Rust, of a text or bytes result, that of `out`. "" where the hp_out takes the result."""
    empty: str
    """An expression for an empty result, which the stubs of `hardpoint new` return; in Rust, of a text, a statement."""


class Kind(Fields):
    """A type of the contract language. Equal to itself alone: a kind is found in KINDS, also by pickle."""

    text: str
    """Its name in canonical texts and manifests."""
    python: type
    """The class of its values. Code that converts values chooses by it: parsing words, drawing random values."""
    parameters: tuple[object, ...]
    """Annotations of a parameter of this kind; none if a parameter cannot have it."""
    results: tuple[object, ...]
    """Annotations of a result of this kind; none if a result cannot have it."""
    crosses: str
    """BY_VALUE, POINTER_AND_LENGTH or NOTHING."""
    letter: str
    """Its code in the plan of a native method: see `_native.c`."""
    expected: str
    """What a TypeError for an argument says that it must be."""
    c: Spelling
    cpp: Spelling
    rust: Spelling
    zig: Spelling
    go: Spelling
    sample: Any = None
    """An ordinary value, which tools call methods with unless they are given arguments. Of a buffer, bytes or a str."""
    short: tuple[Any, ...] = ()
    """Two short values; a plugin that fails for them fails for everything."""
    zero: Any = None
    """The empty value, or 0."""
    extremes: tuple[Any, ...] = ()
    """Values for which a careless plugin fails. Of a buffer these are texts, which the conformance kit makes itself."""
    writable: bool = False
    """The plugin changes the buffer in place."""
    limits: tuple[int, int] | None = None
    """The least and the greatest value of an integer."""
    stored: str = ""
    """The C type that a host reads a result as. A bool is read as a byte, which a plugin may have set to 2."""

    @property
    def is_buffer(self) -> bool:
        """True if it crosses as pointer and length."""
        return self.crosses == POINTER_AND_LENGTH

    @property
    def is_value(self) -> bool:
        """True if it crosses by value."""
        return self.crosses == BY_VALUE

    @property
    def is_text(self) -> bool:
        """True if it crosses as UTF-8."""
        return self.python is str

    def allows(self, value: object) -> bool:
        """True if a result from an untrusted process is exactly of this kind."""
        if type(value) is not self.python:
            return False
        return self.limits is None or self.limits[0] <= value <= self.limits[1]  # type: ignore[operator]

    def new_sample(self) -> Any:
        """An ordinary value that the plugin may change."""
        return self.python(self.sample)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<kind {self.text}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> Any:
        return find_kind, (self.text,)


_INT64 = (-(1 << 63), (1 << 63) - 1)
_INTS = (0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, -(2**63))
_FLOATS = (
    0.0,
    -0.0,
    float("inf"),
    float("-inf"),
    float("nan"),
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
)
_ABSENT = Spelling("", "", "")

_ROWS = (
    Kind(
        "str", str, (str,), (str,), POINTER_AND_LENGTH, letter="s", expected="str",
        c=Spelling("const char *", "", '""'),
        cpp=Spelling("std::string_view", "std::string", '""'),
        rust=Spelling("&str", "hp::Text", 'out.push_str("")'),
        zig=Spelling("[*c]const u8", "", '""'),
        go=Spelling("*C.hp_char", "", '""'),
        sample="World", short=("a", "World"), zero="",
    ),
    Kind(
        "bytes", bytes, (bytes, Buffer), (bytes,), POINTER_AND_LENGTH, letter="b",
        expected="a contiguous bytes-like object",
        c=Spelling("const uint8_t *", "", '""'),
        cpp=Spelling("hp::Bytes", "std::vector<uint8_t>", "{}"),
        rust=Spelling("hp::Buffer", "hp::Bytes", 'out.push(b"")'),
        zig=Spelling("[*c]const u8", "", '""'),
        go=Spelling("*C.hp_byte", "", "[]byte{}"),
        sample=b"World", short=(b"a", b"World"), zero=b"",
    ),
    Kind(
        "bytearray", bytearray, (bytearray, WritableBuffer), (), POINTER_AND_LENGTH, letter="w",
        expected="a contiguous read-write bytes-like object",
        c=Spelling("uint8_t *", "", ""),
        cpp=Spelling("hp::MutableBytes", "", ""),
        rust=Spelling("hp::WritableBuffer", "", ""),
        zig=Spelling("[*c]u8", "", ""),
        go=Spelling("*C.uint8_t", "", ""),
        sample=b"World", short=(b"a", b"World"), zero=b"", writable=True,
    ),
    Kind(
        "int", int, (int,), (int,), BY_VALUE, letter="i", expected="int",
        c=Spelling("int64_t", "int64_t", "0"),
        cpp=Spelling("int64_t", "int64_t", "0"),
        rust=Spelling("i64", "i64", "0"),
        zig=Spelling("i64", "i64", "0"),
        go=Spelling("C.int64_t", "C.int64_t", "0"),
        sample=7, short=(1, 7), zero=0, extremes=_INTS, limits=_INT64, stored="int64_t",
    ),
    Kind(
        "float", float, (float,), (float,), BY_VALUE, letter="f", expected="float",
        c=Spelling("double", "double", "0"),
        cpp=Spelling("double", "double", "0"),
        rust=Spelling("f64", "f64", "0.0"),
        zig=Spelling("f64", "f64", "0"),
        go=Spelling("C.double", "C.double", "0"),
        sample=1.5, short=(1.5, -2.0), zero=0.0, extremes=_FLOATS, stored="double",
    ),
    Kind(
        "bool", bool, (bool,), (bool,), BY_VALUE, letter="?", expected="bool",
        c=Spelling("bool", "bool", "false"),
        cpp=Spelling("bool", "bool", "false"),
        rust=Spelling("bool", "bool", "false"),
        zig=Spelling("bool", "bool", "false"),
        go=Spelling("C.bool", "C.bool", "false"),
        sample=True, short=(True, False), zero=False, extremes=(True, False), stored="uint8_t",
    ),
    Kind(
        "None", type(None), (), (None,), NOTHING, letter="n", expected="None",
        c=_ABSENT, cpp=Spelling("", "void", ""), rust=Spelling("", "()", "()"), zig=_ABSENT, go=_ABSENT,
    ),
)  # fmt: skip

KINDS = {kind.text: kind for kind in _ROWS}
"""Every kind by its text."""
PARAMETERS: dict[object, Kind] = {annotation: kind for kind in _ROWS for annotation in kind.parameters}
"""The annotations that a parameter can have."""
RESULTS: dict[object, Kind] = {annotation: kind for kind in _ROWS for annotation in kind.results}
"""The annotations that a result can have."""


def find_kind(text: str) -> Kind:
    """Look a kind up by its canonical text. KeyError if there is none."""
    return KINDS[text]


def is_numpy_bool(value: Any) -> bool:
    """True for NumPy's bool, which is no subclass of bool and has no __index__; also in an array without dimensions."""
    made = type(value)
    if made.__module__ != "numpy":  # it need not be installed
        return False
    return made.__name__ in {"bool", "bool_"} or (
        made.__name__ == "ndarray" and _dtype(value) == "b" and not value.ndim
    )


def is_real(value: Any) -> bool:
    """True for a number that float() does not parse or cut: not a text, complex or an array that has dimensions.

    All of NumPy's scalars have __float__, also those of texts, times and complex numbers.
    """
    made = type(value)
    if not hasattr(made, "__float__") and not hasattr(made, "__index__"):
        return False
    return not isinstance(value, complex) and _dtype(value) in {"", *"biuf"} and not getattr(value, "ndim", 0)


def _dtype(value: Any) -> str:
    """The kind of NumPy's dtype, such as `f` or `c`; "" for other objects."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return kind if isinstance(kind, str) else ""
