//! The way to the database, which can be shut.

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Passes connections on to Postgres while it is open.
pub(crate) struct Gate {
    pub(crate) port: u16,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    pub(crate) async fn to(postgres: PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(watch::Sender::new(true));
        let states = Arc::clone(&open);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                if !*states.borrow() {
                    continue;
                }
                let (postgres, mut state) = (postgres.clone(), states.subscribe());
                tokio::spawn(async move {
                    let pass = async {
                        match postgres.get_socket() {
                            Some(folder) => {
                                let socket = folder.join(format!(".s.PGSQL.{}", postgres.get_port()));
                                pass(connection, UnixStream::connect(socket).await.unwrap()).await;
                            }
                            None => {
                                let address = (postgres.get_host(), postgres.get_port());
                                pass(connection, TcpStream::connect(address).await.unwrap()).await;
                            }
                        }
                    };
                    tokio::select! {
                        () = pass => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open }
    }

    /// Breaks all connections, and takes no new ones.
    pub(crate) fn shut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut one: impl AsyncRead + AsyncWrite + Unpin, mut other: impl AsyncRead + AsyncWrite + Unpin) {
    // Whoever hangs up first ends it.
    let _ = copy_bidirectional(&mut one, &mut other).await;
}
