//! One of the targets under libFuzzer; which one is in the environment. See `fuzz/README.md`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

static TARGET: OnceLock<&targets::Target> = OnceLock::new();

fn begin() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = targets::TARGETS.iter().map(|target| target.name).collect();
    let found = targets::TARGETS.iter().find(|target| target.name == name);
    let target = found.unwrap_or_else(|| panic!("FUZZ_TARGET is none of {names:?}"));
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(path, seed).expect("the folder of seeds can be written");
        }
    }
    TARGET.get_or_init(|| target);
}

fuzz_target!(
    init: begin(),
    |bytes: &[u8]| {
        (TARGET.get().expect("set at the beginning").run)(bytes);
    }
);
