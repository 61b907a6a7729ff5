//! The examples as programs.

#![allow(dead_code, reason = "every test uses its own part")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The example of this name. `cargo test` builds it together with all examples, but not when one test alone is asked for; then it
/// would be missing or stale, so cargo is asked for it once more, which costs nothing when it is there.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args(["build", "--quiet", "--example", name])
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells tests about their package would make the build script of `ring` run again, and all that stands on it.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    let built = cargo.status();
    let failed = built.as_ref().is_ok_and(|status| !status.success());
    assert!(!failed, "the example does not compile");
    let this = std::env::current_exe().expect("the path of this program");
    let profile = this
        .parent()
        .and_then(Path::parent)
        .expect("target/profile");
    let program = profile
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "no {}: {built:?}", program.display());
    program
}

/// Ctrl-C.
#[cfg(unix)]
pub(crate) fn interrupt(process: u32) {
    let sent = Command::new("kill")
        .args(["-INT", &process.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}
