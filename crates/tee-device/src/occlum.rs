//! Occlum's `/dev/sgx`: an SGX quote over report data of the caller. The requests are answered by the library operating
//! system within the enclave, not by the host.
#![allow(unsafe_code, reason = "ioctl")]

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::ptr::{from_mut, from_ref};

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

/// The longest quote that is taken.
pub const MAX_QUOTE: usize = 32 << 10;

/// Answers the size of a quote.
const GET_QUOTE_SIZE: Opcode = opcode::read::<u32>(b's', 7);
/// Makes a quote.
const GENERATE_QUOTE: Opcode = opcode::read_write::<Request>(b's', 8);

/// As Occlum lays it out.
#[repr(C)]
struct Request {
    report_data: *const [u8; 64],
    /// In: room in the buffer. Out: what of it was used.
    length: *mut u32,
    buffer: *mut u8,
}

/// Asks an open `/dev/sgx` for a quote. Zero bytes may follow the quote.
///
/// # Errors
/// The device's; [`ErrorKind::InvalidData`] for lengths that make no sense.
pub fn quote(device: &File, report_data: &[u8; 64]) -> Result<Vec<u8>> {
    // SAFETY: the request writes one u32, which `Getter` provides.
    let size: u32 = unsafe { ioctl(device, Getter::<GET_QUOTE_SIZE, u32>::new()) }?;
    let mut buffer = vec![0; room(size)?];
    let mut length = size;
    let mut request =
        Request { report_data: from_ref(report_data), length: from_mut(&mut length), buffer: buffer.as_mut_ptr() };
    // SAFETY: the request reads 64 bytes at `report_data`, reads and writes a u32 at `length`, and writes at most `length`
    // bytes at `buffer`. All three outlive the call, nothing else refers to the two that are written, and `buffer` has
    // `length` bytes.
    unsafe { ioctl(device, Updater::<GENERATE_QUOTE, Request>::new(&mut request)) }?;
    if length > size {
        return Err(Error::new(ErrorKind::InvalidData, format!("it wrote {length} bytes where {size} were")));
    }
    buffer.truncate(room(length)?);
    Ok(buffer)
}

fn room(size: u32) -> Result<usize> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size == 0 || size > MAX_QUOTE {
        return Err(Error::new(ErrorKind::InvalidData, format!("it has a quote of {size} bytes")));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_numbers_that_occlum_knows() {
        assert_eq!((GET_QUOTE_SIZE, GENERATE_QUOTE), (0x8004_7307, 0xc018_7308));
    }

    #[test]
    fn a_device_that_is_another_is_an_error() {
        let device = File::open("/dev/null").unwrap();
        // ENOTTY.
        assert_eq!(quote(&device, &[1; 64]).unwrap_err().raw_os_error(), Some(25));
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        assert_eq!(room(4600).unwrap(), 4600);
        for size in [0, u32::try_from(MAX_QUOTE).unwrap() + 1, u32::MAX] {
            assert_eq!(room(size).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
