//! Faults by chance, the same ones for the same seed: what happens to a request follows from the seed and from how many
//! requests came before it.

use crate::chaos::{Call, Fault};

/// Which faults happen how often.
#[derive(Debug, Clone, Default)]
pub struct SeededPlan {
    seed: u64,
    resource: Option<String>,
    faults: Vec<(f64, Fault)>,
    storms: Vec<Storm>,
}

/// The same fault for every request of a stretch.
#[derive(Debug, Clone, Copy)]
struct Storm {
    probability: f64,
    length: u64,
    fault: Fault,
}

impl SeededPlan {
    /// No faults yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Only requests for that resource suffer.
    #[must_use]
    pub fn only(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Requests that the fault fits suffer it with that probability. Times and distances are drawn up to those given.
    #[must_use]
    pub fn with(mut self, probability: f64, fault: Fault) -> Self {
        self.faults.push((probability, fault));
        self
    }

    /// Of all stretches of `length` requests, that part is a storm, in which every request suffers the fault it fits.
    #[must_use]
    pub fn storm(mut self, probability: f64, length: u64, fault: Fault) -> Self {
        self.storms.push(Storm { probability, length: length.max(1), fault });
        self
    }

    /// What happens to a request.
    #[must_use]
    pub fn decide(&self, call: &Call) -> Fault {
        if self.resource.as_ref().is_some_and(|resource| *resource != call.resource) {
            return Fault::Pass;
        }
        for (number, storm) in (1..).zip(&self.storms) {
            let mut random = self.random(number, call.number / storm.length);
            if random.f64() < storm.probability && storm.fault.fits(call) {
                return storm.fault.drawn(&mut self.random(0, call.number));
            }
        }
        let mut random = self.random(0, call.number);
        let mut draw = random.f64();
        for (probability, fault) in self.faults.iter().filter(|(_, fault)| fault.fits(call)) {
            draw -= probability;
            if draw < 0.0 {
                return fault.drawn(&mut random);
            }
        }
        Fault::Pass
    }

    /// As the policy of a proxy.
    pub fn policy(self) -> impl FnMut(&Call) -> Fault + Send + 'static {
        move |call| self.decide(call)
    }

    /// Odd multipliers keep neighbours apart.
    const fn random_seed(&self, stream: u64, number: u64) -> u64 {
        self.seed
            ^ stream.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93)
            ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn random(&self, stream: u64, number: u64) -> fastrand::Rng {
        let mut random = fastrand::Rng::with_seed(self.random_seed(stream, number));
        // The first draw of neighbouring seeds is alike.
        random.u64(..);
        random
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn calls(method: &str, uri: &str) -> Vec<Call> {
        (0..10_000).map(|number| Call::new(number, &method.parse().unwrap(), &uri.parse().unwrap())).collect()
    }

    const SECRET: &str = "/api/v1/namespaces/n/secrets/s";

    #[test]
    fn the_same_seed_means_the_same_faults_and_another_one_others() {
        let late = Fault::LandLate { after: Duration::from_secs(60), answer: None };
        let decide = |seed| {
            let plan = SeededPlan::new(seed).with(0.2, Fault::LoseAnswer).with(0.1, late);
            calls("PUT", SECRET).iter().map(|call| plan.decide(call)).collect::<Vec<_>>()
        };
        assert_eq!(decide(1), decide(1));
        assert_ne!(decide(1), decide(2));
        let count = |name| decide(3).iter().filter(|fault| fault.name() == name).count();
        assert!((1800..2200).contains(&count("lose answer")), "{}", count("lose answer"));
        assert!((850..1150).contains(&count("land late")), "{}", count("land late"));
    }

    #[test]
    fn reads_suffer_what_fits_reads_and_other_resources_nothing() {
        let plan = SeededPlan::new(7).only("secrets").with(0.5, Fault::CONFLICT).with(0.1, Fault::Stale { back: 3 });
        let mut names: Vec<&str> = calls("GET", SECRET).iter().map(|call| plan.decide(call).name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, ["pass", "stale"]);
        let others = calls("PUT", "/api/v1/namespaces/n/configmaps/c");
        assert!(others.iter().all(|call| plan.decide(call) == Fault::Pass));
    }

    #[test]
    fn a_storm_hits_every_write_of_its_stretch() {
        let plan = SeededPlan::new(3).storm(0.25, 20, Fault::CONFLICT);
        let hit: Vec<bool> = calls("PUT", SECRET).iter().map(|call| plan.decide(call) == Fault::CONFLICT).collect();
        let stormy = hit.chunks(20).filter(|stretch| stretch.iter().all(|hit| *hit)).count();
        let calm = hit.chunks(20).filter(|stretch| stretch.iter().all(|hit| !*hit)).count();
        assert_eq!(stormy + calm, 500);
        assert!((90..160).contains(&stormy), "{stormy}");
    }
}
