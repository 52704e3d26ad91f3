//! hardpoint.rs - hardpoint.h for plugins in Rust; the modules of `hardpoint header --lang rust` are built on it.
//!
//!     mod greeter;   // hardpoint header hardpoint.contracts:Greeter --lang rust > src/greeter.rs
//!     mod hardpoint; // this file
//!
//!     use greeter::Greeter;
//!     use hardpoint::{Error, Text};
//!
//!     struct English;
//!
//!     impl Greeter for English {
//!         fn greet(&self, name: &str, out: &mut Text) -> Result<(), Error> { Ok(write!(out, "Hello, {name}!")?) }
//!         fn lang(&self, out: &mut Text) -> Result<(), Error> { out.push_str("English") }
//!     }
//!     greeter::plugin!(English, "english", "1.0.0");
//!
//! An instance that has state also implements `Create`, which receives the config and the host.
//!
//! Both files must be modules of the cdylib's root crate: the linker drops a note in a dependency. Rust 1.82 or newer,
//! no dependencies. The rules of hardpoint.h on memory and threads hold; this file enforces them in safe Rust:
//!   - a panic does not leave the plugin: the call fails with HP_FAILED, and the reason is its location and message;
//!   - a reason is an `Error`, and `?` converts every other error;
//!   - text is `&str` and `&mut Text`, which guarantee UTF-8;
//!   - bytes are a `Buffer` or a `WritableBuffer`, not slices: two of one call may be the same memory, and other
//!     threads may change it during the call;
//!   - an instance is `Send + Sync`, since its methods run on several threads at once. With `serial` in `plugin!` it
//!     only needs `Send`.
#![allow(dead_code)]

#[cfg(not(panic = "unwind"))]
compile_error!("with panic = \"abort\" a panic would end the host: set panic = \"unwind\" in Cargo.toml");

use std::any::Any;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::TryReserveError;
use std::ffi::{c_char, c_int, c_void, CStr};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::ops::Deref;
use std::panic::{catch_unwind, set_hook, take_hook, AssertUnwindSafe};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};
use std::sync::Once;

// ---- statuses and errors ----------------------------------------------------------------------------------------

pub const FAILED: i32 = 1;
pub const INVALID: i32 = 2;
pub const UNSUPPORTED: i32 = 3;
pub const NO_MEMORY: i32 = 4;
/// The first of the author's own statuses, which go up to 65535.
pub const AUTHOR: i32 = 256;

/// The failure of a method: a status and a reason. Any `std::error::Error` converts to one with FAILED.
#[derive(Debug)]
pub struct Error {
    status: i32,
    text: Cow<'static, str>,
}

impl Error {
    /// A status of 0 or less becomes FAILED.
    pub fn new(status: i32, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: if status > 0 { status } else { FAILED }, text: text.into() }
    }

    /// The operation failed.
    pub fn failed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FAILED, text)
    }

    /// Invalid argument.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID, text)
    }

    /// Not supported by this plugin.
    pub fn unsupported(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(UNSUPPORTED, text)
    }

    /// Out of memory.
    pub fn no_memory() -> Self {
        Self::new(NO_MEMORY, "")
    }
}

// `Error` does not implement std::error::Error, or this would be a second From<Error> for Error.
impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let any: &(dyn std::error::Error + 'static) = &error;
        let io_memory = any.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::OutOfMemory);
        if io_memory || any.is::<TryReserveError>() {
            return Self::no_memory();
        }
        Self::failed(error.to_string())
    }
}

// ---- text and bytes results -------------------------------------------------------------------------------------

/// hp_out of hardpoint.h.
#[repr(C)]
pub struct Out {
    data: *mut u8,
    len: usize,
    cap: usize,
    grow: unsafe extern "C" fn(out: *mut Out, need: usize) -> i32,
}

