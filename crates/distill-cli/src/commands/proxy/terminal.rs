//! What the running proxy says on its terminal.
//!
//! Whoever reads it may leave (`| head`, a terminal that is closed), and the disk that it is written
//! to may be full. That costs the lines and never the proxy: `eprintln!` would panic.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use distill_proxy::telemetry::LogSink;

/// Lines that may wait for whoever reads standard error.
const LOG_LINES: usize = 10_000;
/// How long lines gather.
const LOG_PAUSE: Duration = Duration::from_millis(10);

/// Says a line to people.
pub(super) fn say(line: &str) {
    write(&mut io::stderr(), &format!("{line}\n"));
}

/// Says a line to the program that started this one.
pub(super) fn answer(line: &str) {
    write(&mut io::stdout(), &format!("{line}\n"));
}

fn write(to: &mut dyn io::Write, text: &str) {
    // Nobody is left to be told that nobody reads.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

/// Where the log goes: to standard error, from a thread of its own, so that a reader who stops
/// reading holds up no request.
pub(super) fn log() -> (LogSink, thread::JoinHandle<()>) {
    let (lines, waiting) = mpsc::sync_channel::<String>(LOG_LINES);
    let writer = thread::spawn(move || {
        let mut text = String::new();
        while let Ok(line) = waiting.recv() {
            text.clear();
            for line in std::iter::once(line).chain(waiting.try_iter().take(LOG_LINES)) {
                text.push_str(&line);
                text.push('\n');
            }
            write(&mut io::stderr(), &text);
            // Lines of a busy moment are written together: waking for each costs more than the line.
            thread::sleep(LOG_PAUSE);
        }
    });
    (Arc::new(move |line| lines.try_send(line).is_ok()), writer)
}

/// A panic's message may hold a piece of a prompt: only its place is told.
pub(super) fn hide_what_panics_say() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        say(&format!(
            "a fault of the program at {place}; the request it met was answered with 500"
        ));
    }));
}
