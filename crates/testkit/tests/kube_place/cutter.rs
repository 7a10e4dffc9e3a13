//! A wire that can be cut: between a client and the API server, over bytes it cannot read.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// The next request breaks the connection before it arrives.
    LoseRequest,
    /// The next answer breaks the connection before it arrives.
    LoseAnswer,
    /// Requests wait here, also when their client has gone, until the wire is open again.
    HoldRequest,
}

struct Shared {
    mode: Mutex<Mode>,
    changed: Condvar,
    connections: AtomicUsize,
}

/// The wire. It ends with the test's process.
pub struct Cutter {
    port: u16,
    shared: Arc<Shared>,
}

impl Cutter {
    pub fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Open),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
        });
        let of_wire = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                of_wire.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (there, back) = (Arc::clone(&of_wire), Arc::clone(&of_wire));
                std::thread::spawn(move || there.pass(client, server, true));
                std::thread::spawn(move || back.pass(server_too, client_too, false));
            }
        });
        Self { port, shared }
    }

    #[allow(dead_code, reason = "in Kubernetes it is in the kubeconfig")]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        self.shared.changed.notify_all();
    }

    #[allow(dead_code, reason = "not counted for etcd")]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// A kubeconfig that goes through here.
    #[allow(dead_code, reason = "etcd has none")]
    pub fn kubeconfig(&self, of: &Path, folder: &Path) -> PathBuf {
        let text = std::fs::read_to_string(of).unwrap();
        let (before, after) = text.split_once("https://127.0.0.1:").unwrap();
        let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let path = folder.join("kubeconfig");
        std::fs::write(&path, format!("{before}https://127.0.0.1:{}{after}", self.port)).unwrap();
        path
    }
}

impl Shared {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_request: bool) {
        let mut buffer = [0; 65536];
        loop {
            let read = from.read(&mut buffer).unwrap_or_default();
            let mode = *self.mode.lock().unwrap();
            match (mode, is_request) {
                (Mode::LoseRequest, true) | (Mode::LoseAnswer, false) => break,
                (Mode::HoldRequest, true) => {
                    self.hold(from, to, buffer[..read].to_vec());
                    return;
                }
                _ => {}
            }
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// The request lands when the wire is open again. Whatever its client does meanwhile does not: servers drop the
    /// requests of clients whose farewell they hear.
    fn hold(&self, mut from: TcpStream, mut to: TcpStream, mut request: Vec<u8>) {
        from.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut buffer = [0; 65536];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            request.extend_from_slice(&buffer[..read]);
        }
        let mode = self.mode.lock().unwrap();
        let limit = Duration::from_secs(120);
        drop(self.changed.wait_timeout_while(mode, limit, |mode| *mode == Mode::HoldRequest).unwrap());
        let _ = to.write_all(&request);
        std::thread::sleep(Duration::from_secs(10));
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
