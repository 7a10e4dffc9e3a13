//! What a program needs of the system it runs on: its interpreter, its libraries, and how new they must be. Read from the
//! program itself, so that an image lacks nothing and a package asks for no more than it must.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use object::elf::DT_NEEDED;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, FileKind};

/// What one program or library needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linkage {
    /// Path of the program that loads it; none: it is a library, or needs none.
    pub interpreter: Option<String>,
    /// Names of libraries.
    pub needed: BTreeSet<String>,
    /// Versions of symbols, by library (`libc.so.6`: `GLIBC_2.34`).
    pub versions: BTreeMap<String, BTreeSet<String>>,
}

impl Linkage {
    /// Of a 64-bit ELF file.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        anyhow::ensure!(matches!(FileKind::parse(bytes), Ok(FileKind::Elf64)), "no 64-bit ELF file");
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let endian = file.endian();
        let mut linkage = Self::default();
        for segment in file.elf_header().program_headers(endian, bytes)? {
            if let Some(path) = segment.interpreter(endian, bytes)? {
                linkage.interpreter = Some(text(path)?);
            }
        }
        let dynamic = file.elf_dynamic_table()?;
        for entry in dynamic.iter().filter(|entry| entry.tag == DT_NEEDED) {
            linkage.needed.insert(text(dynamic.string(entry)?)?);
        }
        let sections = file.elf_section_table();
        if let Some((mut libraries, strings)) = sections.gnu_verneed(endian, bytes)? {
            let strings = sections.strings(endian, bytes, strings)?;
            while let Some((library, mut symbols)) = libraries.next()? {
                let versions = linkage.versions.entry(text(library.file(endian, strings)?)?).or_default();
                while let Some(symbol) = symbols.next()? {
                    versions.insert(text(symbol.name(endian, strings)?)?);
                }
            }
        }
        Ok(linkage)
    }

    /// What either needs.
    pub fn merge(&mut self, other: Self) {
        self.needed.extend(other.needed);
        for (library, versions) in other.versions {
            self.versions.entry(library).or_default().extend(versions);
        }
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).context("a name that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_it_needs() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let linkage = Linkage::of(&this).unwrap();
        assert!(linkage.interpreter.as_ref().unwrap().starts_with("/lib"), "{linkage:?}");
        assert!(linkage.needed.contains("libc.so.6"), "{linkage:?}");
        assert!(linkage.versions["libc.so.6"].iter().any(|version| version.starts_with("GLIBC_2.")), "{linkage:?}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(Linkage::of(b"#!/bin/sh").is_err());
    }
}
