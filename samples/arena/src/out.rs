//! Standard output and error, whose reader may go away: what is written then is lost, and nothing else happens.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Writes a line to standard output.
///
/// # Panics
/// When it cannot be written, though there is a reader.
pub fn line(text: Arguments<'_>) {
    written(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a line to standard error.
///
/// # Panics
/// When it cannot be written, though there is a reader.
pub fn error_line(text: Arguments<'_>) {
    written(writeln!(std::io::stderr().lock(), "{text}"));
}

fn written(result: std::io::Result<()>) {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("cannot write: {error}"),
        _ => {}
    }
}

/// As that of the standard library, but for a reader that went away.
macro_rules! println {
    ($($text:tt)*) => { $crate::out::line(format_args!($($text)*)) };
}
pub(crate) use println;
