//! A way to a server on which something else can be said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A way for one connection. It is closed when this is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    client: Arc<Mutex<Option<TcpStream>>>,
}

impl Proxy {
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let client = Arc::new(Mutex::new(None));
        thread::spawn({
            let client = Arc::clone(&client);
            move || {
                let Ok((near, _)) = listener.accept() else { return };
                let far = TcpStream::connect(("127.0.0.1", server)).expect("the server");
                let copy = |stream: &TcpStream| stream.try_clone().expect("a handle");
                *client.lock().expect("the client") = Some(copy(&near));
                let (from, to) = (copy(&near), copy(&far));
                thread::spawn(move || pass(from, to));
                pass(far, near);
            }
        });
        Self { port, client }
    }

    /// Says something to the client. The server must be silent meanwhile.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let mut client = self.client.lock().expect("the client");
        client.as_mut().expect("a connection").write_all(bytes).expect("it is written");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(client) = &*self.client.lock().expect("the client") {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