impl Out {
    fn reserve(&mut self, more: usize) -> Result<(), Error> {
        let need = self.len.checked_add(more).ok_or_else(Error::no_memory)?;
        if need > self.cap {
            // Check `cap` too: a host's callback that raises in its own language may return 0.
            // SAFETY: `self` is the host's own struct, as its grow requires.
            let status = unsafe { (self.grow)(self, need) };
            if status != 0 || self.cap < need {
                return Err(Error::no_memory());
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.reserve(bytes.len())?;
        // SAFETY: there is room for `bytes`, and `&mut self` is the only reference to it.
        unsafe { self.data.add(self.len).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.len += bytes.len();
        Ok(())
    }

    /// Writes the reason of a failure, truncated if memory runs out, and returns the status.
    fn fail(&mut self, error: &Error) -> i32 {
        self.len = 0;
        let mut len = error.text.len();
        if self.reserve(len).is_err() {
            len = len.min(self.cap);
            while !error.text.is_char_boundary(len) {
                len -= 1;
            }
        }
        let _ = self.push(&error.text.as_bytes()[..len]);
        error.status
    }
}

/// The text result of a method. `write!` works; with `?`, running out of memory becomes NO_MEMORY.
#[repr(transparent)]
pub struct Text(Out);

impl Text {
    pub fn push_str(&mut self, text: &str) -> Result<(), Error> {
        self.0.push(text.as_bytes())
    }

    /// Makes room for `more` bytes, to speed up many small appends.
    pub fn reserve(&mut self, more: usize) -> Result<(), Error> {
        self.0.reserve(more)
    }

    /// Implements `write!` without an import of fmt::Write.
    pub fn write_fmt(&mut self, text: fmt::Arguments) -> Result<(), Error> {
        let mut writer = Writer { out: &mut self.0, error: None };
        let done = fmt::write(&mut writer, text);
        writer.error.map_or_else(|| Ok(done?), Err)
    }
}

struct Writer<'a> {
    out: &'a mut Out,
    error: Option<Error>,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.push(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

/// The bytes result of a method. Implements `io::Write`.
#[repr(transparent)]
pub struct Bytes(Out);

impl Bytes {
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.push(bytes)
    }

    /// Appends the contents of a buffer argument.
    pub fn push_buffer(&mut self, bytes: Buffer) -> Result<(), Error> {
        self.0.reserve(bytes.len)?;
        // SAFETY: there is room for `bytes`. A buffer argument never overlaps the host's `out`.
        unsafe { self.0.data.add(self.0.len).copy_from(bytes.data, bytes.len) };
        self.0.len += bytes.len;
        Ok(())
    }

    /// Makes room for `more` bytes, to speed up many small appends.
    pub fn reserve(&mut self, more: usize) -> Result<(), Error> {
        self.0.reserve(more)
    }
}

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// ---- instances --------------------------------------------------------------------------------------------------

/// An instance with state. One without state (`struct English;`) does not implement it; the host then refuses a config.
pub trait Create: Sized {
    /// Makes an instance, on any thread. `config` is the host's text for this plugin, if there is one.
    fn create(config: Option<&str>, host: Host) -> Result<Self, Error>;
}

// ---- the buffers of a call --------------------------------------------------------------------------------------

/// Bytes that the host passes, valid during the call.
///
/// This is not a `&[u8]`: Rust may assume that the memory behind such a slice does not change, but a bytearray of the
/// same call may be the same memory, and other threads of the host may write to it. So bytes are copied, in whole or in
/// part, or read one at a time.
#[derive(Clone, Copy)]
pub struct Buffer<'a> {
    data: *mut u8,
    len: usize,
    bytes: &'a [AtomicU8],
}

impl<'a> Buffer<'a> {
    pub fn len(self) -> usize {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The current value of the byte at `index`.
    pub fn get(self, index: usize) -> Option<u8> {
        self.bytes.get(index).map(|byte| byte.load(Relaxed))
    }

    /// Iterates over the bytes; each is read when it is reached.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u8> + ExactSizeIterator + 'a {
        self.bytes.iter().map(|byte| byte.load(Relaxed))
    }

    /// The bytes from `start` to `end`. Panics if they are out of bounds, as slices do.
    pub fn range(self, start: usize, end: usize) -> Self {
        let bytes = &self.bytes[start..end];
        // SAFETY: `start` is at most `len`.
        Self { data: unsafe { self.data.add(start) }, len: bytes.len(), bytes }
    }

    /// Copies the whole buffer. Panics if `target` has a different length.
    pub fn copy_to(self, target: &mut [u8]) {
        assert_eq!(target.len(), self.len, "the target must be as long as the buffer");
        // SAFETY: both have that length. `copy_from` allows overlap.
        unsafe { target.as_mut_ptr().copy_from(self.data, self.len) };
    }

    /// A copy of the whole buffer.
    pub fn to_vec(self) -> Vec<u8> {
        let mut copy = vec![0; self.len];
        self.copy_to(&mut copy);
        copy
    }

    /// The buffer as a slice, without a copy.
    ///
    /// # Safety
    ///
    /// While the slice is in use, nothing may write to this memory: neither through a bytearray of the same call nor
    /// from another thread of the host.
    pub unsafe fn as_slice(self) -> &'a [u8] {
        // SAFETY: the host's pointer is valid for `len` bytes; the caller promises the rest.
        unsafe { slice::from_raw_parts(self.data, self.len) }
    }
}

/// A bytearray that the host passes, to be changed in place. To read it, use the methods of `Buffer`.
#[derive(Clone, Copy)]
pub struct WritableBuffer<'a>(Buffer<'a>);

