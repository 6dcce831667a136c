//! Removing a rig that its process did not remove: killed tests, and the lab.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    plan::{Plan, is_namespace_of},
    process::end_recorded,
    wiring::delete_namespace,
};

/// Removes what is left of a rig: its processes, namespaces, pins and run directory. Does nothing if there is none.
///
/// Gives the number of namespaces removed.
///
/// # Errors
/// If a part cannot be removed; the message names it.
pub fn remove(instance: &str) -> Result<usize> {
    let plan = Plan::new(instance, 1, false)?;
    end_recorded(&plan.run_dir());
    let namespaces = namespaces_of(instance)?;
    for namespace in &namespaces {
        delete_namespace(namespace)?;
    }
    remove_pins(&plan.pin_prefix())?;
    remove_directory(&plan.run_dir())?;
    // The parent goes with the last rig.
    let _ = plan.run_dir().parent().map(fs::remove_dir);
    Ok(namespaces.len())
}

fn namespaces_of(instance: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in entries(Path::new("/run/netns"))? {
        if is_namespace_of(instance, &entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Pins are looked for by role: a bpffs directory, or a single program.
fn remove_pins(prefix: &str) -> Result<()> {
    let bpffs = Path::new("/sys/fs/bpf");
    for entry in entries(bpffs)? {
        let Some(role) = entry.strip_prefix(prefix) else { continue };
        let known = matches!(role, "front" | "client-pass" | "switch-pass" | "switch2-pass");
        if known || role.strip_prefix("server").is_some_and(|i| i.parse::<u8>().is_ok()) {
            remove_directory(&bpffs.join(&entry))?;
        }
    }
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<String>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let read = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    Ok(read.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn remove_directory(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
