//! Which libraries go with a set of programs: those they name, those that these name, and no other.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use super::debian::Package;
use super::elf::Linkage;
use super::tree::{Entry, Tree};

/// What the programs need to start, and more libraries, with the names of the packages it is from.
pub fn closure<'a>(programs: &[&[u8]], more: &[&str], packages: &'a [Package]) -> Result<(Tree, BTreeSet<&'a str>)> {
    let mut all = Linkage::default();
    let mut tree = Tree::default();
    let mut used = BTreeSet::new();
    let mut take = |file: &str, find: &dyn Fn(&Package) -> Option<String>| -> Result<Linkage> {
        let found = packages.iter().find_map(|package| find(package).map(|path| (package, path)));
        let found = found.and_then(|(package, path)| Some((package, package.follow(&path)?)));
        let (package, (way, bytes)) = found.with_context(|| {
            let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
            format!(
                "{file} is needed and in none of {}; name its package in LIBRARIES (xtask/src/dist/contents.rs)",
                names.join(", ")
            )
        })?;
        for path in way {
            if let Some(Entry { mode, owner, content }) = package.files.get(&path) {
                tree.put(&path, Entry { mode: *mode, owner: *owner, content: content.clone() });
            }
        }
        used.insert(package.name.as_str());
        Linkage::of(bytes).with_context(|| format!("reading {file}"))
    };
    for program in programs {
        let linkage = Linkage::of(program)?;
        if let Some(path) = &linkage.interpreter {
            all.merge(take(path, &|package| package.follow(path).map(|_| path.clone()))?);
        }
        all.merge(linkage);
    }
    all.needed.extend(more.iter().map(|name| (*name).to_owned()));
    let mut done = BTreeSet::new();
    while let Some(name) = all.needed.difference(&done).next().cloned() {
        all.merge(take(&name, &|package| package.library(&name).map(str::to_owned))?);
        done.insert(name);
    }
    Ok((tree, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_nowhere_is_told_with_what_to_do() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let error = closure(&[&this], &[], &[]).unwrap_err().to_string();
        assert!(error.contains("/ld-linux") && error.contains("LIBRARIES"), "{error}");
    }

    #[test]
    fn libraries_are_taken_from_packages_with_what_they_need_themselves() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let linkage = Linkage::of(&this).unwrap();
        let mut files = Tree::default();
        // Any ELF file will do for one: this program, which needs all of them.
        let names: Vec<String> = linkage.needed.iter().map(|name| format!("usr/lib/x/{name}")).collect();
        for path in names
            .iter()
            .map(String::as_str)
            .chain(linkage.interpreter.as_deref().map(|path| path.trim_start_matches('/')))
        {
            files.file(&super::super::debian::below_usr(path), 0o755, this.clone());
        }
        files.file("usr/lib/x/libunused.so.1", 0o644, this.clone());
        let package = Package {
            name: "libc6".to_owned(),
            version: String::new(),
            source: Default::default(),
            control: String::new(),
            files,
        };
        let packages = [package];
        let (tree, used) = closure(&[&this], &[], &packages).unwrap();
        assert!(tree.bytes("usr/lib/x/libc.so.6").is_some() && tree.bytes("usr/lib/x/libunused.so.1").is_none());
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["libc6"]);
    }
}