impl<'a> WritableBuffer<'a> {
    /// Sets the byte at `index`. Panics if it is out of bounds, as slices do.
    pub fn set(self, index: usize, byte: u8) {
        self.0.bytes[index].store(byte, Relaxed);
    }

    /// Replaces every byte by the result of `change`.
    pub fn update(self, mut change: impl FnMut(u8) -> u8) {
        for byte in self.0.bytes {
            byte.store(change(byte.load(Relaxed)), Relaxed);
        }
    }

    pub fn fill(self, byte: u8) {
        // SAFETY: the host's pointer is valid for `len` bytes.
        unsafe { self.0.data.write_bytes(byte, self.0.len) };
    }

    /// Overwrites the whole buffer. Panics if `source` has a different length.
    pub fn copy_from(self, source: &[u8]) {
        assert_eq!(source.len(), self.0.len, "the source must be as long as the buffer");
        // SAFETY: both have that length. `copy_from` allows overlap.
        unsafe { self.0.data.copy_from(source.as_ptr(), source.len()) };
    }

    /// The bytes from `start` to `end`. Panics if they are out of bounds, as slices do.
    pub fn range(self, start: usize, end: usize) -> Self {
        Self(self.0.range(start, end))
    }

    /// The buffer as a mutable slice, without a copy.
    ///
    /// # Safety
    ///
    /// While the slice is in use, nothing else may read or write this memory: neither through another buffer of the
    /// same call nor from another thread of the host.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn as_mut_slice(self) -> &'a mut [u8] {
        // SAFETY: the host's pointer is valid for `len` bytes; the caller promises the rest.
        unsafe { slice::from_raw_parts_mut(self.0.data, self.0.len) }
    }
}

impl<'a> Deref for WritableBuffer<'a> {
    type Target = Buffer<'a>;

    fn deref(&self) -> &Buffer<'a> {
        &self.0
    }
}

// ---- the host ---------------------------------------------------------------------------------------------------

/// hp_host of hardpoint.h.
#[repr(C)]
pub struct RawHost {
    size: u32,
    abi_major: u16,
    abi_minor: u16,
    name: *const c_char,
    version: *const c_char,
    log_dropped: *const AtomicU64,
    log_source: u64,
    log_fd: i32,
    reserved: u32,
}

/// The host, valid until the process exits, for use from any thread.
#[derive(Clone, Copy)]
pub struct Host(&'static RawHost);

// SAFETY: the host never changes, except for a counter that is incremented atomically.
unsafe impl Send for Host {}
unsafe impl Sync for Host {}

/// Log levels, with the numbers of Python's logging.
#[derive(Clone, Copy)]
pub enum Level {
    Debug = 10,
    Info = 20,
    Warning = 30,
    Error = 40,
    Critical = 50,
}

const LOG_MAX: usize = 1024;

#[repr(C)]
struct LogRecord {
    source: u64,
    level: i32,
    reserved: u32,
    text: [u8; LOG_MAX],
}

unsafe extern "C" {
    fn send(socket: c_int, data: *const c_void, len: usize, flags: c_int) -> isize;
}
const MSG_DONTWAIT: c_int = 0x40;
const MSG_NOSIGNAL: c_int = 0x4000;

impl Host {
    pub fn name(&self) -> &'static str {
        // SAFETY: the host's texts are NUL-terminated and live until the process exits.
        unsafe { CStr::from_ptr(self.0.name) }.to_str().unwrap_or("")
    }

    pub fn version(&self) -> &'static str {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(self.0.version) }.to_str().unwrap_or("")
    }

    /// Logs `format_args!("{} items", n)`, as hp_log: it never blocks; a record without room is dropped and counted.
    pub fn log(&self, level: Level, text: fmt::Arguments) {
        if self.0.log_fd < 0 {
            return;
        }
        let mut record = LogRecord { source: self.0.log_source, level: level as i32, reserved: 0, text: [0; LOG_MAX] };
        let mut line = Line { text: &mut record.text, len: 0 };
        let _ = fmt::write(&mut line, text);
        let len = offset_of!(LogRecord, text) + line.len;
        // SAFETY: the record has at least `len` bytes, and the host provides the socket and the counter.
        unsafe {
            if send(self.0.log_fd, (&raw const record).cast(), len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 {
                (*self.0.log_dropped).fetch_add(1, Relaxed);
            }
        }
    }
}

