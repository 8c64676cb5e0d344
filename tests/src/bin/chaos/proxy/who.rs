//! Whose connection it is: the operating system knows which process has which port.

use std::collections::BTreeMap;
use std::fs;

use super::End;

/// Who connects from this port: the silo whose process has it, else a client, which are in this process.
pub(super) fn is(port: u16, pids: &BTreeMap<usize, u32>) -> End {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let Some(inode) = inode(&table, port) else { return End::Client };
    let socket = format!("socket:[{inode}]");
    let has = |pid: &u32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    };
    pids.iter().find(|(_, pid)| has(pid)).map_or(End::Client, |(silo, _)| End::Silo(*silo))
}

/// The inode of the connected socket with this local port on 127.0.0.1.
fn inode(table: &str, port: u16) -> Option<&str> {
    const CONNECTED: &str = "01";
    let local = format!("0100007F:{port:04X}");
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_it = words.next()? == local && words.nth(1)? == CONNECTED;
        // After the state: queues, timer, retransmissions, user, timeout.
        words.nth(5).filter(|_| is_it)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_of_this_process_is_known_by_its_port() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = tokio::net::TcpStream::connect(listener.local_addr().expect("its address")).await;
        let port = stream.as_ref().expect("connected").local_addr().expect("its address").port();
        assert_eq!(is(port, &BTreeMap::from([(4, std::process::id())])), End::Silo(4));
        assert_eq!(is(port, &BTreeMap::new()), End::Client);
    }
}
