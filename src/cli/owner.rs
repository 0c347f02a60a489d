//! Questions, asked where a person can answer them. While one is open, Ctrl-C is heard, and nobody goes on reading from
//! the terminal afterwards.

use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::run::Run;
use super::terminal;
use crate::visit::plan::Answer;

/// How often an answer that is none is asked for again.
const TRIES: u32 = 3;

/// Asks. Without a terminal nobody answers; in the demo that counts as a yes, since it touches nothing of anybody.
pub(super) async fn ask(run: &Run) -> Answer {
    if run.global.yes {
        run.screen.say("Starting, as -y says.");
        return Answer::Yes;
    }
    if !terminal::can_ask() {
        if run.global.demo {
            run.screen.say("This is the demo and nobody is at a terminal: taken as yes.");
            return Answer::Yes;
        }
        return Answer::Nobody;
    }
    for _ in 0..TRIES {
        match reply(run, "Start? [Y/n/p = photos only/o = other folder] ").await {
            Reply::Nobody => return Answer::Nobody,
            Reply::Stopped => return Answer::No,
            Reply::Said(said) => match parse(&said) {
                Some(Answer::OtherFolder(_)) => {
                    return match reply(run, "Which folder? ").await {
                        Reply::Said(folder) if !folder.is_empty() => Answer::OtherFolder(folder_of(&folder)),
                        _ => Answer::No,
                    };
                }
                Some(answer) => return answer,
                None => {}
            },
        }
    }
    Answer::No
}

/// Whether somebody at the terminal types this word. Ctrl-C and anything else are a no.
pub(super) async fn types(run: &Run, word: &str) -> bool {
    reply(run, &format!("To agree, type {word}: ")).await == Reply::Said(word.to_owned())
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A line, without the blanks around it.
    Said(String),
    /// The terminal is at its end, or there is none.
    Nobody,
    /// Ctrl-C.
    Stopped,
}

/// Asks, and waits for a line.
pub(super) async fn reply(run: &Run, question: &str) -> Reply {
    run.screen.beside(|| prompt(question));
    // What is read is there at once, for a terminal hands out whole lines; so nothing waits in a thread that Ctrl-C
    // could not end, and that would take the next line away from a later question.
    let Some(ready) = stdin_ready() else { return line().map_or(Reply::Nobody, Reply::Said) };
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Reply::Stopped,
        _ = ready.readable() => line().map_or(Reply::Nobody, Reply::Said),
    }
}

/// Whether a line was typed within this time; the line is taken.
pub(super) async fn types_something(within: std::time::Duration) -> bool {
    let Some(ready) = stdin_ready() else {
        tokio::time::sleep(within).await;
        return false;
    };
    let typed = tokio::time::timeout(within, ready.readable()).await.is_ok();
    typed && line().is_some()
}

/// Throws away what was typed before anything was asked: an impatient Enter must not agree to anything.
pub(super) fn forget_what_was_typed() {
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
}

/// Standard input, to be waited for; `None` where it cannot be waited for (a file).
#[expect(
    deprecated,
    reason = "its successor is unsafe, for descriptors that may be closed: standard input stays open"
)]
fn stdin_ready() -> Option<AsyncFd<BorrowedFd<'static>>> {
    static STDIN: std::sync::LazyLock<std::io::Stdin> = std::sync::LazyLock::new(std::io::stdin);
    AsyncFd::with_interest(STDIN.as_fd(), Interest::READABLE).ok()
}

fn prompt(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// A line from the terminal; `None` at its end.
fn line() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim().to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Option<Answer> {
    match text.to_lowercase().as_str() {
        "" | "y" | "yes" => Some(Answer::Yes),
        "n" | "no" | "q" => Some(Answer::No),
        "p" | "photos" | "photos only" => Some(Answer::PhotosOnly),
        "o" | "other" | "other folder" => Some(Answer::OtherFolder(PathBuf::new())),
        _ => None,
    }
}

fn folder_of(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_is_yes_and_nonsense_is_asked_again() {
        assert_eq!(parse(""), Some(Answer::Yes));
        assert_eq!(parse("Yes"), Some(Answer::Yes));
        assert_eq!(parse("n"), Some(Answer::No));
        assert_eq!(parse("p"), Some(Answer::PhotosOnly));
        assert!(matches!(parse("o"), Some(Answer::OtherFolder(_))));
        assert_eq!(parse("maybe"), None);
    }

    #[test]
    fn the_home_folder_may_be_abbreviated() {
        assert_eq!(folder_of("/mnt/x"), PathBuf::from("/mnt/x"));
        assert!(!folder_of("~/x").starts_with("~"));
    }
}
