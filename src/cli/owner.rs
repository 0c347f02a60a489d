//! The one question, asked where a person can answer it.

use std::io::{BufRead, Write};
use std::path::PathBuf;

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
    let screen = std::sync::Arc::clone(&run.screen);
    // A thread of its own: reading a terminal cannot be cancelled, and Ctrl-C must not wait for Enter.
    let asking = tokio::task::spawn_blocking(move || screen.beside(converse));
    tokio::select! {
        () = run.cancel.cancelled() => Answer::No,
        answer = asking => answer.unwrap_or(Answer::Nobody),
    }
}

/// Whether somebody at the terminal types this word. Ctrl-C and anything else are a no.
pub(super) async fn types(run: &Run, word: &'static str) -> bool {
    let screen = std::sync::Arc::clone(&run.screen);
    let asking = tokio::task::spawn_blocking(move || {
        screen.beside(|| {
            prompt(&format!("To agree, type {word}: "));
            line()
        })
    });
    tokio::select! {
        () = run.cancel.cancelled() => false,
        typed = asking => typed.ok().flatten().is_some_and(|typed| typed == word),
    }
}

fn converse() -> Answer {
    for _ in 0..TRIES {
        prompt("Start? [Y/n/p = photos only/o = other folder] ");
        match line().as_deref().map(parse) {
            None => return Answer::Nobody,
            Some(Some(Answer::OtherFolder(_))) => {
                prompt("Which folder? ");
                match line() {
                    Some(folder) if !folder.is_empty() => return Answer::OtherFolder(folder_of(&folder)),
                    _ => return Answer::No,
                }
            }
            Some(Some(answer)) => return answer,
            Some(None) => {}
        }
    }
    Answer::No
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
