//! The Python virtual environment that holds the peers of the interop tests, under `target/venv`.
//!
//! It makes nothing itself; `tools` prints the line that does.

/// The environment's interpreter, relative to the workspace's root.
pub(crate) const VENV_PYTHON: &str = "target/venv/bin/python3";

/// The shell line that makes the environment and installs `wheels` into it.
pub(crate) fn install_line(wheels: &[&str]) -> String {
    format!(
        "python3 -m venv target/venv && {VENV_PYTHON} -m pip install --quiet {}",
        wheels.join(" ")
    )
}
