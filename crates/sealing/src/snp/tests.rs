use std::sync::Mutex;

use super::*;

/// Plays chip and firmware: the key is a hash of the chip's secret and of what is mixed in.
#[derive(Debug)]
struct Chip {
    secret: u8,
    facts: Mutex<GuestFacts>,
}

impl Chip {
    fn new(secret: u8) -> Self {
        let facts = GuestFacts {
            guest_svn: 3,
            policy: 0x30000,
            family_id: [1; 16],
            image_id: [2; 16],
            measurement: [3; 48],
            chip_id: [secret; 64],
        };
        Self { secret, facts: Mutex::new(facts) }
    }

    fn change(&self, change: impl FnOnce(&mut GuestFacts)) {
        change(&mut self.facts.lock().unwrap());
    }
}

impl GuestDevice for &Chip {
    fn derived_key(&self, request: &KeyRequest) -> io::Result<Zeroizing<[u8; 32]>> {
        let facts = self.facts.lock().unwrap();
        if request.guest_svn > facts.guest_svn {
            return Err(io::Error::other("status 0x16"));
        }
        let mut context = digest::Context::new(&digest::SHA256);
        let mut mix = |bit: u64, bytes: &[u8]| {
            if request.fields & bit != 0 {
                context.update(&bit.to_le_bytes());
                context.update(bytes);
            }
        };
        mix(1, &facts.policy.to_le_bytes());
        mix(2, &facts.image_id);
        mix(4, &facts.family_id);
        mix(8, &facts.measurement);
        mix(16, &request.guest_svn.to_le_bytes());
        context.update(&[self.secret]);
        context.update(&request.vmpl.to_le_bytes());
        Ok(Zeroizing::new(context.finish().as_ref().try_into().unwrap()))
    }

    fn facts(&self, _vmpl: u32) -> io::Result<GuestFacts> {
        Ok(self.facts.lock().unwrap().clone())
    }
}

fn sealer(chip: &Chip) -> SnpDerivedKey<&Chip> {
    SnpDerivedKey::new(chip, ProductKey::Measurement, 0)
}

fn by_id_block(chip: &Chip) -> SnpDerivedKey<&Chip> {
    SnpDerivedKey::new(chip, ProductKey::IdBlock, 0)
}

