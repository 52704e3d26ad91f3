"""hardpoint_json.h: configs that C authors read, compared with Python's json, under AddressSanitizer and UBSan."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from conftest import ROOT, TESTS, WARNINGS

import hardpoint
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Compiler

SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
DEPTH = 64


class Dump(Protocol):
    def __call__(self, configs: Sequence[str | bytes]) -> list[str]: ...


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    """Read each config with the header, sanitized where gcc has the sanitizers, and return what it read."""
    gcc = shutil.which("gcc") or pytest.skip("there is no gcc")
    program = tmp_path_factory.mktemp("json") / "dump"
    source = str(TESTS / "plugins/json_dump.c")
    command = [gcc, "-std=c11", *WARNINGS, f"-I{ROOT / 'contract'}", source, "-o", str(program)]
    if subprocess.run([*command, "-g", *SANITIZE], capture_output=True, check=False).returncode:
        subprocess.run(command, check=True)

    def run(configs: Sequence[str | bytes]) -> list[str]:
        texts = [text.encode() if isinstance(text, str) else text for text in configs]
        sent = b"".join(struct.pack("=I", len(text)) + text for text in texts)
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # leaks need ptrace, which a container may forbid
        done = subprocess.run([program], input=sent, capture_output=True, check=False, timeout=120, env=env)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
        return done.stdout.decode().split("\n")[:-1]

    return run


class Members(list[tuple[str, Any]]):
    """An object, with all members of one name."""


def dumped(value: Any, depth: int = 0) -> str:
    """The dump of a value, as json_dump.c writes it. Raises ValueError for one that the header refuses."""
    if isinstance(value, list) and depth == DEPTH:
        raise ValueError(depth)
    match value:
        case Members():
            items = [f"{dumped(key)[1:]}:{dumped(item, depth + 1)}," for key, item in value]
            return f"{{{''.join(items)}}}"
        case list():
            return f"[{''.join(f'{dumped(item, depth + 1)},' for item in value)}]"
        case str():
            if "\0" in value:
                raise ValueError(value)
            return f"s{value.encode().hex()}"  # half a surrogate pair is a UnicodeEncodeError, which is a ValueError
        case bool():
            return f"b{value:d}"
        case None:
            return "n-1"
    if abs(value) == float("inf"):
        raise ValueError(value)
    return f"f{value:.17g}"


def constant(name: str) -> None:
    raise ValueError(name)


def expected(text: str) -> str | None:
    """The dump by Python's json; None for a text that the header refuses."""
    try:
        value = json.loads(text, parse_int=float, parse_constant=constant, object_pairs_hook=Members)
        return "" if value is None else dumped(value)
    except (ValueError, OverflowError, RecursionError):
        return None


def compare(dump: Dump, texts: Sequence[str]) -> int:
    """Compare what is read, or that it is refused. Return the number of texts that are JSON."""
    read = dump(texts)
    assert len(read) == len(texts)
    for text, line in zip(texts, read, strict=True):
        wanted = expected(text)
        assert line == wanted or (wanted is None and line[line.find("!") + 1 :].startswith("config, line ")), text
    return sum(not line.count("!") for line in read)


WHOLE = [
    "0", "-0", "-1.5e-3", "1E+2", "123456789012345678", "2.2250738585072011e-308", "1.7976931348623157e308", "5e-324",
    "0.1", "9007199254740993", "0.30000000000000004", "1e-999", "8.5", "true", "false", "null", '""', '"\\u00e9\\n\\"\\/"',
    '"\\ud83d\\ude00 \\u20ac"', "[]", "{}", "[[],{}]", ' \t\r\n{ "a" : [ 1 , 2.5 , null , "x" ] , "b\\u0041" : { } } \n',
    '{"b": 1, "a": {"b": [true, {"c": "d"}]}}', "[" * 64 + "]" * 64,
]  # fmt: skip
BROKEN = [
    "", " ", "01", "1.", ".5", "-", "+1", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "tru", "truee", "nul", "'a'",
    '"', '"\\', '"\\u', '"\\u12', '"\\u12G4"', '"\\x41"', '"\\ud800"', '"\\ud800\\u0041"', '"\\udc00"', '"a\nb"', '"\x00"',
    "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "]", "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{a:1}", "{1:1}",
    '{"a" 1}', '{"a":1]', "[1}", "1 2", "{}{}", "[1]x", "\ufeff{}", "// no", "1e999", "-1e999", "[" * 65 + "]" * 65,
    '"\\u0000"', '["a", "\\u0000"]',
]  # fmt: skip


def test_each_text_is_read_as_python_reads_it(dump: Dump) -> None:
    assert compare(dump, WHOLE) == len(WHOLE)
    assert compare(dump, BROKEN) == 0


