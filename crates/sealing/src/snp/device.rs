//! The one module that talks to `/dev/sev-guest`: two ioctls of `linux/sev-guest.h` and the messages of the SEV-SNP
//! firmware ABI (MSG_KEY_REQ and MSG_REPORT_REQ). Nothing is decided here.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::ioctl::{self, Opcode, Updater, opcode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{GuestDevice, GuestFacts, KeyRequest};

/// Where Linux puts the device.
pub const PATH: &str = "/dev/sev-guest";

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    message_version: u8,
    request: u64,
    response: u64,
    /// Low half: error of the firmware. High half: error of the hypervisor.
    exit_information: u64,
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

/// `struct snp_report_req`.
#[repr(C)]
struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

/// `struct snp_report_resp`: status, size, reserved to 32, the report.
#[repr(C)]
struct ReportResponse([u8; 4000]);

const GET_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 0);
const GET_DERIVED_KEY: Opcode = opcode::read_write::<GuestRequest>(b'S', 1);

/// The guest device of Linux.
#[derive(Debug, Clone)]
pub struct SevGuest {
    path: PathBuf,
}

impl SevGuest {
    /// A device file, usually [`PATH`]. It is opened at every use.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    fn call<const OPCODE: Opcode, Request, Response>(
        &self,
        request: &Request,
        response: &mut Response,
    ) -> io::Result<()> {
        let device = File::options().read(true).write(true).open(&self.path)?;
        let mut call = GuestRequest {
            message_version: 1,
            request: std::ptr::from_ref(request).addr() as u64,
            response: std::ptr::from_mut(response).addr() as u64,
            exit_information: 0,
        };
        let _ = std::ptr::from_ref(request).expose_provenance();
        let _ = std::ptr::from_mut(response).expose_provenance();
        // SAFETY: The driver behind these two opcodes takes a pointer to `snp_guest_request_ioctl`, which
        // `GuestRequest` is to the byte (32 bytes, checked by a test through the opcode). It reads the request and
        // writes the response through the pointers in it, with the sizes of `snp_derived_key_req`/`_resp` or
        // `snp_report_req`/`_resp`; the two callers below pass exactly those types, also checked by a test. All are
        // plain integers, so every bit pattern is valid; both outlive the call, and nobody else holds them.
        // Another driver that knows neither opcode answers ENOTTY and touches nothing.
        let done = unsafe {
            let update = Updater::<OPCODE, GuestRequest>::new(&mut call);
            ioctl::ioctl(&device, update)
        };
        match done {
            Ok(()) => Ok(()),
            Err(error) if call.exit_information != 0 => Err(io::Error::other(format!(
                "{error}: the firmware answered {:#x}, the hypervisor {:#x}",
                call.exit_information & 0xffff_ffff,
                call.exit_information >> 32
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

impl GuestDevice for SevGuest {
    fn derived_key(&self, wanted: &KeyRequest) -> io::Result<Zeroizing<[u8; 32]>> {
        let request = DerivedKeyRequest {
            root_key: 0,
            reserved: 0,
            fields: wanted.fields,
            vmpl: wanted.vmpl,
            guest_svn: wanted.guest_svn,
            tcb: 0,
        };
        let mut response = DerivedKeyResponse { status: 0, reserved: [0; 28], key: [0; 32] };
        self.call::<GET_DERIVED_KEY, _, _>(&request, &mut response)?;
        match response.status {
            0 => Ok(Zeroizing::new(response.key)),
            0x16 => {
                Err(io::Error::other("the firmware refuses the request: invalid parameters (SVN or VMPL too high?)"))
            }
            other => Err(io::Error::other(format!("the firmware refuses the request: status {other:#x}"))),
        }
    }

    fn facts(&self, vmpl: u32) -> io::Result<GuestFacts> {
        let request = ReportRequest { user_data: [0; 64], vmpl, reserved: [0; 28] };
        let mut response = ReportResponse([0; 4000]);
        self.call::<GET_REPORT, _, _>(&request, &mut response)?;
        let malformed = || io::Error::other("the firmware's report is malformed");
        let (status, rest) = response.0.split_first_chunk::<4>().ok_or_else(malformed)?;
        match u32::from_le_bytes(*status) {
            0 => GuestFacts::of_report(rest.get(28..).unwrap_or_default()).ok_or_else(malformed),
            other => Err(io::Error::other(format!("the firmware gives no report: status {other:#x}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_and_messages_have_the_sizes_of_the_kernels_header() {
        // _IOWR('S', 0 and 1, 32 bytes).
        assert_eq!(GET_REPORT, 0xc020_5300);
        assert_eq!(GET_DERIVED_KEY, 0xc020_5301);
        assert_eq!(size_of::<DerivedKeyRequest>(), 32);
        assert_eq!(size_of::<DerivedKeyResponse>(), 64);
        assert_eq!(size_of::<ReportRequest>(), 96);
        assert_eq!(size_of::<ReportResponse>(), 4000);
    }

    #[test]
    fn a_file_that_is_no_guest_device_is_an_error() {
        let wanted = KeyRequest { fields: 1, vmpl: 0, guest_svn: 0 };
        let error = SevGuest::new("/dev/null".as_ref()).derived_key(&wanted).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(25), "{error}");
        let error = SevGuest::new("/dev/no-such-device".as_ref()).facts(0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
