//! Makes the service's code from its IDL.

fn main() {
    volo_build::Builder::thrift()
        .add_service("../echo.thrift")
        .filename("echo_gen.rs".into())
        .write()
        .expect("the IDL is read");
}