def random_value(source: random.Random, depth: int = 0) -> Any:
    kind = source.randrange(8 if depth < 5 else 6)
    if kind >= 6:
        items = [random_value(source, depth + 1) for _ in range(source.randrange(5))]
        names = (source.choice(["a", "b", 'qu"ote', "é", "\x7f", "😀", ""]) for _ in items)
        return items if kind == 6 else dict(zip(names, items, strict=False))
    number = source.choice([0, 1, -1, 10, 1e300, 1e-300])
    return [
        None, source.random() < 0.5, source.randrange(-(1 << 63), 1 << 63), source.uniform(-1, 1) * number,
        "".join(map(chr, source.choices([9, 10, 32, 34, 47, 92, 65, 233, 8364, 0x1F600], k=source.randrange(8)))),
        struct.unpack("=d", source.randbytes(8))[0],
    ][kind]  # fmt: skip


def mutated(source: random.Random, text: str) -> str:
    characters = list(text)
    for _ in range(source.randrange(1, 4)):
        place = source.randrange(len(characters) + 1)
        put = source.choices('{}[]",:\\u0n1e.-+ tf\x01\x80', k=source.randrange(3))
        characters[place : place + source.randrange(3)] = put
    return "".join(characters)


@pytest.mark.parametrize("count", [1000, pytest.param(60_000, marks=pytest.mark.long)])
def test_random_and_damaged_texts(dump: Dump, count: int) -> None:
    source = random.Random(17)
    texts = [json.dumps(random_value(source), ensure_ascii=source.random() < 0.5) for _ in range(count)]
    right = compare(dump, texts)
    assert right > count // 2  # the others have a NaN or an infinity
    damaged = [mutated(source, text) for text in texts]
    assert 0 < compare(dump, damaged) < count


def test_deep_and_huge_texts_are_refused_or_read(dump: Dump) -> None:
    deep = ["[" * 1_000_000, '{"a":' * 1_000_000, "[" * 1_000_000 + "]" * 1_000_000, '[{"a":' * 500_000]
    for line in dump(deep):
        assert line.endswith(": expected at most 64 levels of objects and lists")
    numbers = ["9" * 1_000_000, "1." + "0" * 1_000_000, "-" + "9" * 127]
    assert dump([f'"{"a" * 4095}"', f'"{"a" * 4096}"', f'{{"{"b" * 9999}": 1}}', *numbers]) == [
        f"s{'61' * 4095}",
        "s!config, line 1, column 1: longer than 4095 bytes",
        f'{{:f-1,}}!config, line 1, column 2: "{"b" * 64}" is longer than 4095 bytes',
        *["f-1!config, line 1, column 1: a number that is too long"] * 3,
    ]
    million = json.dumps([{"name": "x", "n": n} for n in range(50_000)])
    assert dump([million, "1e99999999999999999999", "1e-99999999999999999999", "[" + " " * 5_000_000]) == [
        expected(million),
        "f-1!config, line 1, column 1: out of range for a double",
        "f0",
        "!config, line 1, column 5000002: expected a value",
    ]


def test_bytes_that_are_not_utf8(dump: Dump) -> None:
    """A host sends UTF-8; others are refused or copied, without a read beyond the text."""
    source = random.Random(7)
    lines = dump([source.randbytes(source.randrange(40)) for _ in range(2000)] + [b'"\xff\xe2\x82"', b'{"\xf0'])
    assert lines[-2:] == ["sffe282", '!config, line 1, column 4: expected a closing "']


