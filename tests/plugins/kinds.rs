//! A plugin for tests/support/kinds.py in Rust: every type, errors and panics.
mod hardpoint;
mod kinds;

use hardpoint::{Buffer, Bytes, Create, Error, Host, Level, Text, WritableBuffer};
use kinds::{since, Kinds};
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};

struct Plugin {
    config: Option<String>,
    count: AtomicI64,
    host: Host,
    _state: State,
}

/// Logs when an instance is dropped.
struct State(Host);

impl Drop for State {
    fn drop(&mut self) {
        self.0.log(Level::Info, format_args!("ended"));
    }
}

impl Create for Plugin {
    fn create(config: Option<&str>, host: Host) -> Result<Self, Error> {
        match config {
            Some("refuse") => return Err(Error::invalid("the config says refuse")),
            Some("panic") => panic!("the config says {config:?}"),
            _ => (),
        }
        host.log(Level::Warning, format_args!("{} {}", host.name(), config.unwrap_or("absent")));
        Ok(Self { config: config.map(str::to_owned), count: AtomicI64::new(0), host, _state: State(host) })
    }
}

impl Kinds for Plugin {
    fn text(&self, value: &str, out: &mut Text) -> Result<(), Error> {
        out.push_str(value)
    }

    fn raw(&self, value: Buffer, out: &mut Bytes) -> Result<(), Error> {
        let half = value.len() / 2;
        out.push_buffer(value.range(0, half))?;
        Ok(out.write_all(&value.range(half, value.len()).to_vec())?)
    }

    fn join(&self, left: Buffer, right: WritableBuffer) -> Result<i64, Error> {
        let len = left.len().min(right.len());
        right.range(0, len).copy_from(&left.range(0, len).to_vec());
        Ok(len as i64)
    }

    fn flip(&self, value: WritableBuffer) -> Result<(), Error> {
        value.update(|byte| !byte);
        Ok(())
    }

    fn all(
        &self, a: i64, b: f64, c: bool, d: &str, e: Buffer, f: f64, g: i64, h: WritableBuffer, out: &mut Text,
    ) -> Result<(), Error> {
        h.fill(7);
        if !h.is_empty() {
            h.set(0, e.get(0).unwrap_or(9));
        }
        write!(out, "{a} {b:.6} {c} {d} {:?} {f:.6} {g} {:?}", e.to_vec(), h.iter().collect::<Vec<_>>())
    }

    fn half(&self, value: f64) -> Result<f64, Error> {
        Ok(value / 2.0)
    }

    fn negate(&self, value: bool) -> Result<bool, Error> {
        Ok(!value)
    }

    fn unnamed(&self, left: i64, right: i64) -> Result<i64, Error> {
        left.checked_sub(right).ok_or_else(|| Error::new(hardpoint::AUTHOR + 7, "too far apart"))
    }

    fn fail(&self, how: &str) -> Result<(), Error> {
        match how {
            "parse" => how.parse::<i32>().map(|_| ()).map_err(Error::from),
            "panic" => panic!("at the disco"),
            "format" => panic!("at the {how}"),
            "value" => std::panic::panic_any(42),
            "index" => Err(Error::failed(vec!["nothing"; 2][how.len()])),
            "long" => Err(Error::unsupported("é".repeat(100_000))),
            "memory" => Ok(Vec::<u8>::new().try_reserve(usize::MAX)?),
            "status" => Err(Error::new(-3, "no status")),
            "log" => {
                self.host.log(Level::Error, format_args!("{}\0{}", "x", "é".repeat(2000)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn r#fn(
        &self, r#type: i64, crate__: i64, crate_: i64, some: i64, r#match: i64, defer: i64, func: i64, var: i64,
    ) -> Result<i64, Error> {
        Ok(r#type - crate__ - crate_ - some - r#match - defer - func - var)
    }

    fn count(&self) -> Result<i64, Error> {
        Ok(self.count.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn Self_(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl since::config for Plugin {
    fn config(&self, out: &mut Text) -> Result<(), Error> {
        match &self.config {
            Some(config) => write!(out, "config: {config}"),
            None => out.push_str("absent"),
        }
    }
}

impl since::go for Plugin {
    fn go(&self, value: i64) -> Result<i64, Error> {
        Ok(value + 1)
    }
}

kinds::plugin!(Plugin, "kinds", "1.0.0");