/// Text of at most LOG_MAX bytes without a NUL; a longer text is truncated and ends in "...".
struct Line<'a> {
    text: &'a mut [u8; LOG_MAX],
    len: usize,
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let char = if char == '\0' { '\u{fffd}' } else { char };
            if self.len + char.len_utf8() > LOG_MAX {
                while self.len > LOG_MAX - 3 {
                    self.len -= 1;
                    while self.text[self.len] & 0xC0 == 0x80 {
                        self.len -= 1;
                    }
                }
                self.text[self.len..self.len + 3].copy_from_slice(b"...");
                self.len += 3;
                return Err(fmt::Error);
            }
            self.len += char.encode_utf8(&mut self.text[self.len..]).len();
        }
        Ok(())
    }
}

// ---- building blocks of the generated modules -------------------------------------------------------------------

/// hp_head of hardpoint.h.
#[repr(C)]
pub struct Head {
    size: u32,
    abi_major: u16,
    abi_minor: u16,
    manifest: *const u8,
}

// SAFETY: the manifest is a constant.
unsafe impl Sync for Head {}
unsafe impl Send for Head {}

impl Head {
    /// The head of a vtable of type `V`. `manifest` must end in a NUL.
    pub const fn new<V>(manifest: &'static str) -> Self {
        Self { size: size_of::<V>() as u32, abi_major: 1, abi_minor: 0, manifest: manifest.as_ptr() }
    }
}

/// A vtable flag: the host serialises the calls of one instance's methods.
pub const SERIAL: u64 = 0x1_0000_0000;

pub type CreateSlot = unsafe extern "C" fn(
    host: *const RawHost,
    config: *const u8,
    config_len: usize,
    this: *mut *mut c_void,
    out: *mut Out,
) -> i32;
pub type DestroySlot = unsafe extern "C" fn(this: *mut c_void);
pub type QuerySlot = unsafe extern "C" fn(id: *const c_char) -> *const c_void;

/// A note (ELF gABI, "Note Section") with a description of N bytes, padding included.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_size: u32,
    description_size: u32,
    kind: u32,
    owner: [u8; 12],
    description: [u8; N],
}

impl<const N: usize> Note<N> {
    /// Makes the note. `manifest` must end in a NUL.
    pub const fn new(manifest: &str) -> Self {
        assert!(manifest.len() <= 4096, "the manifest is longer than 4096 bytes");
        let (text, mut description, mut index) = (manifest.as_bytes(), [0; N], 0);
        while index < text.len() {
            description[index] = text[index];
            index += 1;
        }
        let owner = *b"hardpoint\0\0\0";
        Self { name_size: 10, description_size: text.len() as u32, kind: 1, owner, description }
    }
}

/// A `str` argument of a method.
///
/// # Safety
///
/// The memory is from the host: valid during the call, never NULL, UTF-8.
pub unsafe fn text<'a>(data: *const u8, len: usize) -> &'a str {
    // SAFETY: by the caller's contract. Unlike a buffer, a str of the host does not change.
    unsafe { std::str::from_utf8_unchecked(slice::from_raw_parts(data, len)) }
}

/// A `bytes` argument of a method.
///
/// # Safety
///
/// The memory is from the host: valid during the call, and never NULL.
pub unsafe fn buffer<'a>(data: *const u8, len: usize) -> Buffer<'a> {
    // SAFETY: by the caller's contract. std::sync::atomic allows relaxed loads of small atomics on read-only memory.
    Buffer { data: data.cast_mut(), len, bytes: unsafe { slice::from_raw_parts(data.cast(), len) } }
}

/// A `bytearray` argument of a method.
///
/// # Safety
///
/// As for `buffer`, and the memory must be writable.
pub unsafe fn writable<'a>(data: *mut u8, len: usize) -> WritableBuffer<'a> {
    // SAFETY: by the caller's contract.
    WritableBuffer(unsafe { buffer(data, len) })
}

/// `out` as a str result.
///
/// # Safety
///
/// `out` is the host's and valid during the call.
pub unsafe fn text_of<'a>(out: *mut Out) -> &'a mut Text {
    // SAFETY: Text is transparent.
    unsafe { &mut *out.cast() }
}

