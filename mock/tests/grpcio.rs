//! The gRPC mock against grpcio, a client that shares no code with it.
//!
//! `RINGWAY_PYTHON` is an interpreter that has grpcio.

use std::path::Path;
use std::process::{Command, Stdio};

use mock::http2::{Options, start};

#[test]
fn calls_of_every_kind_by_grpcio() {
    let mock = start(Options::default()).expect("a mock on a free port");
    let interpreter = std::env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grpcio.py");
    let mut command = Command::new(&interpreter);
    command.arg("-B").arg(script).arg(mock.address.to_string()).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{interpreter}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("all calls are right"), "{said}");
}
