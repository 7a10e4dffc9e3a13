//! AMD's Key Distribution Service.

use marblerun_attestation::{SnpProduct, VcekRequest};

use crate::client::Http;

/// Addresses of the service, or of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Amd {
    base: String,
}

impl Amd {
    pub(crate) fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned() }
    }

    fn vcek_url(&self, request: &VcekRequest) -> String {
        let tcb = request.versions();
        let (base, product) = (&self.base, request.product);
        let versions = format!(
            "blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
            tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
        );
        match tcb.fmc {
            // Ids of Turin's processors have 8 bytes.
            Some(fmc) => {
                let chip = hex::encode(request.chip_id.get(..8).unwrap_or_default());
                format!("{base}/vcek/v1/{product}/{chip}?fmcSPL={fmc:02}&{versions}")
            }
            None => format!("{base}/vcek/v1/{product}/{}?{versions}", hex::encode(request.chip_id)),
        }
    }

    pub(crate) async fn vcek(&self, http: &Http, request: &VcekRequest) -> Result<Vec<u8>, String> {
        Ok(http.get(&self.vcek_url(request)).await?.body)
    }

    pub(crate) async fn crl(&self, http: &Http, product: SnpProduct) -> Result<Vec<u8>, String> {
        Ok(http.get(&format!("{}/vcek/v1/{product}/crl", self.base)).await?.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_asked_for_by_processor_and_firmware() {
        let amd = Amd::new("https://kds/");
        let milan = VcekRequest { product: SnpProduct::Milan, chip_id: [0xab; 64], tcb: [3, 0, 0, 0, 0, 0, 8, 115] };
        let chip = "ab".repeat(64);
        assert_eq!(
            amd.vcek_url(&milan),
            format!("https://kds/vcek/v1/Milan/{chip}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")
        );
        let turin = VcekRequest { product: SnpProduct::Turin, chip_id: [0xab; 64], tcb: [1, 2, 3, 4, 0, 0, 0, 5] };
        assert_eq!(
            amd.vcek_url(&turin),
            "https://kds/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=05"
        );
    }
}
