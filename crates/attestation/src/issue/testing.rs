//! Kernels and hardware as tests play them. What they make has the right form and proves nothing.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::sync::{Mutex, PoisonError};

use super::Files;
use super::tsm::FOLDER;
use crate::ReportData;

/// A whole quote in the right form; see the folder's README.
const SGX_QUOTE: &[u8] = include_bytes!("../../tests/fixtures/sgx.quote");

fn with(mut evidence: Vec<u8>, at: usize, report_data: &ReportData) -> Vec<u8> {
    evidence[at..at + 64].copy_from_slice(&report_data.0);
    evidence
}

pub(crate) fn sgx_quote(report_data: &ReportData) -> Vec<u8> {
    with(SGX_QUOTE.to_vec(), 368, report_data)
}

/// Header, TD report, and 100 bytes of something signed.
pub(crate) fn tdx4_quote(report_data: &ReportData) -> Vec<u8> {
    let header = [&[4, 0, 2, 0, 0x81, 0, 0, 0][..], &[1; 40]].concat();
    with([header, vec![2; 584], 100u32.to_le_bytes().to_vec(), vec![3; 100]].concat(), 48 + 520, report_data)
}

/// The same with a TD report of version 1.5.
pub(crate) fn tdx5_quote(report_data: &ReportData) -> Vec<u8> {
    let header = [&[5, 0, 2, 0, 0x81, 0, 0, 0][..], &[1; 40], &[3, 0], &648u32.to_le_bytes()].concat();
    with([header, vec![2; 648], 100u32.to_le_bytes().to_vec(), vec![3; 100]].concat(), 54 + 520, report_data)
}

pub(crate) fn snp_report(report_data: &ReportData) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[0] = 2;
    // Whatever is signed ends in something that is no padding.
    report[1183] = 1;
    with(report, 0x50, report_data)
}

/// A host's table of certificates.
pub(crate) fn table(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let guid = |name| match name {
        "VCEK" => "63da758de6644564adc5f4b93be8accd",
        "VLEK" => "a8074bc2a25a483eaae639c045a0b8a1",
        "ASK" => "4ab7b379bbac4fe4a02f05aef327c782",
        "ARK" => "c0b406a4a803495297433fb6014cd0ae",
        _ => "92f81bc358114d3d97ffd19f88dc67ea",
    };
    let (mut head, mut body) = (Vec::new(), Vec::new());
    let start = 24 * (entries.len() + 1);
    for (name, contents) in entries {
        head.extend(hex::decode(guid(name)).unwrap());
        head.extend(u32::try_from(start + body.len()).unwrap().to_le_bytes());
        head.extend(u32::try_from(contents.len()).unwrap().to_le_bytes());
        body.extend_from_slice(contents);
    }
    head.extend([0; 24]);
    [head, body].concat()
}

/// Files with fixed contents.
#[derive(Default)]
pub(crate) struct Scripted {
    readable: Mutex<HashMap<String, Vec<u8>>>,
    writable: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn on_read(&self, name: &str, contents: Vec<u8>) {
        self.readable.lock().unwrap().insert(name.to_owned(), contents);
    }

    pub(crate) fn on_write(&self, name: &str) {
        self.writable.lock().unwrap().push(name.to_owned());
    }
}

impl Files for Scripted {
    fn read(&self, name: &str, at_most: usize) -> Result<Vec<u8>> {
        let readable = self.readable.lock().unwrap();
        let contents = readable.get(name).ok_or_else(|| Error::from_raw_os_error(2))?;
        Ok(contents.iter().copied().take(at_most).collect())
    }

    fn write(&self, name: &str, _contents: &[u8]) -> Result<()> {
        let is_there = self.writable.lock().unwrap().iter().any(|there| there == name);
        if is_there { Ok(()) } else { Err(Error::from_raw_os_error(2)) }
    }

    fn make_folder(&self, _name: &str) -> Result<()> {
        Err(Error::from_raw_os_error(1))
    }

    fn remove_folder(&self, _name: &str) -> Result<()> {
        Err(Error::from_raw_os_error(1))
    }

    fn is_folder(&self, _name: &str) -> bool {
        false
    }
}

