//! What commands print to the standard output.

use std::fmt::Arguments;
use std::io::Write;

/// Prints a line to the standard output. Errors are ignored, so that a command finishes its work when the reader has closed the
/// pipe (`| head -1`); `println!` would panic.
#[macro_export]
macro_rules! say {
    ($($words:tt)+) => {
        $crate::say_line(format_args!($($words)+))
    };
}

/// What [`say!`] does.
pub fn say_line(line: Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
