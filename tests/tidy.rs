//! Reads the sources and holds them to the house rules: the order of the modules, who may name which crate, where
//! proofs are made, and what must not stand in a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that have one home, and the modules that are it.
const CRATE_HOMES: &[(&str, &[&str])] = &[
    ("rusb", &["muxd"]),
    ("rusqlite", &["library", "backup", "job", "sim"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["bench", "cli"]),
    ("idevice", &["services"]),
    ("rcgen", &["lockdown"]),
    ("jpeg_decoder", &["photos"]),
    ("libheif_rs", &["photos"]),
    ("jpeg_encoder", &["photos", "sim"]),
];

/// Types that only one file may construct.
const MADE_IN: &[(&str, &str)] = &[
    ("PhotosProof", "src/photos/verify.rs"),
    ("BackupProof", "src/backup/verify.rs"),
    ("Cleared", "src/remedy/gate.rs"),
];

struct Source {
    path: String,
    module: String,
    text: String,
    /// The text without comments, strings and what stands under `#[cfg(test)]`.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files.iter().map(|file| source(file)).collect()
}

fn source(file: &Path) -> Source {
    let relative = file.strip_prefix(root()).unwrap();
    let below_src = relative.strip_prefix("src").unwrap();
    let first = below_src.components().next().unwrap().as_os_str().to_str().unwrap();
    let module = first.strip_suffix(".rs").unwrap_or(first).to_owned();
    let text = fs::read_to_string(file).unwrap();
    let path = relative.to_str().unwrap().to_owned();
    let code =
        if is_for_tests(&path) { String::new() } else { without_tests(&without_comments_and_strings(&text)) };
    Source { path, module, text, code }
}

/// A file that its module declares under `#[cfg(test)]`; the name says so.
fn is_for_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("/testing.rs") || path.contains("/tests/")
}

/// Blanks comments, strings and character literals; what is left is code, line by line where it stood.
fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string_hashes(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if rest.starts_with('"') {
            string_length(rest)
        } else if is_char_literal(rest) {
            1 + rest[1..]
                .find('\'')
                .map_or(rest.len() - 1, |end| if rest[1..].starts_with("\\'") { 3 } else { end + 1 })
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        at += skipped;
    }
    out
}

fn raw_string_hashes(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'` or `'\n'`, and not a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars();
    if chars.next() != Some('\'') {
        return false;
    }
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// Removes the item that follows each `#[cfg(test)]`, up to its closing brace or semicolon.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0_usize;
        let mut end = rest.len();
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        end = index + 1;
                        break;
                    }
                }
                ';' if depth == 0 => {
                    end = index + 1;
                    break;
                }
                _ => {}
            }
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The modules in the order in which `lib.rs` lists them.
fn order() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut order = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            order.insert(name.to_owned(), order.len());
        }
    }
    order
}

/// The modules that a piece of code names after `crate::`, also inside `use crate::{a, b::c}`.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let preceded = code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        if preceded {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            named.extend(group_members(group));
        } else {
            named.push(identifier(rest));
        }
    }
    named
}

fn group_members(group: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut depth = 0_usize;
    let mut start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && depth == 0 && !c.is_whitespace() => {
                members.push(identifier(&group[at..]));
                start = false;
            }
            _ => {}
        }
    }
    members
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after_path = code[..at].ends_with("::");
        !after_path && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    }) || code.contains(&format!("use {name};"))
}

