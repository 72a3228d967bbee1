//! The floor: a relay that copies bytes and does nothing else. What it adds is the machine's own price for one
//! more process in the way: two more wakes of a process and four more system calls.

use tokio::net::{TcpListener, TcpStream};

use super::Outcome;

pub(crate) async fn serve(port: u16, upstream: u16) -> Outcome<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            // A side that goes ends both.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