/// What goes wrong in a [`FakeTsm`].
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    /// A file cannot be used.
    Error { file: &'static str, errno: i32 },
    /// No folder can be made.
    Make { errno: i32 },
    /// The generation goes elsewhere with a write.
    Generation { advances: u64 },
}

/// Outblob and auxblob for report data.
type Answering = dyn Fn(&ReportData) -> (Vec<u8>, Vec<u8>) + Send + Sync;

/// A kernel with configfs-tsm.
pub(crate) struct FakeTsm {
    provider: &'static str,
    answering: Box<Answering>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Generation and report data of each folder.
    entries: HashMap<String, (u64, Option<ReportData>)>,
    made: usize,
    asked: usize,
    trouble: Option<(Trouble, usize)>,
}

impl FakeTsm {
    pub(crate) fn new(
        provider: &'static str,
        answering: impl Fn(&ReportData) -> (Vec<u8>, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self { provider, answering: Box::new(answering), state: Mutex::default() }
    }

    /// The next so many times.
    pub(crate) fn trouble(&self, trouble: Trouble, times: usize) {
        self.state().trouble = Some((trouble, times));
    }

    pub(crate) fn made(&self) -> usize {
        self.state().made
    }

    pub(crate) fn asked(&self) -> usize {
        self.state().asked
    }

    /// Folders that are still there.
    pub(crate) fn left(&self) -> usize {
        self.state().entries.len()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The trouble that applies, which is then over once more.
    fn meets(&mut self, applies: impl Fn(Trouble) -> bool) -> Option<Trouble> {
        let (trouble, times) = self.trouble.as_mut().filter(|(trouble, times)| *times > 0 && applies(*trouble))?;
        *times -= 1;
        Some(*trouble)
    }

    fn check(&mut self, file: &str) -> Result<()> {
        match self.meets(|trouble| matches!(trouble, Trouble::Error { file: hit, .. } if hit == file)) {
            Some(Trouble::Error { errno, .. }) => Err(Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }
}

impl Files for FakeTsm {
    fn read(&self, name: &str, at_most: usize) -> Result<Vec<u8>> {
        let (folder, file) = name.rsplit_once('/').unwrap();
        let mut state = self.state();
        state.check(file)?;
        let (generation, report_data) = *state.entries.get(folder).ok_or_else(|| Error::from_raw_os_error(2))?;
        let answer = || report_data.map(|data| (self.answering)(&data)).ok_or_else(|| Error::from_raw_os_error(22));
        let contents = match file {
            "provider" => format!("{}\n", self.provider).into_bytes(),
            "generation" => format!("{generation}\n").into_bytes(),
            "outblob" => answer()?.0,
            "auxblob" => answer()?.1,
            _ => return Err(Error::from_raw_os_error(2)),
        };
        Ok(contents.into_iter().take(at_most).collect())
    }

    fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let (folder, file) = name.rsplit_once('/').unwrap();
        assert_eq!(file, "inblob");
        let mut state = self.state();
        state.check(file)?;
        state.asked += 1;
        let advances = match state.meets(|trouble| matches!(trouble, Trouble::Generation { .. })) {
            Some(Trouble::Generation { advances }) => advances,
            _ => 1,
        };
        let (generation, report_data) = state.entries.get_mut(folder).ok_or_else(|| Error::from_raw_os_error(2))?;
        *generation += advances;
        *report_data = Some(ReportData(contents.try_into().map_err(|_| Error::from_raw_os_error(22))?));
        Ok(())
    }

    fn make_folder(&self, name: &str) -> Result<()> {
        assert!(name.starts_with(FOLDER));
        let mut state = self.state();
        if let Some(Trouble::Make { errno }) = state.meets(|trouble| matches!(trouble, Trouble::Make { .. })) {
            return Err(Error::from_raw_os_error(errno));
        }
        state.made += 1;
        state.entries.insert(name.to_owned(), (3, None));
        Ok(())
    }

    fn remove_folder(&self, name: &str) -> Result<()> {
        self.state().entries.remove(name).map(drop).ok_or_else(|| Error::from_raw_os_error(2))
    }

    fn is_folder(&self, name: &str) -> bool {
        name == FOLDER
    }
}