/// `out` as a bytes result.
///
/// # Safety
///
/// `out` is the host's and valid during the call.
pub unsafe fn bytes_of<'a>(out: *mut Out) -> &'a mut Bytes {
    // SAFETY: Bytes is transparent.
    unsafe { &mut *out.cast() }
}

/// Runs a method's body. An error or a panic in it becomes a status and a reason in `out`.
///
/// # Safety
///
/// `out` is the host's and valid during the call.
pub unsafe fn guard(out: *mut Out, body: impl FnOnce() -> Result<(), Error>) -> i32 {
    install_panic_hook();
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error,
        Err(panic) => Error::failed(panic_text(panic)),
    };
    // SAFETY: the body has ended, and its references to `out` with it.
    unsafe { (*out).fail(&error) }
}

thread_local! {
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Installs, once, a panic hook that stores the location for the reason, and then calls the previous hook (Rust's own
/// prints to stderr).
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if let Some(location) = panic.location() {
                let _ = PANICKED_AT.try_with(|at| at.replace(format!(" at {location}")));
            }
            previous(panic);
        }));
    });
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let at = PANICKED_AT.try_with(RefCell::take).unwrap_or_default();
    let text = match panic.downcast::<String>() {
        Ok(text) => Cow::from(*text),
        Err(panic) => match panic.downcast::<&'static str>() {
            Ok(text) => Cow::from(*text),
            Err(panic) => {
                std::mem::forget(panic); // its Drop is the author's code, which could panic again
                Cow::from("with a value that is not text")
            }
        },
    };
    format!("panicked{at}: {text}")
}

/// The slots create and destroy for `T`. For a type that is `Create`, the inherent constants take precedence over those
/// of `Stateless`.
pub struct Life<T>(PhantomData<T>);

pub trait Stateless {
    const CREATE: Option<CreateSlot>;
    const DESTROY: Option<DestroySlot>;
}

impl<T> Stateless for Life<T> {
    const CREATE: Option<CreateSlot> = {
        assert!(size_of::<T>() == 0, "an instance that has state must implement hardpoint::Create");
        None
    };
    const DESTROY: Option<DestroySlot> = None;
}

impl<T: Create> Life<T> {
    pub const CREATE: Option<CreateSlot> = Some(create::<T>);
    pub const DESTROY: Option<DestroySlot> = Some(destroy::<T>);
}

unsafe extern "C" fn create<T: Create>(
    host: *const RawHost,
    config: *const u8,
    config_len: usize,
    this: *mut *mut c_void,
    out: *mut Out,
) -> i32 {
    // SAFETY: the host is valid until the process exits; an absent config is NULL.
    unsafe {
        guard(out, || {
            let config = if config.is_null() { None } else { Some(text(config, config_len)) };
            *this = Box::into_raw(Box::new(T::create(config, Host(&*host))?)).cast();
            Ok(())
        })
    }
}

unsafe extern "C" fn destroy<T>(this: *mut c_void) {
    // SAFETY: `this` is the pointer that `create` stored, and the host does not use it again.
    let instance = unsafe { Box::from_raw(this.cast::<T>()) };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(instance))) {
        std::mem::forget(panic);
    }
}

/// The instance that a method is called on.
///
/// # Safety
///
/// `this` is the pointer that `create` stored; it is NULL for a type without `Create`.
pub unsafe fn instance<'a, T>(this: *mut c_void) -> &'a T {
    let this = if size_of::<T>() == 0 { NonNull::dangling().as_ptr() } else { this.cast() };
    // SAFETY: by the caller's contract. For a zero-sized type, every aligned pointer is valid.
    unsafe { &*this }
}

// Frozen layouts.
const _: () = {
    assert!(size_of::<Out>() == 32 && offset_of!(Out, len) == 8);
    assert!(offset_of!(Out, cap) == 16 && offset_of!(Out, grow) == 24);
    assert!(size_of::<Head>() == 16 && offset_of!(Head, abi_major) == 4);
    assert!(offset_of!(Head, abi_minor) == 6 && offset_of!(Head, manifest) == 8);
    assert!(offset_of!(LogRecord, level) == 8 && offset_of!(LogRecord, text) == 16);
    assert!(offset_of!(RawHost, name) == 8 && offset_of!(RawHost, version) == 16);
    assert!(offset_of!(RawHost, log_dropped) == 24 && offset_of!(RawHost, log_source) == 32);
    assert!(offset_of!(RawHost, log_fd) == 40);
};
