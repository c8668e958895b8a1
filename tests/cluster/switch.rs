//! A way to an engine that can lead elsewhere, or nowhere.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The way. Each connection through it is a thread for each direction, until it ends.
pub(crate) struct Switch {
    port: u16,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// Where it leads to; `None`: nowhere.
    target: Option<u16>,
    streams: Vec<TcpStream>,
}

impl Switch {
    /// A way to this port.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Arc::new(Mutex::new(Inner { target: Some(target), streams: Vec::new() }));
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Some(target) = shared.lock().expect("not poisoned").target else { continue };
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a handle");
                let (to_far, to_near) = ((copy(&near), copy(&far)), (copy(&far), copy(&near)));
                shared.lock().expect("not poisoned").streams.extend([near, far]);
                for (from, to) in [to_far, to_near] {
                    thread::spawn(move || pass(from, to));
                }
            }
        });
        Self { port, inner }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends all connections. New ones lead to this port, or nowhere.
    pub(crate) fn lead(&self, target: Option<u16>) {
        let mut inner = self.inner.lock().expect("not poisoned");
        inner.target = target;
        for stream in inner.streams.drain(..) {
            // It may have ended before.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 * 1_024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
