//! A greeter that speaks English.
#[path = "../../../contract/greeter.rs"]
mod greeter;
#[path = "../../../contract/hardpoint.rs"]
mod hardpoint;

use greeter::Greeter;
use hardpoint::{Error, Text};

struct English;

impl Greeter for English {
    fn greet(&self, name: &str, out: &mut Text) -> Result<(), Error> {
        write!(out, "Hello, {name}! Nice to meet you.")
    }

    fn lang(&self, out: &mut Text) -> Result<(), Error> {
        out.push_str("English")
    }
}

greeter::plugin!(English, "english", env!("CARGO_PKG_VERSION"));