fn not_mine(result: Result<Zeroizing<Vec<u8>>, SealError>) -> String {
    match result {
        Err(SealError::NotMine(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn the_same_guest_on_the_same_chip_gets_its_secrets_back() {
    let chip = Chip::new(7);
    for sealer in [sealer(&chip), by_id_block(&chip)] {
        for mode in [SealMode::ProductKey, SealMode::UniqueKey] {
            let slot = sealer.new_slot(mode).unwrap();
            assert_eq!(slot.params.len(), Params::LENGTH);
            assert_eq!(sealer.slot_secret(&slot.params).unwrap(), slot.secret);
            assert_ne!(sealer.new_slot(mode).unwrap().secret, slot.secret, "a fresh salt each time");
        }
    }
}

#[test]
fn another_chip_and_another_image_are_told_apart() {
    let chip = Chip::new(7);
    let slot = sealer(&chip).new_slot(SealMode::UniqueKey).unwrap();
    assert!(not_mine(sealer(&Chip::new(8)).slot_secret(&slot.params)).contains("another processor"));
    chip.change(|facts| facts.measurement[0] ^= 1);
    let why = not_mine(sealer(&chip).slot_secret(&slot.params));
    assert!(why.contains("launch measurement is 020303") && why.contains("sealed by 030303"), "{why}");
    chip.change(|facts| {
        facts.measurement[0] ^= 1;
        facts.policy |= 1 << 19;
    });
    assert!(not_mine(sealer(&chip).slot_secret(&slot.params)).contains("launch policy"), "a debug guest");
}

#[test]
fn product_keys_bound_to_the_id_block_survive_updates_and_refuse_going_back() {
    let chip = Chip::new(7);
    let product = by_id_block(&chip).new_slot(SealMode::ProductKey).unwrap();
    let unique = by_id_block(&chip).new_slot(SealMode::UniqueKey).unwrap();
    chip.change(|facts| {
        facts.measurement = [9; 48];
        facts.guest_svn = 4;
    });
    assert_eq!(by_id_block(&chip).slot_secret(&product.params).unwrap(), product.secret);
    assert!(not_mine(by_id_block(&chip).slot_secret(&unique.params)).contains("measurement"));
    let newer = by_id_block(&chip).new_slot(SealMode::ProductKey).unwrap();
    chip.change(|facts| facts.guest_svn = 3);
    assert!(not_mine(by_id_block(&chip).slot_secret(&newer.params)).contains("older one, 3"));
    chip.change(|facts| facts.image_id = [4; 16]);
    assert!(not_mine(by_id_block(&chip).slot_secret(&product.params)).contains("ids changed"));
}

#[test]
fn without_an_id_block_a_product_key_is_not_bound_to_it() {
    let chip = Chip::new(7);
    chip.change(|facts| (facts.image_id, facts.family_id) = ([0; 16], [0; 16]));
    let Err(error) = by_id_block(&chip).new_slot(SealMode::ProductKey) else { panic!("it was made") };
    assert!(error.to_string().contains("without an ID block"), "{error}");
    assert!(by_id_block(&chip).new_slot(SealMode::UniqueKey).is_ok());
    assert!(sealer(&chip).new_slot(SealMode::ProductKey).is_ok());
}

/// The host writes `sealed_key`. It must not choose what a key is bound to, nor turn one slot into another.
#[test]
fn parameters_decide_nothing_and_every_change_of_them_is_noticed() {
    let chip = Chip::new(7);
    let slot = sealer(&chip).new_slot(SealMode::ProductKey).unwrap();
    for position in 0..slot.params.len() {
        let mut params = slot.params.clone();
        params[position] ^= 1;
        assert!(sealer(&chip).slot_secret(&params).is_err(), "byte {position}");
    }
    // A slot made by any guest of the chip, with nothing mixed in.
    let mut forged = Params::decode(&slot.params).unwrap();
    forged.request.fields = 0;
    forged.check = check(&(&&chip).derived_key(&forged.request).unwrap(), &forged).unwrap();
    assert!(not_mine(sealer(&chip).slot_secret(&forged.encode())).contains("other properties"));
    let weaker = by_id_block(&chip).new_slot(SealMode::ProductKey).unwrap();
    assert!(not_mine(sealer(&chip).slot_secret(&weaker.params)).contains("other properties"));
    let other_level = SnpDerivedKey::new(&chip, ProductKey::Measurement, 2);
    assert!(not_mine(other_level.slot_secret(&slot.params)).contains("VMPL"));
}

#[test]
fn malformed_parameters_are_called_so() {
    let chip = Chip::new(7);
    let slot = sealer(&chip).new_slot(SealMode::UniqueKey).unwrap();
    for length in 0..slot.params.len() {
        assert!(matches!(sealer(&chip).slot_secret(&slot.params[..length]), Err(SealError::Malformed(_))), "{length}");
    }
    for (position, value) in [(0, 2), (1, 2)] {
        let mut params = slot.params.clone();
        params[position] = value;
        assert!(matches!(sealer(&chip).slot_secret(&params), Err(SealError::Malformed(_))));
    }
    let longer = [&slot.params[..], &[0]].concat();
    assert!(matches!(sealer(&chip).slot_secret(&longer), Err(SealError::Malformed(_))));
}

#[test]
fn a_missing_device_says_what_to_look_at() {
    let sealer = SnpDerivedKey::new(SevGuest::new("/dev/no-such-guest".as_ref()), ProductKey::Measurement, 0);
    let Err(error) = sealer.new_slot(SealMode::ProductKey) else { panic!("it was made") };
    assert!(matches!(error, SealError::Unavailable { backend: "sev-snp", .. }));
    assert!(error.to_string().contains("kernel module sev-guest"), "{error}");
}

#[test]
fn hosts_have_names_unless_they_hide() {
    let chip = Chip::new(7);
    assert_eq!(sealer(&chip).host_id().unwrap(), by_id_block(&chip).host_id().unwrap());
    assert_ne!(sealer(&chip).host_id().unwrap(), sealer(&Chip::new(8)).host_id().unwrap());
    chip.change(|facts| facts.chip_id = [0; 64]);
    assert_eq!(sealer(&chip).host_id().unwrap(), [0; 16]);
}

#[test]
fn facts_are_read_where_the_report_has_them() {
    let mut report = vec![0; 1184];
    for (offset, length, value) in
        [(0x04, 4, 1), (0x08, 8, 2), (0x10, 16, 3), (0x20, 16, 4), (0x90, 48, 5), (0x1a0, 64, 6)]
    {
        report[offset..offset + length].fill(value);
    }
    let facts = GuestFacts::of_report(&report).unwrap();
    assert_eq!((facts.guest_svn, facts.policy), (0x0101_0101, 0x0202_0202_0202_0202));
    assert_eq!((facts.family_id, facts.image_id), ([3; 16], [4; 16]));
    assert_eq!((facts.measurement, facts.chip_id), ([5; 48], [6; 64]));
    assert_eq!(GuestFacts::of_report(&report[..1183]), None);
}

#[test]
fn what_product_keys_bind_to_has_a_name() {
    assert_eq!(ProductKey::from_name("measurement"), Some(ProductKey::default()));
    assert_eq!(ProductKey::from_name("id-block"), Some(ProductKey::IdBlock));
    assert_eq!(ProductKey::from_name("ID-Block"), None);
}
