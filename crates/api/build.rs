//! Compiles the protocol definitions without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/marble.proto"], ["proto"])?;
    // What a Marble is given is secret: `Debug` is written by hand.
    tonic_prost_build::configure().skip_debug([".rpc.Parameters"]).compile_fds(descriptors)?;
    Ok(())
}
