//! The kernel's `/dev/sev-guest` (`linux/sev-guest.h`): an attestation report over report data of the caller, with the
//! certificates that the host has for it or without, and keys that the firmware derives (SEV-SNP firmware ABI,
//! MSG_REPORT_REQ and MSG_KEY_REQ).
#![allow(unsafe_code, reason = "ioctl")]

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::ptr::from_mut;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const GET_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 0);
const GET_DERIVED_KEY: Opcode = opcode::read_write::<GuestRequest>(b'S', 1);
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

/// `struct snp_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_derived_key_req`.
#[repr(C)]
struct DerivedKeyRequest {
    /// 0: the key of the chip (VCEK).
    root_key: u32,
    reserved: u32,
    fields: u64,
    vmpl: u32,
    guest_svn: u32,
    tcb: u64,
}

/// `struct snp_derived_key_resp`, as the firmware fills it.
#[repr(C)]
#[derive(Zeroize, ZeroizeOnDrop)]
struct DerivedKeyResponse {
    status: u32,
    reserved: [u8; 28],
    key: [u8; 32],
}

/// What a key is derived from, besides the key of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFields {
    /// Bits that select what is mixed in (GUEST_FIELD_SELECT).
    pub fields: u64,
    /// Privilege level, mixed in always; not below the caller's own.
    pub vmpl: u32,
    /// Security version mixed in, if selected; at most the guest's own.
    pub guest_svn: u32,
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
    // The buffer of the certificates has the length that the request names.
    call::<GET_EXTENDED_REPORT, _, _>(device, &mut request, &mut response)?;
    Ok(ExtendedReport { report: report(&response)?, certificates })
}

/// Asks an open `/dev/sev-guest` for a report at a privilege level, without certificates.
///
/// # Errors
/// As [`extended_report`].
pub fn report_at(device: &File, report_data: &[u8; 64], vmpl: u32) -> Result<Vec<u8>> {
    let mut request = ReportRequest { report_data: *report_data, vmpl, reserved: [0; 28] };
    let mut response = [0u8; RESPONSE];
    call::<GET_REPORT, _, _>(device, &mut request, &mut response)?;
    report(&response)
}

/// Asks an open `/dev/sev-guest` for a key that the firmware derives for this guest.
///
/// # Errors
/// The device's, with the firmware's and the host's numbers; the firmware's status.
pub fn derived_key(device: &File, wanted: &KeyFields) -> Result<Zeroizing<[u8; 32]>> {
    let KeyFields { fields, vmpl, guest_svn } = *wanted;
    let mut request = DerivedKeyRequest { root_key: 0, reserved: 0, fields, vmpl, guest_svn, tcb: 0 };
    let mut response = DerivedKeyResponse { status: 0, reserved: [0; 28], key: [0; 32] };
    call::<GET_DERIVED_KEY, _, _>(device, &mut request, &mut response)?;
    match response.status {
        0 => Ok(Zeroizing::new(response.key)),
        0x16 => Err(Error::other("the firmware refuses the request: invalid parameters (SVN or VMPL too high?)")),
        other => Err(Error::other(format!("the firmware refuses the request: status {other:#x}"))),
    }
}

/// One request of the device. Opcode, request and response belong together: the callers above pass `snp_ext_report_req`
/// and `snp_report_resp`, `snp_report_req` and `snp_report_resp`, `snp_derived_key_req` and `snp_derived_key_resp`.
fn call<const OPCODE: Opcode, Request, Response>(
    device: &File,
    request: &mut Request,
    response: &mut Response,
) -> Result<()> {
    let mut guest = GuestRequest {
        version: MESSAGE_VERSION,
        request: address(from_mut(request)),
        response: address(from_mut(response)),
        exit_info: 0,
    };
    // SAFETY: the kernel reads and writes `guest` and `request`, and writes `response`, each at most as long as the type that
    // belongs to the opcode (a test compares the sizes); behind a pointer inside the request there are as many bytes as the
    // request says. All are plain integers, outlive the call, and are used by nobody else during it. A driver that does
    // not know the opcode answers ENOTTY and touches nothing.
    let called = unsafe { ioctl(device, Updater::<OPCODE, GuestRequest>::new(&mut guest)) };
    called.map_err(|errno| failure(errno.into(), guest.exit_info))
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
        assert_eq!([GET_REPORT, GET_DERIVED_KEY, GET_EXTENDED_REPORT], [0xc020_5300, 0xc020_5301, 0xc020_5302]);
        assert_eq!((size_of::<ReportRequest>(), RESPONSE), (96, 4000));
        assert_eq!((size_of::<DerivedKeyRequest>(), size_of::<DerivedKeyResponse>()), (32, 64));
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
        assert_eq!(report_at(&device, &[1; 64], 0).unwrap_err().raw_os_error(), Some(25));
        let wanted = KeyFields { fields: 1, vmpl: 0, guest_svn: 0 };
        assert_eq!(derived_key(&device, &wanted).unwrap_err().raw_os_error(), Some(25));
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
