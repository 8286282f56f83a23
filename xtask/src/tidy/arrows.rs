//! Who may depend on whom: the table of design.md section 2, checked against `cargo metadata`.
//!
//! Two kinds of arrow: between our crates, and to the few outside packages that belong to named
//! crates only.

use std::fmt::Write as _;

use anyhow::Context;
use serde_json::Value;

use super::Violation;
use crate::run;
use crate::workspace::Workspace;

/// One crate and the crates of ours it may use. Arrows of tests (dev-dependencies) may also go to
/// `mock`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lanes", &[]),
    ("engine", &[]),
    ("protocols", &[]),
    ("router", &["lanes"]),
    ("observe", &[]),
    ("control", &["protocols", "router", "observe"]),
    ("gateway", &["engine", "protocols", "router", "observe", "control"]),
    ("cli", &["engine", "protocols", "router", "observe", "control", "gateway", "mock"]),
    ("mock", &["protocols"]),
    ("bench", &["protocols", "router", "lanes", "mock"]),
    ("fuzz", &["protocols", "router", "control"]),
    ("xtask", &[]),
];

/// Outside packages that belong to the named crates alone.
const OWNED: &[(&str, &[&str])] = &[
    ("io-uring", &["engine"]),
    ("core_affinity", &["engine"]),
    ("crossbeam-queue", &["engine", "observe"]),
    ("httparse", &["protocols", "mock", "bench"]),
    ("monoio", &["mock", "bench"]),
    ("h2", &["mock", "bench"]),
    ("http", &["mock", "bench"]),
    ("tokio", &["mock"]),
    ("hdrhistogram", &["bench", "cli"]),
    ("mimalloc", &["cli"]),
    ("libc", &["engine"]),
    ("loona-hpack", &["protocols"]),
    ("matchit", &["bench"]),
    ("flate2", &["protocols"]),
    ("foldhash", &["protocols", "router", "control"]),
    ("hashbrown", &["control"]),
    ("form_urlencoded", &["control", "cli"]),
    ("percent-encoding", &["control"]),
    ("rcgen", &["control", "gateway", "cli"]),
    ("rustls", &["control", "gateway", "bench", "cli"]),
    ("rustls-native-certs", &["control"]),
    ("rustls-pki-types", &["control"]),
    ("x509-cert", &["control"]),
    ("regex-automata", &["router"]),
    ("regex-syntax", &["router"]),
    ("anyhow", &["cli", "bench", "xtask"]),
    ("clap", &["cli", "bench"]),
];

/// A package of ours and what its manifest names.
#[derive(Debug)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    name: String,
    is_ours: bool,
    is_for_tests: bool,
}

/// The members of the workspace and, once there is one, `fuzz`.
pub(super) fn packages(workspace: &Workspace) -> anyhow::Result<Vec<Package>> {
    let mut packages = metadata(workspace, "Cargo.toml")?;
    if workspace.path("fuzz/Cargo.toml").exists() {
        packages.extend(metadata(workspace, "fuzz/Cargo.toml")?);
    }
    Ok(packages)
}

/// Arrows that the two tables do not hold.
pub(super) fn check(packages: &[Package]) -> Vec<Violation> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Violation> {
    let manifest = format!("{}/Cargo.toml", package.name);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
        return vec![Violation::new(manifest, 0, "a crate that the table of arrows does not know")];
    };
    let is_allowed = |dependency: &Dependency| {
        let name = dependency.name.as_str();
        if dependency.is_ours {
            let is_itself = dependency.is_for_tests && name == package.name;
            return is_itself
                || allowed.contains(&name)
                || (dependency.is_for_tests && name == "mock");
        }
        let owners = OWNED.iter().find(|(owned, _)| *owned == name);
        owners.is_none_or(|(_, owners)| owners.contains(&package.name.as_str()))
    };
    let mut found = Vec::new();
    for dependency in package.dependencies.iter().filter(|one| !is_allowed(one)) {
        let mut message = format!("{} may not use {}", package.name, dependency.name);
        if dependency.is_for_tests {
            let _ = write!(message, ", not even in tests");
        }
        found.push(Violation::new(&manifest, 0, message));
    }
    found
}

fn metadata(workspace: &Workspace, manifest: &str) -> anyhow::Result<Vec<Package>> {
    let args =
        ["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path", manifest];
    let output = run::cargo(workspace, &args).output().context("cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&serde_json::from_slice(&output.stdout)?)
}

fn parse(metadata: &Value) -> anyhow::Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    packages.iter().map(parse_package).collect()
}

fn parse_package(package: &Value) -> anyhow::Result<Package> {
    let name = text(package, "name")?;
    // cargo-fuzz calls its package by the project's name; the folder is what counts.
    let name = if name.ends_with("-fuzz") { "fuzz".to_owned() } else { name };
    let dependencies = package["dependencies"].as_array().context("no dependencies")?;
    let dependencies = dependencies.iter().map(parse_dependency).collect::<anyhow::Result<_>>()?;
    Ok(Package { name, dependencies })
}

fn parse_dependency(dependency: &Value) -> anyhow::Result<Dependency> {
    Ok(Dependency {
        name: text(dependency, "name")?,
        is_ours: dependency["path"].is_string(),
        is_for_tests: dependency["kind"] == "dev",
    })
}

fn text(value: &Value, key: &str) -> anyhow::Result<String> {
    Ok(value[key].as_str().with_context(|| format!("metadata without {key}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, dependency: Value) -> Vec<String> {
        let metadata =
            serde_json::json!({ "packages": [{ "name": name, "dependencies": [dependency] }] });
        check(&parse(&metadata).unwrap()).into_iter().map(|v| v.message).collect()
    }

    fn ours(name: &str, kind: Option<&str>) -> Value {
        serde_json::json!({ "name": name, "path": format!("/x/{name}"), "kind": kind })
    }

    #[test]
    fn arrows_of_the_table_pass() {
        assert!(found("gateway", ours("engine", None)).is_empty());
        assert!(found("gateway", ours("mock", Some("dev"))).is_empty());
        assert!(found("cli", ours("gateway", None)).is_empty());
    }

    #[test]
    fn other_arrows_are_found() {
        assert_eq!(found("control", ours("engine", None)), ["control may not use engine"]);
        assert_eq!(found("gateway", ours("cli", None)), ["gateway may not use cli"]);
        assert_eq!(found("bench", ours("engine", Some("dev"))).len(), 1);
        assert_eq!(found("policies", ours("protocols", None)).len(), 1);
    }

    #[test]
    fn owned_packages_are_kept_where_they_belong() {
        let monoio = serde_json::json!({ "name": "monoio", "path": null, "kind": null });
        assert!(found("mock", monoio.clone()).is_empty());
        assert_eq!(found("gateway", monoio), ["gateway may not use monoio"]);
    }
}
