"""The problems that a file can have: one row a code, with the stage that finds it, needs, fix, cause and an example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fields import Fields

if TYPE_CHECKING:
    from typing import Any


class Row(Fields):
    """Everything about one code. `{names}` in `needs` and `fix` are filled in where the problem is found."""

    code: str
    stage: str
    """The check that it belongs to, as `hardpoint doctor` names them; also `trust` (a registry's or a lock's rules) and
    `environment` (what doctor says of the machine)."""
    needs: str
    fix: str
    example: dict[str, Any]
    """An example for the documentation: `found`, and the values of the names in `needs` and `fix`."""
    cause: str
    """Why it occurs, for the documentation, in Markdown."""
    fatal: bool = True
    """False for a warning: the file is loaded all the same."""


REBUILD = "rebuild the plugin with the header of this contract (`hardpoint header`)"
_REMAKE = "rebuild the plugin with its contract's header, which writes the manifest"
_COPY = "copy, download or build it again"
_GREET, _LANG = "greet(name: str) -> str", "lang() -> str"

ROWS = {row.code: row for row in (
    # -- the file --
    Row("file-missing", "file", "a file at that path", "check the path, or build the plugin",
        {"found": "none"},
        "There is nothing at that path: a wrong path, a dangling link, or a plugin that was not built."),
    Row("file-kind", "file", "a regular file", "give the path of a .so file",
        {"found": "a directory"},
        "The path leads to a directory, a FIFO, a socket or a device. This is checked before the file is opened, so "
        "that nothing blocks."),
    Row("file-unreadable", "file", "a readable file", "check the disk, or copy the file elsewhere",
        {"found": "Input/output error"},
        "The file exists and cannot be opened or read: permissions, a circle of links, a failing disk."),
    Row("elf-magic", "elf", "a shared object (.so)", "give the path of the file that the linker wrote",
        {"found": "a static library (.a)"},
        "The file does not start as an ELF file does. Common formats are named: a script, a static library, a DLL, a "
        "wheel."),
    Row("elf-type", "elf", "a shared object (.so)", "link it with -shared",
        {"found": "an executable"},
        "It is an ELF file of another type: an executable, an object file or a core dump."),
    Row("elf-class", "elf", "a 64-bit little-endian library", "build it for x86-64 or AArch64",
        {"found": "a 32-bit little-endian ELF file for i386"},
        "It was built for a 32-bit or a big-endian machine. It is an `IncompatibleError`: it may fit once it is "
        "rebuilt."),
    Row("elf-truncated", "elf", "a complete file", _COPY,
        {"found": "8000 bytes, while the table of section headers would end at 15624"},
        "The file ends before something that its headers describe: a download or a copy was interrupted. The dynamic "
        "linker would die of such a file with SIGBUS."),
    Row("elf-damaged", "elf", "a well-formed shared object", _COPY,
        {"found": "an unterminated GNU hash table"},
        "Something in the file contradicts the ELF standard or the rest of the file, in a way that could kill the "
        "process in `dlopen`: an offset out of range, a table without an end, a relocation outside of the library."),
    Row("elf-too-large", "elf", "tables within the limits of the ELF reader",
        "link it with fewer symbols (-fvisibility=hidden) or notes, or report it if a linker wrote it so",
        {"found": "1900000032 bytes in the relocations, where at most 67108864 are read"},
        "A table in the file, such as its strings, symbols or relocations, is many times larger than those of the "
        "largest known libraries (LLVM's, PyTorch's). So neither time nor memory depends on what a small sparse file "
        "says of itself."),
    Row("elf-debug", "elf", "a library with its code", "give the library itself, not its .debug companion",
        {"found": "debug information without the code"},
        "It is the companion that `objcopy --only-keep-debug` wrote: the headers of the library without its code."),
    Row("elf-no-code", "elf", "a library with code", "compile it from sources that have functions",
        {"found": "a shared object without any code"},
        "No part of the library is executable."),
    Row("path-token", "path", "a path without $ORIGIN, $LIB and $PLATFORM",
        "rename the folder or the file, or load it with sha256=",
        {"found": "/srv/plugins/$PLATFORM/english.so"},
        "`dlopen` replaces `$ORIGIN`, `$LIB` and `$PLATFORM` in a path, and so would open another file than the one "
        "that was checked."),
    Row("noexec", "path", "a file system from which code may be mapped",
        "copy it to a file system that is not mounted noexec, or remount that one",
        {"found": "/mnt/usb/english.so on one that is mounted noexec"},
        "The library, or one that it needs, lies on a file system that is mounted with `noexec`, as `/tmp` and `/dev/shm` "
        "are on some machines. The dynamic linker says of that: failed to map segment from shared object."),
    Row("elf-header", "linking", "an ELF header that the dynamic linker takes", "build it for Linux, or copy it again",
        {"found": "a library for FreeBSD (e_ident, OS/ABI 9)"},
        "A field of the header is not one that `ld.so` takes: another system's OS/ABI, an unknown version, bytes that "
        "have to be zero."),
    Row("no-dlopen", "linking", "a library that dlopen may open", "link it without -z nodlopen",
        {"found": "one that was linked with -z nodlopen (DF_1_NOOPEN)"},
        "The library was linked with a flag that forbids `dlopen`."),

    # -- the manifest --
    Row("manifest-missing", "manifest", "a manifest (an ELF note with the owner 'hardpoint')", REBUILD,
        {"found": "a Python extension module, which is imported, not loaded"},
        "The library has no ELF note of hardpoint's. It was not written as a plugin, or a linker script discarded "
        "the section `.note.hardpoint`."),
    Row("note-alignment", "manifest", "notes that are aligned to 4 or 8 bytes",
        "align the note's section to 4 bytes: __attribute__((aligned(4))), as the contract's macro does",
        {"found": "notes at 0x2c0, aligned to 32"},
        "Compilers align large constants to 16 or 32 bytes. Between two such notes there is a gap, after which no "
        "reader finds the next one."),
    Row("manifest-malformed", "manifest", "a manifest in JSON", _REMAKE,
        {"found": "a duplicate field"},
        "The manifest's text is not what [the ABI](abi.md#the-manifest) requires: invalid JSON, a missing or "
        "duplicate field, a malformed name or version, or a name that is reserved in C, C++, Python or a header."),
    Row("manifest-twice", "contract", "one plugin for {contract}", "keep one of them in each library",
        {"contract": "greeter 1", "found": "2: again, broken"},
        "The library has two plugins for the same contract and major, which share one symbol."),

    # -- this machine --
    Row("host-libc", "host", "a host that runs on glibc",
        "run it on Debian, Ubuntu, Fedora or another system with glibc, or in such a container",
        {"found": "another libc, such as Alpine's musl"},
        "The host itself runs on another libc than glibc. [Why this is refused](why.md#why-glibc-and-no-other)."),
    Row("host-machine", "host", "a host on x86-64 or AArch64", "run it on one of these",
        {"found": "riscv64"},
        "The host runs on an unsupported processor, or is a 32-bit Python."),
    Row("elf-machine", "machine", "a library for {machine}", "build it for {machine}",
        {"machine": "x86-64", "found": "AArch64"},
        "The library was built for another processor."),
    Row("page-size", "machine", "segments for this kernel's pages of {size} bytes",
        "link it with -Wl,-z,max-page-size=65536",
        {"size": 16384, "found": "ones for smaller pages"},
        "The kernel's pages are larger than the library was linked for: on AArch64 they have 4, 16 (a Raspberry Pi "
        "5) or 64 KiB. By default, linkers make libraries that fit all of these."),
    Row("cpu-level", "machine", "a processor of {level}{whose}",
        "compile it for this processor (-march=x86-64), or run it on a newer one",
        {"level": "x86-64-v4", "whose": "", "found": "one without avx512f, avx512dq, avx512cd, avx512bw, avx512vl"},
        "The library was compiled for a level of x86-64 (`-march=x86-64-v4`) that this processor does not have, and says "
        "so in its `.note.gnu.property` (`-z x86-64-v4`)."),
    Row("libc-musl", "libc", "a library built for glibc",
        "build it on a system with glibc, such as debian:bookworm, not on Alpine and not with musl-gcc",
        {"found": "one built for musl (it needs libc.musl-x86_64.so.1)"},
        "The library was linked with musl, on Alpine or by musl-gcc. Two C libraries in one process do not work."),
    Row("glibc-version", "libc", "symbols of glibc {version} or older",
        "build it on a system with glibc {version} or older, or run the host on a newer one",
        {"version": "2.36", "found": "symbols of glibc 2.39"},
        "The library was built on a newer system, and needs symbols that this glibc does not have."),
    Row("soname-glibc", "libc", "a soname of its own", "link it with another -soname, or with none",
        {"found": "libc.so.6, a library of glibc"},
        "The library has the name (DT_SONAME) of one of glibc's. Other libraries that need glibc's could get this one."),
    Row("relr-version", "libc", "the symbol version GLIBC_ABI_DT_RELR", "link it with -z pack-relative-relocs, or unpacked",
        {"found": "packed relocations (DT_RELR) without it"},
        "The library has packed relocations and does not say that it needs a glibc that knows them, which `ld.so` demands "
        "since 2.36. Linkers say so with `-z pack-relative-relocs`, and not with `--pack-dyn-relocs=relr`."),
    Row("needed-missing", "dependencies", "the library {name}",
        "install it (apt-file search finds the package), or add its folder to the plugin's RUNPATH",
        {"name": "libhelper.so.7", "found": "none on the dynamic linker's search path"},
        "The library was linked with another one that is not on this machine, or not on the dynamic linker's search "
        "path."),
    Row("needed-damaged", "dependencies", "a well-formed library {name}", "install it again",
        {"name": "libhelper.so", "found": "/srv/plugins/libhelper.so with an unterminated GNU hash table"},
        "A library that the plugin needs, outside of the system's folders, is truncated or damaged, and would crash "
        "the process."),
    Row("version-missing", "dependencies", "{versions} of {name}",
        "install a newer {name}, or build the plugin on an older system",
        {"versions": "GLIBCXX_3.4.32", "name": "libstdc++.so.6",
         "found": "/usr/lib/x86_64-linux-gnu/libstdc++.so.6 without it"},
        "A library that the plugin needs is older than the one that the plugin was linked with."),
    Row("pinned-origin", "dependencies", "a pinned library that needs nothing beside it",
        "load it without sha256= and without a lock, or link the plugin with its libraries statically",
        {"found": "one that needs libhelper.so beside it"},
        "`sha256=` or a lock loads a copy in memory, which has no folder. Besides, the digest would not cover the "
        "library beside it."),
    Row("sanitizer", "dependencies", "a host started with {name}",
        'start the host with ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD="$(cc -print-file-name={name})", or build it without '
        "-fsanitize",
        {"name": "libasan.so.8", "found": "one started without it"},
        "The plugin was built with -fsanitize, whose runtime ends every process that it was not started with."),
    Row("soname-loaded", "dependencies", "the library {path}",
        "give one of the two another soname, or run one of the plugins isolated, in a process of its own",
        {"path": "/srv/b/libhelper.so.1",
         "found": "/srv/a/libhelper.so.1, which is loaded before it under the same name, libhelper.so.1"},
        "A library that the plugin needs lies on its search path, and the process has loaded another one of the same "
        "name (soname), such as for another plugin. The dynamic linker takes the loaded one: a process has one library "
        "of each soname.",
        fatal=False),
    Row("undefined-symbol", "linking", "a definition of {symbols}, which {who} uses",
        "link the plugin with what it needs (-Wl,-z,defs finds that when linking)",
        {"symbols": "cblas_ddot", "who": "english.so", "found": "in the dynamic linker's words: undefined symbol: cblas_ddot"},
        "Neither the host nor any library that the plugin needs defines a function or a variable that is used. C and "
        "C++ linkers accept that in a library unless they are told not to (`-Wl,-z,defs`). Often a library is missing "
        "on the linker's command line (`-lfoo`), or is another version than the header."),
    Row("loader-refused", "linking", "a library that the dynamic linker loads", "look at what `hardpoint inspect` says of it",
        {"found": "in the dynamic linker's words: libhelper.so (needed by english.so): invalid ELF header"},
        "The dynamic linker refuses the library, or one that it needs, for another reason. Its own words are quoted."),
    Row("loader-unasked", "linking", "the dynamic linker's own verdict",
        "load it to see: undefined symbols are not known before",
        {"found": "none: [Errno 1] Operation not permitted"},
        "`hardpoint check` asks `ld.so` in a process of its own, and could not start it or did not get an answer. All "
        "other checks were made.",
        fatal=False),
    Row("executable-stack", "memory", "a non-executable stack",
        "link it with -z noexecstack (assembler sources need a .note.GNU-stack section)",
        {"found": "a library that asks for an executable one"},
        "Loading the library would make the whole process's stack executable. The cause is an assembler source "
        "without a `.note.GNU-stack` section, or a nested function of GNU C."),
    Row("static-tls", "memory", "dynamic thread-local storage (TLS)",
        "compile it without -ftls-model=initial-exec if loading it fails for lack of TLS",
        {"found": "static TLS"},
        "The library takes thread-local storage from a small reserve that all libraries of the process share. It may "
        "run out.",
        fatal=False),
    Row("static-tls-size", "memory", "at most {most} bytes of static thread-local storage (TLS)",
        "compile it without -ftls-model=initial-exec, or start the host with a larger "
        "GLIBC_TUNABLES=glibc.rtld.optional_static_tls",
        {"most": 2048, "found": "1048576 bytes of static TLS"},
        "The library takes more static thread-local storage than glibc keeps in reserve for libraries that are loaded "
        "later: `dlopen` says that it cannot allocate memory in static TLS block."),
    Row("text-relocations", "memory", "code that is position-independent",
        "compile all of it with -fPIC, assembler sources too",
        {"found": "code that the dynamic linker has to change (DT_TEXTREL)"},
        "Addresses in the library's code are filled in when it is loaded, so the code is writable for a moment and not "
        "shared between processes. SELinux and MemoryDenyWriteExecute forbid that.",
        fatal=False),

    # -- the contract --
    Row("contract-other", "contract", "a plugin for {contract}",
        "load it with that contract's class, or use another plugin",
        {"contract": "greeter 1.0", "found": "one for singer 1.0"},
        "The library has plugins, but none for this contract."),
    Row("contract-major", "contract", "a plugin for {contract}.x",
        "use a plugin for {contract}, or load it with that version's class",
        {"contract": "greeter 1", "found": "greeter 2.0"},
        "The plugin is for another major version of the contract. See [versions](versioning.md)."),
    Row("abi-major", "abi", "a plugin for ABI {major}", "use a newer hardpoint, or an older plugin",
        {"major": 1, "found": "ABI 2.0"},
        "The plugin was built with the hardpoint.h of another ABI major, whose structs have other layouts."),
    Row("abi-minor", "abi", "a plugin for ABI {version} or older",
        "use a newer hardpoint, or build the plugin with HP_NEEDS_ABI set to the ABI that it really needs",
        {"version": "1.0", "found": "ABI 1.9"},
        "The plugin declares that it needs a newer ABI than this host has."),
    Row("method-differs", "methods", "method {index} to be {method}", REBUILD,
        {"index": 1, "method": _GREET, "found": "greet(person: str) -> str"},
        "A method has another name, parameter, type or result than in the contract. Names of parameters count: "
        "Python callers may use them as keywords."),
    Row("method-order", "methods", "the methods in the order {methods}", REBUILD,
        {"methods": f"{_GREET}, {_LANG}", "found": f"{_LANG}, {_GREET}"},
        "All methods are there, in another order. The order is that of the slots."),
    Row("method-missing", "methods", "the method {method}", REBUILD,
        {"method": _LANG, "found": "a list that ends after method 1"},
        "The plugin's list ends before a method that its version of the contract has."),
    Row("method-unknown", "methods", "only the methods of {contract}", REBUILD,
        {"contract": "greeter 1.0", "found": "bow() -> None"},
        "The plugin has more methods than the contract's version that its manifest names."),
    Row("method-kind", "methods", "the method {method}", "make it a plain function that returns the result",
        {"method": _GREET, "found": "an async method"},
        "A method of a Python plugin is a coroutine, a generator or the like. The contract's callers expect a "
        "result."),

    # -- the vtable --
    Row("symbol-missing", "vtable", "the exported data symbol {symbol}",
        "export it: the contract's macro does, unless a linker script hides it",
        {"symbol": "hardpoint_greeter_v1", "found": "hardpoint_greeter_v7"},
        "The library has the manifest and does not export the symbol of the vtable: it is hidden by a linker script "
        "or by visibility, or defined in another library. Exported symbols with similar names are shown."),
    Row("symbol-type", "vtable", "the exported data symbol {symbol}", REBUILD,
        {"symbol": "hardpoint_greeter_v1", "found": "a symbol of another type"},
        "The symbol of that name is a function or thread-local."),
    Row("symbol-size", "vtable", "{symbol} to have {size} bytes, for {methods} methods", REBUILD,
        {"symbol": "hardpoint_greeter_v1", "size": 64, "methods": 2, "found": "56 bytes"},
        "The vtable's size does not match the methods of the manifest: the plugin was built with another header."),
    Row("vtable-empty", "vtable", "{symbol} to be a constant in the file", "initialise it with constants only",
        {"symbol": "hardpoint_greeter_v1", "found": "memory that the file does not initialise (.bss)"},
        "The file has no bytes for the vtable. Only running code would fill it."),
    Row("vtable-alignment", "vtable", "{symbol} at a multiple of 8 bytes",
        "align it to 8 bytes, as compilers do by default",
        {"symbol": "hardpoint_greeter_v1", "found": "an address 4 bytes past one"},
        "The vtable is not aligned as C aligns a struct of pointers. The source is in assembler, or packs it behind "
        "something else."),
    Row("vtable-size", "vtable", "a vtable whose size field says {size} bytes", REBUILD,
        {"size": 64, "found": "56 bytes"},
        "The size in the vtable's first field is not that of the symbol."),
    Row("vtable-relocated", "vtable", "constants for size, ABI and flags in {symbol}",
        "initialise them with numbers, not with addresses",
        {"symbol": "hardpoint_greeter_v1", "found": "a relocation of its flags"},
        "The dynamic linker would write an address over one of the vtable's numbers."),
    Row("vtable-abi", "vtable", "a vtable of the manifest's ABI", REBUILD,
        {"found": "3.0, while its manifest says 1.0"},
        "The vtable was compiled for another ABI than the manifest says."),
    Row("vtable-flags", "vtable", "only flags that this host knows",
        "use a newer hardpoint, or a plugin without that flag",
        {"found": "0x0000010000000000"},
        "One of the bits 32 to 63 of `flags` is set. A host has to know such a flag to call the plugin correctly, "
        "and this one does not."),
    Row("vtable-manifest", "vtable", "a vtable that points to the note's manifest or a copy of it", REBUILD,
        {"found": "another text"},
        "The text that the vtable points to is not the note's: one of the two was changed, or they come from "
        "different builds. Or it points to the note itself, and a tool such as patchelf moved that."),
    Row("manifest-not-copied", "vtable", "a vtable with a copy of the manifest",
        "make a copy of it, as the contract's macro does: patchelf and auditwheel move the note and do not update the "
        "pointer",
        {"found": "a pointer to the note itself"},
        "The vtable points to the note itself. Once a tool has moved the note, this becomes `vtable-manifest`.",
        fatal=False),
    Row("slot-empty", "vtable", "the method {method}", "fill it where the plugin's macro is used",
        {"method": _GREET, "found": "an empty slot"},
        "The plugin leaves a method out, which C compilers accept silently. Only methods marked with `@since` may be "
        "left out."),
    Row("slot-not-code", "vtable", "a function for {method}", REBUILD,
        {"method": _GREET, "found": "a pointer to something else"},
        "A slot points to data, in the library or in another one, or into the middle of a function."),

    # -- trust --
    Row("file-large", "trust", "a file of at most 4 GiB, with at most 64 MiB in holes, to hash", "give the path of a library",
        {"found": "12884901888 bytes"},
        "With `sha256=` or a lock file, the whole file is hashed and copied into memory. This one is larger than any "
        "library, or most of it is a hole, which takes no room on the disk."),
    Row("sha256", "trust", "a file whose sha256 is {sha256}", "get the intended file, or find out what changed",
        {"sha256": "6f1c8f3e…", "found": "02d7160d…"},
        "The file's bytes do not have the digest that `sha256=` asks for. Nothing of the file was loaded."),
    Row("trust-digest", "trust", "a file of {plugin} for {contract} whose sha256 is in {lock}",
        "if it is meant to be loaded, rewrite the lock with `hardpoint lock`",
        {"plugin": "english", "contract": "greeter", "lock": "plugins.lock",
         "found": "02d7160d…, of a plugin that is not in the lock"},
        "A registry with a lock file loads only files whose digest is in it."),
    Row("trust-owner", "trust", "a {kind} that belongs to {owners}", "chown it if you trust its contents",
        {"kind": "file", "owners": "root or svc", "found": "/srv/plugins/english.so, which belongs to guest"},
        "The file, or a folder above it, belongs to somebody who is not trusted."),
    Row("trust-writable", "trust", "a {kind} that only its owner can write to",
        "chmod go-w {path}, if you trust its contents",
        {"kind": "folder", "path": "/srv/plugins", "found": "/srv/plugins with mode 0777"},
        "Others than the owner may write to the file, or to a folder where they could replace it."),
    Row("release", "trust", "a release of {plugin} that satisfies {release}",
        "put such a release at the path, or load the plugin again with another release=",
        {"plugin": "english", "release": "<2", "found": "2.0.0"},
        "A plugin that a registry loaded with `release=` is reloaded, and the file at its path has a release that does not "
        "satisfy it."),
    Row("file-changed", "trust", "the file that was found", "make a new registry",
        {"found": "one that was replaced or rewritten since"},
        "A registry found the plugin, and the file has changed since. It has this code in `FoundPlugin.problems` and "
        "in `hardpoint list`; loading it raises `StaleError`."),

    # -- what `hardpoint doctor` says of the machine --
    Row("compiler-missing", "environment", "a C compiler, to build plugins and the native binding",
        "apt-get install gcc libc6-dev",
        {"found": "no cc, gcc or clang in $PATH"},
        "There is no C compiler. Plugins can be loaded, but not built.",
        fatal=False),
    Row("python-h-missing", "environment", "Python.h, for the native binding",
        "apt-get install python3-dev, or install the headers of this Python",
        {"found": "no /usr/include/python3.11/Python.h"},
        "hardpoint was installed without its native binding, and could not build it: calls go through cffi.",
        fatal=False),
    Row("memfd-missing", "environment", "memfd_create(2), for isolated plugins",
        "use a newer kernel (Linux 3.17 has it), or allow it in the container",
        {"found": "none here"},
        "The kernel, or the container's filter, has no `memfd_create`. Isolated and pinned plugins need it.",
        fatal=False),
    Row("pidfd-missing", "environment", "pidfd_open(2), for isolated plugins",
        "use a newer kernel (Linux 5.3 has it), or allow it in the container",
        {"found": "none here"},
        "The kernel, or the container's filter, has no `pidfd_open`. Isolated plugins need it.",
        fatal=False),
    Row("program-missing", "environment", "the program that isolated plugins run in",
        "install a C compiler (apt-get install gcc libc6-dev), and then reinstall hardpoint, or install its wheel",
        {"found": "none that runs here"},
        "It is compiled when hardpoint is installed, where there is a C compiler; wheels have it. Without it, `isolated=` "
        "raises `LoadError`.",
        fatal=False),
    Row("search-path", "environment", "the folder {folder} of $HARDPOINT_PATH", "make it, or leave it out",
        {"folder": "/srv/plugins", "found": "no such folder"},
        "`$HARDPOINT_PATH` names a folder that does not exist or cannot be read.",
        fatal=False),
)}  # fmt: skip
