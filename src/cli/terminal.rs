//! What the streams of this program are, and the wishes of the environment about them.

use std::io::{IsTerminal, Write};

use crate::report::Style;

/// Lines are never set wider than this: long ones read badly.
const COLUMNS_MAX: u16 = 100;
/// Columns when nobody says.
const COLUMNS: u16 = 80;

/// Somebody reads stderr.
pub(super) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Somebody can answer: stdin is a terminal, and so is stderr, where we would ask.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && stderr_is_terminal()
}

/// May stderr be redrawn and coloured?
pub(super) fn stderr_moves() -> bool {
    stderr_is_terminal() && !is_dumb()
}

/// Colours on stderr?
pub(super) fn stderr_colour() -> bool {
    stderr_moves() && !no_color()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// How text on stdout is to be set.
pub(super) fn stdout_style() -> Style {
    let stdout = std::io::stdout();
    let columns =
        rustix::termios::tcgetwinsize(&stdout).map_or(COLUMNS, |size| size.ws_col).clamp(40, COLUMNS_MAX);
    let width = if stdout.is_terminal() { columns } else { COLUMNS };
    Style {
        colour: stdout.is_terminal() && !is_dumb() && !no_color(),
        width: usize::from(width),
        zone: jiff::tz::TimeZone::system(),
    }
}

/// How text on stderr is to be set, where a person is talked to.
pub(super) fn stderr_style() -> Style {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr())
        .map_or(COLUMNS, |size| size.ws_col)
        .clamp(40, COLUMNS_MAX);
    Style { colour: stderr_colour(), width: usize::from(columns), zone: jiff::tz::TimeZone::system() }
}

/// Lines of at most `width` columns, the later ones indented further; ends with a line break.
pub(super) fn wrapped(text: &str, indent: usize, width: usize) -> String {
    format!("{}\n", hanging(text, indent, indent + 4, width))
}

/// Lines of at most `width` columns, the first behind `indent` blanks, the later ones behind `hang`. A word that is
/// longer than a line keeps its length.
pub(super) fn hanging(text: &str, indent: usize, hang: usize, width: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut begun = false;
    for word in text.split(' ') {
        if begun && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(hang);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        line.push_str(word);
        begun = true;
    }
    lines.push_str(line.trim_end());
    lines
}

/// Writes data to stdout. A reader that went away (`| head`) ends the program quietly, as other tools do.
pub(super) fn print(text: &str) {
    print_bytes(text.as_bytes());
}

fn print_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        let _ = writeln!(std::io::stderr(), "idevice-fix: stdout could not be written: {error}");
        std::process::exit(1);
    }
}

/// Stdout for what is written in pieces; as [`print`] does, a reader that went away ends the program quietly.
pub(super) fn out() -> impl Write {
    struct Stdout;
    impl Write for Stdout {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            print_bytes(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    std::io::BufWriter::with_capacity(1 << 16, Stdout)
}

/// Writes one JSON object as a line.
pub(super) fn print_json(value: &serde_json::Value) {
    print(&format!("{value}\n"));
}

/// Writes a line to stderr; nothing can be done when that fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
