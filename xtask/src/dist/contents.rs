//! What goes where: the programs, the parts of Debian that images take, and the images. Data; how it is done is elsewhere.

use super::tree::Tree;

/// User and group of the programs in images. A number, so that a cluster can see that it is not root.
pub const USER: u64 = 10001;

/// Somewhere a program goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The tar archive.
    Archive,
    /// The Debian package.
    Package,
    /// The image of that name.
    Image(&'static str),
}

/// A program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// File name.
    pub name: &'static str,
    /// Where it goes.
    pub places: &'static [Place],
}

/// All programs that are given out.
pub const PROGRAMS: [Program; 5] = [
    Program { name: "marblerun", places: &[Place::Archive, Place::Package, Place::Image("coordinator")] },
    Program { name: "marblerun-coordinator", places: &[Place::Archive, Place::Package, Place::Image("coordinator")] },
    Program { name: "marblerun-premain", places: &[Place::Archive, Place::Package] },
    Program { name: "marblerun-injector", places: &[Place::Archive, Place::Image("injector")] },
    Program { name: "marblerun-tar", places: &[Place::Image("coordinator")] },
];

/// The programs of a place.
pub fn programs(place: Place) -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().filter(move |program| program.places.contains(&place)).map(|program| program.name)
}

/// Packages that have the libraries the programs are linked to. What needs a library of another package fails to
/// be packed until that package stands here.
pub const LIBRARIES: [&str; 2] = ["libc6", "libgcc-s1"];

/// Libraries that libc loads by itself, to look up names of hosts. Newer ones have this inside, and still these files.
pub const RESOLVER: [&str; 2] = ["libnss_dns.so.2", "libnss_files.so.2"];

/// Packages of Debian of which something goes into images, with their licences as SPDX expressions.
pub const DEBIAN: [(&str, &str); 5] = [
    ("base-files", "GPL-2.0-or-later"),
    ("busybox", "GPL-2.0-only"),
    ("ca-certificates", "GPL-2.0-or-later AND MPL-2.0"),
    ("libc6", "LGPL-2.1-or-later AND GPL-2.0-or-later"),
    ("libgcc-s1", "GPL-3.0-or-later WITH GCC-exception-3.1"),
];

/// An image.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Name of its folder.
    pub name: &'static str,
    /// Last part of its name in a registry, as the chart has it.
    pub repository: &'static str,
    /// For people.
    pub title: &'static str,
    /// For people, in a sentence.
    pub description: &'static str,
    /// What runs.
    pub entry: &'static str,
    /// Where it runs.
    pub folder: &'static str,
    /// Environment.
    pub environment: &'static [&'static str],
    /// Ports it listens on.
    pub ports: &'static [u16],
    /// Folder of what must survive it.
    pub volume: Option<&'static str>,
    /// Whether there is a shell in it, with what people and `kubectl cp` start there.
    pub shell: bool,
    /// Whether it runs in a TEE, and can be made for one alone.
    pub is_measured: bool,
    /// Whether there are the certificates that browsers trust.
    pub certificates: bool,
    /// What else is in it.
    pub more: fn(&mut Tree),
}

/// All images.
pub const IMAGES: [Plan; 2] = [COORDINATOR, INJECTOR];

const COORDINATOR: Plan = Plan {
    name: "coordinator",
    repository: "coordinator",
    title: "MarbleRun Coordinator",
    description: "Attests Marbles, provisions them, and keeps the state of a deployment sealed.",
    entry: "/usr/bin/marblerun-coordinator",
    folder: "/coordinator",
    // The root is read-only: what the Coordinator writes by itself goes to the volume.
    environment: &[
        "PATH=/usr/bin",
        "EDG_COORDINATOR_SEAL_DIR=/coordinator/data",
        "MARBLERUN_STARTUP_RECOVERY_DATA=/coordinator/data/startup-recovery-data.json",
    ],
    ports: &[2001, 4433, 5433],
    volume: Some("/coordinator/data"),
    shell: true,
    is_measured: true,
    certificates: true,
    more: |tree| {
        tree.folder("coordinator/data", 0o700, USER);
        // The file grows while it is copied: docs/decisions/0125.
        tree.link("usr/bin/tar", "marblerun-tar");
    },
};

const INJECTOR: Plan = Plan {
    name: "injector",
    repository: "marble-injector",
    title: "MarbleRun injector",
    description: "Gives pods that are labelled as Marbles their environment: an admission webhook.",
    // Where upstream has it.
    entry: "/marble-injector",
    folder: "/",
    environment: &["PATH=/usr/bin"],
    ports: &[8443],
    volume: None,
    shell: false,
    is_measured: false,
    certificates: false,
    more: |tree| tree.link("marble-injector", "usr/bin/marblerun-injector"),
};

/// What busybox is called by: what `kubectl cp` starts (`sh`, `tail`, `test`), and what people look around with.
pub const BUSYBOX: [&str; 36] = [
    "[",
    "cat",
    "chmod",
    "cmp",
    "cp",
    "date",
    "df",
    "du",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hexdump",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "test",
    "touch",
    "true",
    "uname",
    "wc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_of_an_image_is_of_one_that_is_made_and_every_image_has_programs() {
        for program in PROGRAMS {
            for place in program.places {
                let Place::Image(name) = place else { continue };
                assert!(IMAGES.iter().any(|image| image.name == *name), "{}: {name}", program.name);
            }
        }
        for image in IMAGES {
            assert!(programs(Place::Image(image.name)).count() > 0, "{}", image.name);
        }
    }

    #[test]
    fn every_package_has_a_licence() {
        for name in LIBRARIES {
            assert!(DEBIAN.iter().any(|(package, _)| *package == name), "{name}");
        }
    }
}
