//! Words for whoever reads what a command prints.

use std::fmt::Arguments;
use std::io::Write;

/// Prints a line. Whoever was reading may be gone, as `head` is after its first lines: work under way ends in good order all
/// the same, where `println!` would panic.
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
