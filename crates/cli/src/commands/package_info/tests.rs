use std::fs;
use std::path::Path;

use object::write;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

use super::sigstruct::{SigStruct, SigStructError};
use super::{find, sgx_sdk};

/// A SIGSTRUCT with recognisable fields.
fn signature() -> Vec<u8> {
    let mut bytes = vec![0; 1808];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &[6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    put(24, &[1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0]);
    put(128, &[0xaa; 384]);
    put(960, &[0xbb; 32]);
    put(1024, &[0x34, 0x12, 0x09, 0x00]);
    bytes
}

/// An ELF file with one section.
fn elf(name: &str, content: &[u8]) -> Vec<u8> {
    let mut file = write::Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let section = file.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::ReadOnlyData);
    file.append_section_data(section, content, 8);
    file.write().unwrap()
}

fn identity() -> SigStruct {
    let signer = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[0xaa; 384]);
    SigStruct {
        unique_id: [0xbb; 32],
        signer_id: signer.as_ref().try_into().unwrap(),
        product_id: 0x1234,
        security_version: 9,
    }
}

/// What stands before it, in a file as large as a small program.
fn with_junk(part: &[u8]) -> Vec<u8> {
    [&[0x55; 300][..], part, &[0x66; 100]].concat()
}

fn kind_of(path: &Path) -> Result<&'static str, String> {
    find(path)
        .map(|found| {
            assert_eq!(found.identity, identity());
            found.kind
        })
        .map_err(|error| error.to_string())
}

#[test]
fn every_kind_of_enclave_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    };
    assert_eq!(kind_of(&file("ego", &elf(".oeinfo", &with_junk(&signature())))), Ok("open-enclave"));
    assert_eq!(kind_of(&file("raw.sig", &signature())), Ok("sigstruct"));
    assert_eq!(kind_of(&file("gramine/app.sig", &signature())).map(|_| ()), Ok(()));
    assert_eq!(kind_of(&dir.join("gramine")), Ok("gramine"));
    file("occlum/build/lib/libocclum-libos.signed.so", &elf(".note.sgxmeta", &with_junk(&signature())));
    assert_eq!(kind_of(&dir.join("occlum")), Ok("occlum"));
    // As a file it is found by the search of any file, as upstream does; the section alone would do too.
    let library = file("enclave.signed.so", &elf(".note.sgxmeta", &with_junk(&signature())));
    assert_eq!(kind_of(&library), Ok("sigstruct"));
    assert_eq!(sgx_sdk(&library, false).unwrap().identity, identity());
}

#[test]
fn what_is_no_enclave_is_an_error_and_never_silence() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let unsigned = "unable to determine enclave properties";
    assert!(find(&dir.join("missing")).is_err());
    assert_eq!(kind_of(dir).unwrap_err(), unsigned, "a folder without a signature");
    for (name, content) in [
        ("text", b"hello".to_vec()),
        ("unsigned-ego", elf(".oeinfo", &[0; 4000])),
        ("unsigned-sdk", elf(".note.sgxmeta", &[0; 4000])),
        ("other-elf", elf(".text", &[0; 16])),
        ("cut", signature()[..1807].to_vec()),
    ] {
        fs::write(dir.join(name), content).unwrap();
        assert_eq!(kind_of(&dir.join(name)).unwrap_err(), unsigned, "{name}");
    }
    for name in ["one.sig", "two.sig"] {
        fs::write(dir.join(name), signature()).unwrap();
    }
    assert_eq!(kind_of(dir).unwrap_err(), unsigned, "two signatures");
}

#[test]
fn the_second_header_must_stand_in_its_place() {
    let mut displaced = signature();
    displaced[24] = 0;
    displaced[200..216].copy_from_slice(&signature()[24..40]);
    assert_eq!(SigStruct::find(&displaced), Err(SigStructError::NoSecondHeader));
    assert_eq!(SigStruct::find(&[0; 2000]), Err(SigStructError::NotFound));
    assert_eq!(SigStruct::find(&signature()[..1807]), Err(SigStructError::TooSmall));
}

#[test]
fn bytes_that_look_like_a_beginning_do_not_hide_the_signature_behind_them() {
    let decoy = &signature()[..16];
    assert_eq!(SigStruct::find(&with_junk(&[decoy, &[1; 40], &signature()].concat())), Ok(identity()));
}
