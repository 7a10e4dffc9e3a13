//! Compiles the protocol definitions without a `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/marble.proto", "proto/key.proto", "proto/peer.proto"], ["proto"])?;
    // What a Marble is given is secret, as are keys and shares: `Debug` is written by hand.
    let secret = [
        ".rpc.Parameters",
        ".keypb.GetKeyEncryptionKeyResponse",
        ".marblerun.peer.v1.CeremonyUpload",
        ".marblerun.peer.v1.CeremonySession",
    ];
    tonic_prost_build::configure().skip_debug(secret).compile_fds(descriptors)?;
    Ok(())
}
