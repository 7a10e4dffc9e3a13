//! Programs that were built for one trusted execution environment. Whatever the host sets, such a program runs in that one
//! or not at all: the choice is part of its bytes, and so of what is measured.

use super::{SelectError, Tee, TeeChoice};

/// What a program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Build(Option<Tee>);

/// Another environment was chosen than the one that the program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "MARBLERUN_TEE={chosen} is refused: this program was built for {built} alone. Leave MARBLERUN_TEE out, or take a program \
     that was built for every environment",
    chosen = .chosen.as_str()
)]
pub struct OtherBuild {
    /// What was chosen.
    pub chosen: Tee,
    /// What the program was built for.
    pub built: Tee,
}

impl Build {
    /// For every environment; which one is for who starts the program.
    pub const ANY: Self = Self(None);

    /// What the compiler was told: `Build::of(option_env!("MARBLERUN_BUILD_TEE"))`, as a constant of the program.
    ///
    /// # Panics
    /// For a name that is none of `sgx`, `tdx`, `snp`, `snp-vtpm`. In a constant that ends the compilation.
    #[must_use]
    #[allow(clippy::panic)]
    pub const fn of(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::ANY };
        match name.as_bytes() {
            b"" => Self::ANY,
            b"sgx" => Self(Some(Tee::Sgx)),
            b"tdx" => Self(Some(Tee::Tdx)),
            b"snp" => Self(Some(Tee::Snp)),
            b"snp-vtpm" => Self(Some(Tee::SnpVtpm)),
            // Simulation protects nothing, so there is nothing to fix.
            _ => panic!("MARBLERUN_BUILD_TEE: expected sgx, tdx, snp or snp-vtpm"),
        }
    }

    /// The only environment it runs in, if it was built for one.
    #[must_use]
    pub const fn tee(self) -> Option<Tee> {
        self.0
    }

    /// The choice, within what the program was built for.
    ///
    /// # Errors
    /// [`OtherBuild`].
    pub fn narrow(self, choice: TeeChoice) -> Result<TeeChoice, OtherBuild> {
        match (self.0, choice) {
            (None, choice) => Ok(choice),
            (Some(built), TeeChoice::Auto) => Ok(TeeChoice::Fixed(built)),
            (Some(built), TeeChoice::Fixed(chosen)) if built == chosen => Ok(choice),
            (Some(built), TeeChoice::Fixed(chosen)) => Err(OtherBuild { chosen, built }),
        }
    }

    /// Why the choice cannot be made, to somebody who had none.
    #[must_use]
    pub fn explain(self, error: &SelectError) -> String {
        let Some(built) = self.0 else { return error.to_string() };
        let reason = match error {
            SelectError::Missing(tee) => format!("this machine has no device file of {tee}"),
            SelectError::Unclear(reason) => reason.clone(),
            SelectError::Ambiguous(_) => error.to_string(),
        };
        format!("{reason}. This program was built for {built} alone, and runs in nothing else")
    }

    /// Version of the programs, with what they were built for.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self.0 {
            None | Some(Tee::Simulation) => env!("CARGO_PKG_VERSION"),
            Some(Tee::Sgx) => concat!(env!("CARGO_PKG_VERSION"), " (for Intel SGX alone)"),
            Some(Tee::Tdx) => concat!(env!("CARGO_PKG_VERSION"), " (for Intel TDX alone)"),
            Some(Tee::Snp) => concat!(env!("CARGO_PKG_VERSION"), " (for AMD SEV-SNP alone)"),
            Some(Tee::SnpVtpm) => {
                concat!(env!("CARGO_PKG_VERSION"), " (for AMD SEV-SNP below a paravisor (vTPM) alone)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEES: [Tee; 5] = [Tee::Simulation, Tee::Sgx, Tee::Tdx, Tee::Snp, Tee::SnpVtpm];

    #[test]
    fn a_program_for_one_environment_runs_in_no_other_whatever_is_chosen() {
        for built in [Tee::Sgx, Tee::Tdx, Tee::Snp, Tee::SnpVtpm] {
            let build = Build::of(Some(built.as_str()));
            assert_eq!(build.tee(), Some(built));
            assert_eq!(build.narrow(TeeChoice::Auto), Ok(TeeChoice::Fixed(built)));
            for chosen in TEES {
                let narrowed = build.narrow(TeeChoice::Fixed(chosen));
                if chosen == built {
                    assert_eq!(narrowed, Ok(TeeChoice::Fixed(built)));
                } else {
                    assert_eq!(narrowed, Err(OtherBuild { chosen, built }));
                }
            }
            assert!(build.version().ends_with(&format!(" (for {built} alone)")));
        }
        let told = Build::of(Some("snp")).narrow(TeeChoice::Fixed(Tee::Simulation)).unwrap_err().to_string();
        assert!(told.starts_with("MARBLERUN_TEE=simulation is refused: this program was built for AMD SEV-SNP alone"));
    }

    #[test]
    fn a_program_for_every_environment_leaves_the_choice_to_whoever_starts_it() {
        for name in [None, Some("")] {
            let build = Build::of(name);
            assert_eq!((build, build.version()), (Build::ANY, env!("CARGO_PKG_VERSION")));
            for choice in TEES.map(TeeChoice::Fixed).into_iter().chain([TeeChoice::Auto]) {
                assert_eq!(build.narrow(choice), Ok(choice));
            }
            let error = SelectError::Missing(Tee::Tdx);
            assert_eq!(build.explain(&error), error.to_string());
        }
    }

    #[test]
    fn nobody_is_advised_to_choose_who_has_no_choice() {
        for error in [SelectError::Missing(Tee::Tdx), SelectError::Unclear("/x: Permission denied".to_owned())] {
            let told = Build::of(Some("tdx")).explain(&error);
            assert!(told.contains("built for Intel TDX alone") && !told.contains("MARBLERUN_TEE"), "{told}");
        }
    }

    #[test]
    #[should_panic(expected = "expected sgx, tdx, snp or snp-vtpm")]
    fn nothing_is_built_for_simulation_alone() {
        let _ = Build::of(Some("simulation"));
    }
}
