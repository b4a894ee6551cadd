//! Writes the man pages and the completions of shells: into the build's own folder, and into the one that
//! `RUNAI_AUTH_ASSETS_DIR` names.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

#[path = "src/flags/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "the build only describes the flags"
)]
mod flags;

const ASSETS: &str = "RUNAI_AUTH_ASSETS_DIR";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/flags");
    println!("cargo:rerun-if-env-changed={ASSETS}");
    let own = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    write(&Path::new(&own).join("assets"))?;
    match env::var_os(ASSETS) {
        Some(folder) if !folder.is_empty() => write(&PathBuf::from(folder)),
        _ => Ok(()),
    }
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut command = flags::Arguments::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
        generate_to(shell, &mut command, "runai-auth", folder)?;
    }
    clap_mangen::generate_to(command, folder)?;
    Ok(())
}