SETTINGS = """
#include "greeter.h"
#include "hardpoint_json.h"

typedef struct {
    int64_t wanted, total;
    double weight;
    bool strict;
    char name[8], key[8];
} settings;

static hp_status create(const hp_host *host, const char *config, size_t config_len, void **self, hp_out *out) {
    static settings made;
    (void)host;
    made = {0, 0, 0, false, "World", ""};
    hp_json json = hp_json_parse(config, config_len, out);
    hp_json_only(&json, "wanted weight strict name limits ports");
    made.wanted = hp_json_int(&json, "wanted", 10);
    made.weight = hp_json_float(&json, "weight", 0.5);
    made.strict = hp_json_bool(&json, "strict", true);
    hp_json_str(&json, "name", made.name, sizeof made.name);
    hp_json limits = hp_json_get(&json, "limits");
    made.total = hp_json_int(&limits, "depth", 3);
    hp_json ports = hp_json_get(&json, "ports");
    for (hp_json port = hp_json_first(&ports); port.at != NULL; port = hp_json_next(&port)) {
        made.total += hp_json_int(&port, NULL, 0);
        hp_json_key(&port, made.key, sizeof made.key);
    }
    *self = &made;
    return json.status;
}
static hp_status greet(void *self, const char *name, size_t name_len, hp_out *out) {
    const settings *s = (const settings *)self;
    (void)name;
    (void)name_len;
    return hp_printf(out, "%lld %g %d %s %lld %s", (long long)s->wanted, s->weight, s->strict, s->name, (long long)s->total,
                     s->key);
}
static hp_status lang(void *self, hp_out *out) { (void)self; return hp_puts(out, ""); }
GREETER_PLUGIN("settings", "1.0.0", PLUGIN);
"""
C = SETTINGS.replace("made = {", "made = (settings){").replace(
    "PLUGIN)", ".create = create, .greet = greet, .lang = lang)"
)
DEFAULTS = "10 0.5 1 World 3 "
READ = {
    None: DEFAULTS,
    "null": DEFAULTS,
    "{}": DEFAULTS,
    '{"wanted": null, "ports": null, "limits": null}': DEFAULTS,
    '{"wanted": -7, "weight": 2, "strict": false, "name": "\\u00e9t\\u00e9"}': "-7 2 0 été 3 ",
    '{"wanted": 1, "wanted": 2, "want\\u0065d": 3}': "3 0.5 1 World 3 ",  # the last one, as in Python
    '{"ports": [1, 20, null], "limits": {"depth": 300, "more": []}}': "10 0.5 1 World 321 ",
    '{"ports": {"a": 1, "b": 2}}': "10 0.5 1 World 6 b",
    '{"wanted": 9223372036854775807}': "9223372036854775807 0.5 1 World 3 ",
    '{"wanted": -9223372036854775808}': "-9223372036854775808 0.5 1 World 3 ",
}
REFUSED = {
    "": "line 1, column 1: expected a value",
    '{"wanted": 5,\n "strict": yes}': "line 2, column 12: expected a value",
    '{"wanted": "5"}': 'line 1, column 12: "wanted" is not an integer',
    '{"wanted": 5.0}': 'line 1, column 12: "wanted" is not an integer',
    '{"wanted": 9223372036854775808}': 'line 1, column 12: "wanted" is out of range for 64 bits',
    '{"wanted": -9223372036854775809}': 'line 1, column 12: "wanted" is out of range for 64 bits',
    '{"weight": "x"}': 'line 1, column 12: "weight" is not a number',
    '{"weight": 1e999}': 'line 1, column 12: "weight" is out of range for a double',
    '{"strict": 1}': 'line 1, column 12: "strict" is neither true nor false',
    '{"name": 5}': 'line 1, column 10: "name" is not a text',
    '{"name": "12345678"}': 'line 1, column 10: "name" is longer than 7 bytes',
    '{"name": "a\\u0000b"}': 'line 1, column 10: "name" is a text with a NUL',
    '{"limits": []}': 'line 1, column 12: "limits" is not an object',
    '{"ports": 5}': 'line 1, column 11: "ports" is neither an object nor a list',
    '{"ports": [1, "2"]}': "line 1, column 15: not an integer",
    '{"wantd": 5}': 'line 1, column 2: "wantd" is not a known setting',
    f'{{"{"é" * 99}": 5}}': f'line 1, column 2: "{"é" * 32}" is not a known setting',
    "[5]": "line 1, column 1: not an object",
    "[]": "line 1, column 1: not an object",
    "5": "line 1, column 1: not an object",
    '{"wanted": "a", "strict": "b"}': 'line 1, column 12: "wanted" is not an integer',  # the first failure
}


def test_a_plugin_reads_its_settings(compiler: Compiler) -> None:
    library = compiler.text("settings", C)
    for config, read in READ.items():
        with hardpoint.loaded(library, Greeter, config=config) as plugin:
            assert plugin.greet("") == read, config
    for config, reason in REFUSED.items():
        with pytest.raises(hardpoint.CreateError) as refused:
            hardpoint.load(library, Greeter, config=config)
        assert (refused.value.status, refused.value.text) == (2, f"config, {reason}"), config


def test_the_locale_does_not_matter(compiler: Compiler, run_python: Any) -> None:
    """strtod reads 1,5 in many a locale, and stops at the point of 1.5."""
    library = compiler.text("settings", C)
    code = f"""
import locale, subprocess
for name in subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.split():
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        continue
    if locale.localeconv()["decimal_point"] == ",":
        break
import hardpoint
from hardpoint.contracts import Greeter
print(hardpoint.load({str(library)!r}, Greeter, config='{{"wanted": 1, "weight": 1.25e1}}').greet("").replace(",", "."))
"""
    assert run_python(code).stdout == "1 12.5 1 World 3 \n"


@pytest.mark.long
def test_it_is_cpp_too(compiler: Compiler, tmp_path: Path) -> None:
    compiler_cpp = shutil.which("g++") or pytest.skip("there is no g++")
    text = SETTINGS.replace("PLUGIN)", "p.create = create, p.greet = greet, p.lang = lang)")
    (tmp_path / "settings.cpp").write_text(text)
    words = [*"-std=c++17 -O2 -fPIC -shared -o settings.so settings.cpp".split(), *WARNINGS, f"-I{ROOT / 'contract'}"]
    subprocess.run([compiler_cpp, *words], cwd=tmp_path, check=True)
    with hardpoint.loaded(tmp_path / "settings.so", Greeter, config='{"wanted": 5}') as plugin:
        assert plugin.greet("") == "5 0.5 1 World 3 "
