//! The kernel's `/dev/sev-guest` (`linux/sev-guest.h`): an attestation report over report data of the caller, with the
//! certificates that the host has for it.
#![allow(unsafe_code, reason = "ioctl")]

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::ptr::from_mut;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

const GET_EXTENDED_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 2);
/// The version of messages to the firmware.
const MESSAGE_VERSION: u8 = 1;
/// The most that the kernel takes over from the host (`SEV_FW_BLOB_MAX_SIZE`).
const CERTIFICATES: usize = 16 << 10;
/// `struct snp_report_resp`.
const RESPONSE: usize = 4000;
/// In front of the report: status, length, reserved bytes.
const RESPONSE_HEADER: usize = 32;

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    version: u8,
    request: u64,
    response: u64,
    /// Errors of the firmware, and in the upper half of the host.
    exit_info: u64,
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    report_data: [u8; 64],
    /// The privilege level that the report is for; 0 is the highest.
    vmpl: u32,
    reserved: [u8; 28],
    certificates: u64,
    certificates_length: u32,
}

/// A report, and what the host put beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedReport {
    /// What the firmware made.
    pub report: Vec<u8>,
    /// The host's table of certificates, with what is left of the buffer; all zero if it has none.
    pub certificates: Vec<u8>,
}

/// Asks an open `/dev/sev-guest` for a report at privilege level 0.
///
/// # Errors
/// The device's, with the firmware's and the host's numbers; [`ErrorKind::InvalidData`] for an answer that makes no sense.
pub fn extended_report(device: &File, report_data: &[u8; 64]) -> Result<ExtendedReport> {
    let mut certificates = vec![0u8; CERTIFICATES];
    let mut response = [0u8; RESPONSE];
    let mut request = ExtendedRequest {
        report_data: *report_data,
        vmpl: 0,
        reserved: [0; 28],
        certificates: address(certificates.as_mut_ptr()),
        certificates_length: u32::try_from(CERTIFICATES).unwrap_or_default(),
    };
    let mut guest = GuestRequest {
        version: MESSAGE_VERSION,
        request: address(from_mut(&mut request)),
        response: address(from_mut(&mut response)),
        exit_info: 0,
    };
    // SAFETY: the kernel reads and writes `guest` and `request`, writes at most `RESPONSE` bytes at `response` and at most
    // `certificates_length` bytes at `certificates`, which have that many. All of them outlive the call and are used by
    // nobody else during it.
    let called = unsafe { ioctl(device, Updater::<GET_EXTENDED_REPORT, GuestRequest>::new(&mut guest)) };
    called.map_err(|errno| failure(errno.into(), guest.exit_info))?;
    Ok(ExtendedReport { report: report(&response)?, certificates })
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// The error of the call with what firmware and host said.
fn failure(error: Error, exit_info: u64) -> Error {
    let (firmware, host) = (exit_info & u64::from(u32::MAX), exit_info >> 32);
    match (firmware, host) {
        (0, 0) => error,
        // The host asks to try again later.
        (_, 2) => Error::new(ErrorKind::ResourceBusy, "the host is busy"),
        _ => Error::new(error.kind(), format!("{error} (firmware error {firmware:#x}, host error {host:#x})")),
    }
}

fn report(response: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| {
        response.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk: &[u8; 4]| u32::from_le_bytes(*chunk))
    };
    let (status, length) = (word(0), word(4));
    if status != 0 {
        return Err(Error::other(format!("the firmware answers with status {status:#x}")));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let report =
        response.get(RESPONSE_HEADER..).and_then(|rest| rest.get(..length)).filter(|report| !report.is_empty());
    let report =
        report.ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("it has a report of {length} bytes")))?;
    Ok(report.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_form_that_the_kernel_knows() {
        assert_eq!(GET_EXTENDED_REPORT, 0xc020_5302);
        assert_eq!((size_of::<GuestRequest>(), size_of::<ExtendedRequest>()), (32, 112));
        assert_eq!(std::mem::offset_of!(ExtendedRequest, certificates), 96);
        assert_eq!(std::mem::offset_of!(ExtendedRequest, certificates_length), 104);
        assert_eq!(std::mem::offset_of!(GuestRequest, exit_info), 24);
    }

    #[test]
    fn a_device_that_is_another_is_an_error() {
        let device = File::open("/dev/null").unwrap();
        // ENOTTY.
        assert_eq!(extended_report(&device, &[1; 64]).unwrap_err().raw_os_error(), Some(25));
    }

    #[test]
    fn errors_say_what_firmware_and_host_said() {
        let eio = || Error::from_raw_os_error(5);
        assert_eq!(failure(eio(), 0).raw_os_error(), Some(5));
        assert_eq!(failure(eio(), 2 << 32).kind(), ErrorKind::ResourceBusy);
        assert!(failure(eio(), 0x16 | 1 << 32).to_string().ends_with("(firmware error 0x16, host error 0x1)"));
    }

    #[test]
    fn a_response_is_read_within_its_bounds() {
        let response = |status: u32, length: u32| {
            let mut bytes = [&status.to_le_bytes()[..], &length.to_le_bytes(), &[0; 24]].concat();
            bytes.resize(RESPONSE, 7);
            bytes
        };
        assert_eq!(report(&response(0, 1184)).unwrap(), [7; 1184]);
        assert!(report(&response(0x16, 1184)).unwrap_err().to_string().contains("status 0x16"));
        for length in [0, 3969, u32::MAX] {
            assert_eq!(report(&response(0, length)).unwrap_err().kind(), ErrorKind::InvalidData, "{length}");
        }
    }
}