#[test]
fn a_module_uses_only_modules_listed_above_it() {
    let order = order();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = order.get(&source.module) else { continue };
        for named in named_modules(&source.code) {
            if order.get(&named).is_some_and(|at| at > own) {
                wrong.push(format!("{} uses {named}, which stands below it", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_place_in_the_list() {
    let order = order();
    for source in sources() {
        let known = order.contains_key(&source.module) || ["lib", "main"].contains(&source.module.as_str());
        assert!(known, "{} belongs to no module that src/lib.rs lists", source.path);
    }
}

#[test]
fn a_crate_is_named_only_at_its_home() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, homes) in CRATE_HOMES {
            if names_crate(&source.code, name) && !homes.contains(&source.module.as_str()) {
                wrong.push(format!("{} names {name}, whose home is {}", source.path, homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_idevice_crate_never_connects_by_itself() {
    for source in sources() {
        for forbidden in
            ["IdeviceProvider", "UsbmuxdConnection", "TcpProvider", "PairingFile", "LockdownClient"]
        {
            assert!(!source.code.contains(forbidden), "{} names {forbidden}", source.path);
        }
    }
}

#[test]
fn a_proof_is_made_only_where_the_proving_is_done() {
    for source in sources() {
        for (kind, home) in MADE_IN {
            if source.path == *home {
                continue;
            }
            for (at, _) in source.code.match_indices(&format!("{kind} {{")) {
                let before = source.code[..at].trim_end();
                let declares = ["struct", "impl", "for", "->", "&"].iter().any(|word| before.ends_with(word));
                let matches_only = before.ends_with("let");
                assert!(declares || matches_only, "{} makes a {kind}; only {home} may", source.path);
            }
        }
    }
    for (kind, home) in MADE_IN {
        let text = fs::read_to_string(root().join(home)).unwrap();
        let declaration =
            text.find(&format!("pub struct {kind} {{")).expect("the proof is declared at its home");
        let body = &text[declaration..declaration + text[declaration..].find("\n}").unwrap()];
        assert!(
            !body.lines().skip(1).any(|line| line.trim_start().starts_with("pub ")),
            "{kind} has a public field"
        );
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        ["to", "do!("].concat(),
        ["un", "implemented!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X:"].concat(),
    ];
    for source in sources() {
        for mark in &marks {
            assert!(!source.text.contains(mark.as_str()), "{} says {mark}", source.path);
        }
        assert!(
            !source.text.contains(&["#[", "allow("].concat()),
            "{}: say #[expect(…, reason = …)]",
            source.path
        );
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in sources() {
        assert!(source.text.starts_with("//!"), "{} does not open with a module paragraph", source.path);
    }
}

#[test]
fn unwrap_stays_in_tests() {
    for source in sources() {
        let at = source.code.lines().position(|line| line.contains(".unwrap()"));
        assert!(at.is_none(), "{}: .unwrap() outside tests", source.path);
    }
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let code = without_comments_and_strings("a // b\n\"c\\\"d\" e 'f' '\\'' g<'h> r#\"i\"# j /* k */ l\n");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "g<'h>", "j", "l"]);
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests { { } b }\nc"), "a\n\nc");
    assert_eq!(named_modules("use crate::{x::{y, z}, w}; crate::v::f()"), ["x", "w", "v"]);
    assert!(names_crate("use clap::Parser;", "clap"));
    assert!(!names_crate("use myclap::Parser; crate::clap::x", "clap"));
}

/// A sentence that is missing would be a panic before its owner; one that nobody says is a left-over that translators
/// would work on.
#[test]
fn every_sentence_is_there_and_is_said() {
    let file = fs::read_to_string(root().join("src/facts/sentences.en.toml")).unwrap();
    let names: Vec<String> = toml::from_str::<toml::Table>(&file).unwrap().keys().cloned().collect();
    let mut said = String::new();
    for source in sources().iter().filter(|source| !is_for_tests(&source.path)) {
        for line in source.text.lines() {
            said.push_str(line);
            said.push('\n');
        }
        let mut rest = source.text.as_str();
        while let Some(at) = rest.find("say!(") {
            rest = rest[at + 5..].trim_start();
            let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
            assert!(names.iter().any(|known| known == name), "{}: no sentence {name:?}", source.path);
        }
    }
    for name in names.iter().filter(|name| *name != "plural") {
        assert!(said.contains(&format!("\"{name}\"")), "nobody says {name:?}");
    }
}
