//! What other implementations wrote: Apache Thrift's Python and Node, thriftpy2, volo.
//!
//! Each file of `testdata/thrift` is one direction of an exchange, or of a whole connection.

use std::path::Path;

/// The files whose names begin with `prefix`, in order of their names, and their bytes.
pub(super) fn files(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/thrift");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_string(), path))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| (name, bytes(&std::fs::read_to_string(path).unwrap())))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no file begins with {prefix}");
    found
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::bytes)
        .filter(u8::is_ascii_hexdigit)
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
