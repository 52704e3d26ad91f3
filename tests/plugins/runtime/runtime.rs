//! Uses what Rust's library has for plugins, in a folder that `greet` is given, and answers `done`.
mod greeter;
mod hardpoint;

use greeter::Greeter;
use hardpoint::{Error, Text};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, panic, thread};

struct Runtime;

fn try_threads() -> io::Result<()> {
    let shared = Arc::new((Mutex::new(0), Condvar::new()));
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|index| {
            let (shared, sender) = (shared.clone(), sender.clone());
            thread::Builder::new().name(format!("runtime-{index}")).spawn(move || {
                *shared.0.lock().unwrap() += 1;
                shared.1.notify_all();
                sender.send(index).unwrap();
            })
        })
        .collect::<io::Result<_>>()?;
    let limit = Duration::from_secs(10);
    let waited = shared.1.wait_timeout_while(shared.0.lock().unwrap(), limit, |count| *count < 8).unwrap();
    assert!(!waited.1.timed_out());
    drop(waited);
    drop(sender);
    assert_eq!(receiver.iter().sum::<i32>(), 28);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(thread::spawn(|| panic::catch_unwind(|| panic!("asked for")).is_err()).join().unwrap());
    thread::available_parallelism().map(drop)
}

fn try_files(folder: &Path) -> io::Result<()> {
    let (first, second, third) = (folder.join("runtime-rs"), folder.join("runtime-rs.new"), folder.join("runtime-copy"));
    fs::File::create(&first)?.write_all(b"1\n")?;
    fs::rename(&first, &second)?;
    let mut text = String::new();
    let (mut from, mut to) = (fs::File::open(&second)?, fs::File::create(&third)?);
    io::copy(&mut from, &mut to)?;
    to.set_len(2)?;
    to.sync_all()?;
    fs::File::open(&third)?.read_to_string(&mut text)?;
    assert_eq!(text, "1\n");
    fs::create_dir(&first)?;
    assert!(fs::read_dir(folder)?.count() >= 3);
    assert!(fs::metadata(&second)?.modified()? <= SystemTime::now() + Duration::from_secs(60));
    fs::remove_dir(&first)?;
    fs::remove_file(&second)?;
    fs::remove_file(&third)
}

fn try_rest() {
    let begun = Instant::now();
    thread::sleep(Duration::from_micros(1));
    let numbers: HashMap<_, _> = (0..1000).map(|each| (each, vec![0u8; each])).collect(); // random keys
    assert!(begun.elapsed() > Duration::ZERO && numbers.len() == 1000);
    println!("{:?} {:?}", env::var_os("LANG"), env::current_dir().is_ok());
}

impl Greeter for Runtime {
    fn greet(&self, name: &str, out: &mut Text) -> Result<(), Error> {
        if let Err(error) = try_threads().and_then(|()| try_files(Path::new(name))) {
            return write!(out, "{error}");
        }
        try_rest();
        out.push_str("done")
    }

    fn lang(&self, out: &mut Text) -> Result<(), Error> {
        out.push_str("Rust")
    }
}

greeter::plugin!(Runtime, "runtime", "1.0.0");
